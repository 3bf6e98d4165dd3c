"""What the node tells of itself, and what changes it or ends something: the tables of endpoints that ask no LLM.

To add one: a row in `GETS` or `CHANGES`, with what makes its answer. Nothing changes the node by being on its machine
alone: see `Caller.may_change`.
"""

import asyncio
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable
from functools import cache
from typing import cast

import msgspec

from masa_node.accounts.access import Caller
from masa_node.api.aliasing import alias_header, alias_words, renamed
from masa_node.api.control.events import EVENTS
from masa_node.api.control.node_view import Asked, Make, NodeView
from masa_node.api.control.owner import InviteWanted, LinkGiven, TokenGiven
from masa_node.api.control.pages import CONSOLE, HOME, Found, wants_page
from masa_node.api.families import named_in, not_in_family, offers_for
from masa_node.api.guard import SESSION_PATH
from masa_node.api.http1.reply import RawHeaders
from masa_node.api.http1.request import HttpRequest
from masa_node.api.paths import AT_CLOUDFLARES, PEER_VERBS, SEARCH_PATH
from masa_node.api.request_body import HeldBody, read_body
from masa_node.api.views import history, models
from masa_node.api.views.openapi import NodeEndpoint, describe
from masa_node.chat.errors import (
    BadJson,
    BodyTooLarge,
    CallerError,
    ProviderAway,
    Unauthorized,
    UnknownModel,
    UnknownPath,
)
from masa_node.chat.owner_errors import UnknownInvite
from masa_node.chat.request import DialectName
from masa_node.chat.statuses import status_of_kind
from masa_node.dialects.bodies.peek import check_model
from masa_node.dialects.fields import FIELDS, TEXT, read
from masa_node.routing.answers.byte_budget import ByteBudget
from masa_node.routing.catalog import Offers
from masa_node.version import __version__

# The Ollama release whose API this one speaks: clients refuse versions that look too old for a feature they use.
OLLAMA_API_VERSION = "0.32.15"
_NODE_TO_ALL = ("version", "name", "node_id")  # of what the node tells of itself: to keys with names, too
MAX_BODY_BYTES = 32 * 1024  # the longest link and note, with every character escaped
_NODE_ID = re.compile(r"[0-9a-f]{64}")
_INVITE_ID = re.compile(r"[0-9a-f]{8}")
_SHOWN_CHARS = 64


def _models(tell: Callable[[Offers, Asked[None]], Awaitable[object]]) -> Make:
    """What this caller can ask for, once LLM servers had the time to say so."""

    async def made(view: NodeView, asked: Asked[None]) -> object:
        await view.first_look()
        offers = view.aliasing.offers()
        if asked.caller.key is not None:
            offers = [pair for pair in offers if asked.caller.allows(pair[1].model)]
        await asyncio.sleep(0)  # peers tell of tens of thousands, and the choice took its time
        return await tell(offers, asked)

    return made


def _readyz(view: NodeView, asked: Asked[None]) -> object:
    del asked
    found = view.readiness()
    return found if found.ready else Found(found, status_of_kind(ProviderAway))


async def _ps(view: NodeView, asked: Asked[None]) -> object:
    return {"models": [entry for entry in await view.running() if asked.caller.allows(_name_of(entry))]}


def _name_of(entry: msgspec.Raw) -> str:
    fields = read(entry, FIELDS) or {}
    return next((name for key in ("model", "name") if key in fields and (name := read(fields[key], TEXT))), "")


async def _one_model(view: NodeView, asked: Asked[None], family: DialectName | None = None) -> object:
    name = check_model(asked.parts[-1])
    family = family or _family(asked)
    if family == DialectName.GEMINI:
        name = view.aliasing.at_googles(name)
    model = await view.aliasing.model_for(name)
    if not view.catalog.knows(model):
        await view.aliasing.refresh()
    offers = view.aliasing.offers_of(model)
    asked.caller.check_model(name, model)
    if not offers:
        nearest = ", ".join(view.catalog.nearest(model, asked.caller.allows)) or "none is served at all"
        raise UnknownModel(
            f"No LLM known here serves the model {model!r}. Nearest: {nearest}.{alias_words(name, model)}"
        )
    found = offers_for(family, offers)
    if not found:
        raise not_in_family(model, family, offers)
    offer = renamed(found, name, model)[0][1]
    if family == DialectName.GEMINI:
        entry = models.gemini_entry(msgspec.structs.replace(offer, model=name))
    else:
        entry = {**models.openai_entry(offer), "id": name}
    return Found(entry, headers=alias_header(name, model))


def _family(asked: Asked[None]) -> DialectName:
    """Whose client lists models: those that do not say so are taken for OpenAI's."""
    return named_in(asked.headers) or DialectName.OPENAI


def _node(view: NodeView, asked: Asked[None]) -> object:
    status = view.node()
    return status if asked.caller.is_owner else {name: status[name] for name in _NODE_TO_ALL}


def _root(view: NodeView, asked: Asked[None]) -> object:
    if view.pages and wants_page(asked.headers):
        return view.pages.lead_there()
    return f"Masa Node {__version__} is running. See /openapi.json, /api/v1/llm/models.".encode()


def _page(view: NodeView, asked: Asked[None]) -> object:
    return view.pages.show("".join(asked.parts), asked.headers)


def _me(view: NodeView, asked: Asked[None]) -> object:
    caller = asked.caller
    return {
        "name": caller.name,
        "is_owner": caller.is_owner,
        "may_change": caller.may_change,
        "by": caller.by,
        "expires_at_unix_s": caller.expires_at_unix_s,
        "key_needed": view.needs_key(),
    }


async def _invites(view: NodeView, asked: Asked[None]) -> object:
    del asked
    return {"invites": await view.actions.invites()}


def _begin_session(view: NodeView, asked: Asked[TokenGiven]) -> object:
    text, session = view.sessions.exchange(asked.body.token)
    return {"session": text, "expires_at_unix_s": session.expires_at_unix_s}


def _end_session(view: NodeView, asked: Asked[None]) -> object:
    session = asked.caller.session
    if session is None:
        raise Unauthorized("No session of the console came along, so that none was ended.")
    view.sessions.end(session)
    return {"ended": 1}


async def _revoke_invite(view: NodeView, asked: Asked[None]) -> object:
    (invite_id,) = asked.parts
    if _INVITE_ID.fullmatch(invite_id) is None:
        raise UnknownInvite(f"There is no invite {invite_id[:_SHOWN_CHARS]!r}: an id has 8 hexadecimal digits.")
    await view.actions.revoke_invite(invite_id)
    return {"revoked": invite_id}


async def _join(view: NodeView, asked: Asked[LinkGiven]) -> object:
    return {"words": await view.actions.join(asked.body.link)}


async def _change_peer(view: NodeView, asked: Asked[None]) -> object:
    node_id, verb = asked.parts
    if verb not in PEER_VERBS:
        raise UnknownPath(f"A peer cannot be {verb[:_SHOWN_CHARS]!r} here. There are: {', '.join(PEER_VERBS)}.")
    if _NODE_ID.fullmatch(node_id) is None:
        raise CallerError(f"{node_id[:_SHOWN_CHARS]!r} is not a node id: it has 64 hexadecimal digits, in lower case.")
    return {"words": await view.actions.change_peer(verb, node_id)}


@cache
def _described() -> bytes:
    """Made once: it is large, and anybody may ask for it again and again."""
    return msgspec.json.encode(describe((*GETS, EVENTS, *CHANGES)))


_ALIVE = {"status": "ok"}


async def _list_for(family: DialectName, offers: Offers) -> bytes:
    list_of = models.gemini_list if family == DialectName.GEMINI else models.openai_list
    return await list_of(offers_for(family, offers))


_vendor_models = _models(lambda offers, asked: _list_for(_family(asked), offers))


# Every endpoint that is read, and what makes its answer. `/openapi.json` and docs/ are made from both tables.
GETS: dict[NodeEndpoint, Make] = {
    NodeEndpoint("/", "Is the node running? A browser is led to the console", "text/plain"): _root,
    NodeEndpoint(HOME, "Leads to the console", "text/html"): lambda view, _: view.pages.lead_there(),
    NodeEndpoint(CONSOLE, "The console: the node as pages for a browser; CONSOLE=off: none", "text/html"): _page,
    NodeEndpoint(CONSOLE + "{file}", "A file of the console", "*/*"): _page,
    NodeEndpoint("/healthz", "Liveness: the process answers"): lambda _view, _asked: _ALIVE,
    NodeEndpoint("/health", "The same, where clients of llama.cpp and vLLM look for it"): lambda _view, _asked: _ALIVE,
    NodeEndpoint("/v1/health", "The same"): lambda _view, _asked: _ALIVE,
    NodeEndpoint("/readyz", "Readiness: some model can be asked; if none, why, and what to do"): _readyz,
    NodeEndpoint(
        "/metrics", "Prometheus metrics", "text/plain; version=0.0.4; charset=utf-8", is_owners=True
    ): lambda view, _: view.metrics(),
    NodeEndpoint("/openapi.json", "This description"): lambda _view, _asked: _described(),
    NodeEndpoint("/api/v1/node", "The node itself: version, id, addresses, load, policies"): _node,
    NodeEndpoint(
        "/api/v1/peers", "The peers: which are linked, directly or by relay, and what they share", is_owners=True
    ): lambda view, _: view.peers(),
    NodeEndpoint(
        "/api/v1/stake", "Stakes: the policies, this node's own stake, what was read of the chain", is_owners=True
    ): lambda view, _: view.stake(),
    NodeEndpoint(
        "/api/v1/doctor", "What is wrong here, and what to do; `only=network` asks no LLM server", is_owners=True
    ): lambda view, asked: view.doctor(asked.fields.get("only") == "network"),
    NodeEndpoint(
        "/api/v1/races",
        "The last requests that ended, newest first, each with its race: asked when, and how it ended",
        query=history.RacesAsked,
    ): lambda view, asked: history.races(view.history(), asked.caller, asked.fields),
    NodeEndpoint(
        "/api/v1/races/{request_id}", "One of them, by the `X-Request-Id` of its answer"
    ): lambda view, asked: history.race(view.history(), asked.caller, asked.parts[0]),
    NodeEndpoint(
        history.REQUESTS_PATH, "The requests that are under way, those of peers among them"
    ): lambda view, asked: history.requests(view.history(), asked.caller),
    NodeEndpoint(
        "/api/v1/usage", "Who used what: requests, tokens, times, as `masa-node usage`", query=history.UsageAsked
    ): lambda view, asked: history.usage(view.history(), asked.caller, asked.fields),
    NodeEndpoint("/api/v1/console/me", "The caller: name, by what let in, and may they change the node"): _me,
    NodeEndpoint("/api/v1/invites", "The invites that can still be used; no link is kept", is_owners=True): _invites,
    NodeEndpoint("/api/v1/llm/models", "The models that can be asked for now, their providers and endpoints"): _models(
        lambda offers, _: models.own_list(offers)
    ),
    NodeEndpoint(
        "/v1/models",
        "The models that can be asked in OpenAI's formats; for clients of Anthropic's or Google's SDKs, in theirs",
    ): _vendor_models,
    NodeEndpoint("/models", "The same, for base URLs without /v1"): _vendor_models,
    NodeEndpoint("/api/tags", "The models that can be asked in Ollama's formats"): _models(
        lambda offers, _: models.ollama_tags(offers_for(DialectName.OLLAMA, offers))
    ),
    NodeEndpoint("/api/ps", "The models that the Ollamas behind the node hold in memory now"): _ps,
    NodeEndpoint("/api/version", "The Ollama API version that is spoken"): lambda _view, _asked: {
        "version": OLLAMA_API_VERSION,
        "masa_node": __version__,
    },
    NodeEndpoint(
        SEARCH_PATH, "The models that can be asked in Cloudflare's format; `search`, `task`, `page`, `per_page`"
    ): _models(lambda offers, asked: models.cloudflare_list(offers_for(DialectName.CLOUDFLARE, offers), asked.fields)),
    NodeEndpoint("/v1/models/{model}", "One model, in a shape that the OpenAI and Anthropic SDKs read"): _one_model,
    NodeEndpoint("/v1beta/models", "The models that can be asked in Gemini's format"): _models(
        lambda offers, _: _list_for(DialectName.GEMINI, offers)
    ),
    NodeEndpoint("/v1beta/models/{model}", "One model, in Gemini's shape"): lambda view, asked: _one_model(
        view, asked, DialectName.GEMINI
    ),
}
# Every endpoint that changes the node or ends something, and what does it. What is the owner's takes `may_change`.
CHANGES: dict[NodeEndpoint, Make] = {
    NodeEndpoint(
        SESSION_PATH.decode(),
        "Exchange the token of a `masa-node console` link for a session",
        method="POST",
        body=TokenGiven,
    ): _begin_session,
    NodeEndpoint(SESSION_PATH.decode(), "End the session that is sent along", method="DELETE"): _end_session,
    NodeEndpoint(
        "/api/v1/invites",
        "Make an invite; its link is shown once",
        method="POST",
        body=InviteWanted,
        status=201,
        is_owners=True,
    ): lambda view, asked: view.actions.make_invite(asked.body),
    NodeEndpoint("/api/v1/invites/{invite_id}", "Revoke an invite", method="DELETE", is_owners=True): _revoke_invite,
    NodeEndpoint(
        "/api/v1/join", "Join a network by an invite's link", method="POST", body=LinkGiven, is_owners=True
    ): _join,
    NodeEndpoint(
        "/api/v1/peers/{node_id}/{verb}",
        "Trust, untrust, block, unblock or forget a peer",
        method="POST",
        is_owners=True,
    ): _change_peer,
    NodeEndpoint(
        "/api/v1/requests/{request_id}", "End a request that is under way: its LLM is stopped", method="DELETE"
    ): lambda view, asked: history.end(view.history(), asked.caller, asked.parts[0]),
}
_MAKERS = {**GETS, **CHANGES}
GET_PATHS = frozenset(each.path for each in GETS if "{" not in each.path)


def _pattern(path: str) -> re.Pattern[str]:
    """Of a path as `place_of` has it. Names of models and of files may hold slashes."""
    escaped = re.escape(path.removeprefix(AT_CLOUDFLARES)).replace(r"\{model\}", "(.*)").replace(r"\{file\}", "(.*)")
    return re.compile(re.sub(r"\\\{\w+\\\}", "([^/]+)", escaped), re.DOTALL)


_PATTERNS = [(endpoint, _pattern(endpoint.path)) for endpoint in _MAKERS if "{" in endpoint.path]
_FIXED: defaultdict[str, list[tuple[NodeEndpoint, tuple[str, ...]]]] = defaultdict(list)
for _endpoint in _MAKERS:
    if "{" not in _endpoint.path:
        _FIXED[_endpoint.path.removeprefix(AT_CLOUDFLARES)].append((_endpoint, ()))


def _at(path: str) -> list[tuple[NodeEndpoint, tuple[str, ...]]]:
    if path in _FIXED:
        return _FIXED[path]
    matches = ((endpoint, pattern.fullmatch(path)) for endpoint, pattern in _PATTERNS)
    return [(endpoint, match.groups()) for endpoint, match in matches if match is not None]


def methods_at(path: str) -> list[str]:
    """Those that may be used at this path, GET first; none where nothing is."""
    found = [endpoint.method for endpoint, _ in _at(path)]
    return [*(["GET", "HEAD"] if "GET" in found else []), *(each for each in found if each != "GET")]


async def answer_at(
    view: NodeView, request: HttpRequest, path: str, caller: Caller, bodies: ByteBudget
) -> tuple[int, RawHeaders, bytes]:
    """Status, headers and body. The method is one of `methods_at`. Raises `MasaError`, `ClientDisconnected`."""
    head = request.head
    is_read = head.method in {"GET", "HEAD"}
    endpoint, parts = next(found for found in _at(path) if found[0].method == ("GET" if is_read else head.method))
    if endpoint.is_owners:
        (caller.check_owner if is_read else caller.check_may_change)()
    body = await _read(request, bodies, endpoint.body) if endpoint.body is not None else None
    made = _MAKERS[endpoint](view, Asked(head.headers, head.query, caller, parts, body))
    if isinstance(made, Awaitable):
        made = await cast("Awaitable[object]", made)
    found = made if isinstance(made, Found) else Found(made, endpoint.status)
    headers = [(b"content-type", found.content_type or endpoint.content_type), *found.headers]
    if not is_read:
        headers.append((b"cache-control", b"no-store"))
    text = found.value if isinstance(found.value, bytes) else msgspec.json.encode(found.value)
    return found.status, headers, text


async def _read(request: HttpRequest, bodies: ByteBudget, kind: type[msgspec.Struct]) -> object:
    try:
        with HeldBody(bodies) as held:
            body = await read_body(request, held, MAX_BODY_BYTES)
    except BodyTooLarge as exc:
        raise BodyTooLarge(f"The body is larger than {MAX_BODY_BYTES} bytes, the limit at this endpoint.") from exc
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as exc:
        raise CallerError(f"The body is not understood: {exc}.") from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadJson(f"The body is not JSON: {exc}.") from exc
