"""The one table of GET endpoints, and what answers them: lists of models, versions, health, metrics, the description.

To add one: a row in `GETS`, with what makes its answer.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import cache
from typing import cast
from urllib.parse import parse_qsl

import msgspec

from masa_node.accounts.access import Caller
from masa_node.api.aliasing import Aliasing, alias_header, alias_words, renamed
from masa_node.api.control.changes import CHANGES
from masa_node.api.control.events import EVENTS
from masa_node.api.control.owner import OwnerActions
from masa_node.api.control.pages import CONSOLE, HOME, ConsolePages, Found, wants_page
from masa_node.api.families import not_in_family, offers_for
from masa_node.api.http1.reply import RawHeaders
from masa_node.api.http1.request import Head, HeaderPairs
from masa_node.api.paths import AT_CLOUDFLARES, SEARCH_PATH
from masa_node.api.views import history, models
from masa_node.api.views.openapi import GetEndpoint, describe
from masa_node.chat.errors import ProviderAway, UnknownModel
from masa_node.chat.request import DialectName
from masa_node.chat.statuses import status_of_kind
from masa_node.dialects.bodies.peek import check_model
from masa_node.dialects.fields import FIELDS, TEXT, read
from masa_node.routing.catalog import Catalog, Offers
from masa_node.version import __version__

# The Ollama release whose API this one speaks: clients refuse versions that look too old for a feature they use.
OLLAMA_API_VERSION = "0.32.15"
_NODE_TO_ALL = ("version", "name", "node_id")  # of what the node tells of itself: to keys with names, too


class Readiness(msgspec.Struct, frozen=True):
    """`GET /readyz`. `why` says why nothing can be asked, and what to do; None if something can."""

    ready: bool
    upstreams: list[dict[str, object]]
    why: str | None


class NodeView(msgspec.Struct, frozen=True):
    """What the status endpoints show.

    `readiness` says whether anything can be asked. `node`, `peers` and `stake` describe the node and its network, ready
    to be encoded as JSON; `doctor` looks for what is wrong, which takes seconds. `aliasing` knows the owner's own names
    for models. `first_look` returns when every LLM server has listed its models once, or takes too long to. `running`
    gives the entries of Ollama's `/api/ps`. `history` remembers requests, `pages` are the console, `actions` has the
    node do what its owner wants. `needs_key`: must callers send a key?
    """

    catalog: Catalog
    aliasing: Aliasing
    first_look: Callable[[], Awaitable[None]]
    running: Callable[[], Awaitable[list[msgspec.Raw]]]
    readiness: Callable[[], Readiness]
    metrics: Callable[[], bytes]
    node: Callable[[], dict[str, object]]
    peers: Callable[[], object]
    stake: Callable[[], object]
    doctor: Callable[[bool], Awaitable[object]]
    history: Callable[[], history.History]
    pages: ConsolePages
    actions: OwnerActions
    needs_key: Callable[[], bool]


class Asked(msgspec.Struct, frozen=True):
    """What is asked for, and by whom. `model` is the end of the path where the name of a model, or an id, stands."""

    headers: HeaderPairs
    query: bytes
    model: str
    caller: Caller

    @property
    def fields(self) -> dict[str, str]:
        """The query, by names."""
        return dict(parse_qsl(self.query.decode("latin-1"), keep_blank_values=True))


# Makes an answer, at once or not: bytes, what is written as JSON, or that with a status and headers.
Make = Callable[[NodeView, Asked], object]


def _models(tell: Callable[[Offers, Asked], Awaitable[object]]) -> Make:
    """What this caller can ask for, once LLM servers had the time to say so."""

    async def made(view: NodeView, asked: Asked) -> object:
        await view.first_look()
        offers = view.aliasing.offers()
        if asked.caller.key is not None:
            offers = [pair for pair in offers if asked.caller.allows(pair[1].model)]
        await asyncio.sleep(0)  # peers tell of tens of thousands, and the choice took its time
        return await tell(offers, asked)

    return made


def _owners(tell: Callable[[NodeView], object]) -> Make:
    """What is the owner's to see. Raises `KeyRefused` for others."""

    def made(view: NodeView, asked: Asked) -> object:
        asked.caller.check_owner()
        return tell(view)

    return made


def _readyz(view: NodeView, asked: Asked) -> object:
    del asked
    found = view.readiness()
    return found if found.ready else Found(found, status_of_kind(ProviderAway))


async def _ps(view: NodeView, asked: Asked) -> object:
    return {"models": [entry for entry in await view.running() if asked.caller.allows(_name_of(entry))]}


def _name_of(entry: msgspec.Raw) -> str:
    fields = read(entry, FIELDS) or {}
    return next((name for key in ("model", "name") if key in fields and (name := read(fields[key], TEXT))), "")


async def _one_model(view: NodeView, asked: Asked) -> object:
    name = check_model(asked.model)
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
    family = _family(asked)
    found = offers_for(family, offers)
    if not found:
        raise not_in_family(model, family, offers)
    entry = {**models.openai_entry(renamed(found, name, model)[0][1]), "id": name}
    return Found(entry, headers=alias_header(name, model))


def _family(asked: Asked) -> DialectName:
    """Whose client lists models: Anthropic's say so, all others are taken for OpenAI's."""
    return (
        DialectName.ANTHROPIC if any(name == b"anthropic-version" for name, _ in asked.headers) else DialectName.OPENAI
    )


def _node(view: NodeView, asked: Asked) -> object:
    status = view.node()
    return status if asked.caller.is_owner else {name: status[name] for name in _NODE_TO_ALL}


def _root(view: NodeView, asked: Asked) -> object:
    if view.pages and wants_page(asked.headers):
        return view.pages.lead_there()
    return f"Masa Node {__version__} is running. See /openapi.json, /api/v1/llm/models.".encode()


def _page(view: NodeView, asked: Asked) -> object:
    return view.pages.show(asked.model, asked.headers)


def _me(view: NodeView, asked: Asked) -> object:
    caller = asked.caller
    return {
        "name": caller.name,
        "is_owner": caller.is_owner,
        "may_change": caller.may_change,
        "by": caller.by,
        "expires_at_unix_s": caller.expires_at_unix_s,
        "key_needed": view.needs_key(),
    }


async def _invites(view: NodeView) -> object:
    return {"invites": await view.actions.invites()}


async def _doctor(view: NodeView, asked: Asked) -> object:
    asked.caller.check_owner()
    return await view.doctor(asked.fields.get("only") == "network")


@cache
def _described() -> bytes:
    """Made once: it is large, and anybody may ask for it again and again."""
    return msgspec.json.encode(describe((*GETS, EVENTS), CHANGES))


_ALIVE = {"status": "ok"}
_vendor_models = _models(lambda offers, asked: models.openai_list(offers_for(_family(asked), offers)))


# Every endpoint that is read, and what makes its answer: the one table. `/openapi.json` and docs/ are made from it.
GETS: dict[GetEndpoint, Make] = {
    GetEndpoint("/", "Is the node running? A browser is led to the console", "text/plain"): _root,
    GetEndpoint(HOME, "Leads to the console", "text/html"): lambda view, _: view.pages.lead_there(),
    GetEndpoint(CONSOLE, "The console: the node as pages for a browser; CONSOLE=off: none", "text/html"): _page,
    GetEndpoint(CONSOLE + "{file}", "A file of the console", "*/*"): _page,
    GetEndpoint("/healthz", "Liveness: the process answers"): lambda _view, _asked: _ALIVE,
    GetEndpoint("/health", "The same, where clients of llama.cpp and vLLM look for it"): lambda _view, _asked: _ALIVE,
    GetEndpoint("/v1/health", "The same"): lambda _view, _asked: _ALIVE,
    GetEndpoint("/readyz", "Readiness: some model can be asked; if none, why, and what to do"): _readyz,
    GetEndpoint("/metrics", "Prometheus metrics", "text/plain; version=0.0.4; charset=utf-8"): _owners(
        lambda view: view.metrics()
    ),
    GetEndpoint("/openapi.json", "This description"): lambda _view, _asked: _described(),
    GetEndpoint("/api/v1/node", "The node itself: version, id, addresses, load, policies"): _node,
    GetEndpoint("/api/v1/peers", "The peers: which are linked, directly or by relay, and what they share"): _owners(
        lambda view: view.peers()
    ),
    GetEndpoint("/api/v1/stake", "Stakes: the policies, this node's own stake, what was read of the chain"): _owners(
        lambda view: view.stake()
    ),
    GetEndpoint("/api/v1/doctor", "What is wrong here, and what to do; `only=network` asks no LLM server"): _doctor,
    GetEndpoint(
        "/api/v1/races",
        "The last requests that ended, newest first, each with its race: asked when, and how it ended",
        query=history.RacesAsked,
    ): lambda view, asked: history.races(view.history(), asked.caller, asked.fields),
    GetEndpoint("/api/v1/races/{request_id}", "One of them, by the `X-Request-Id` of its answer"): lambda view, asked: (
        history.race(view.history(), asked.caller, asked.model)
    ),
    GetEndpoint(
        history.REQUESTS_PATH, "The requests that are under way, those of peers among them"
    ): lambda view, asked: history.requests(view.history(), asked.caller),
    GetEndpoint(
        "/api/v1/usage", "Who used what: requests, tokens, times, as `masa-node usage`", query=history.UsageAsked
    ): lambda view, asked: history.usage(view.history(), asked.caller, asked.fields),
    GetEndpoint("/api/v1/console/me", "The caller: name, by what let in, and may they change the node"): _me,
    GetEndpoint("/api/v1/invites", "The invites that can still be used; no link is kept"): _owners(_invites),
    GetEndpoint("/api/v1/llm/models", "The models that can be asked for now, their providers and endpoints"): _models(
        lambda offers, _: models.own_list(offers)
    ),
    GetEndpoint(
        "/v1/models",
        "The models that can be asked in OpenAI's formats; with an `anthropic-version` header, in Anthropic's",
    ): _vendor_models,
    GetEndpoint("/models", "The same, for base URLs without /v1"): _vendor_models,
    GetEndpoint("/api/tags", "The models that can be asked in Ollama's formats"): _models(
        lambda offers, _: models.ollama_tags(offers_for(DialectName.OLLAMA, offers))
    ),
    GetEndpoint("/api/ps", "The models that the Ollamas behind the node hold in memory now"): _ps,
    GetEndpoint("/api/version", "The Ollama API version that is spoken"): lambda _view, _asked: {
        "version": OLLAMA_API_VERSION,
        "masa_node": __version__,
    },
    GetEndpoint(
        SEARCH_PATH, "The models that can be asked in Cloudflare's format; `search`, `task`, `page`, `per_page`"
    ): _models(lambda offers, asked: models.cloudflare_list(offers_for(DialectName.CLOUDFLARE, offers), asked.fields)),
    GetEndpoint("/v1/models/{model}", "One model, in a shape that the OpenAI and Anthropic SDKs read"): _one_model,
}
GET_PATHS = frozenset(each.path for each in GETS if "{" not in each.path)
_ROUTED = {each.path.removeprefix(AT_CLOUDFLARES): each for each in GETS}  # as `place_of` has it
_BEFORE_A_NAME = {path.partition("{")[0]: each for path, each in _ROUTED.items() if "{" in path}


def is_get(path: str) -> bool:
    """Is this something that is there to be read?"""
    return path in _ROUTED or path.startswith(tuple(_BEFORE_A_NAME))


async def read_out(view: NodeView, path: str, head: Head, caller: Caller) -> tuple[int, RawHeaders, bytes]:
    """Status, headers and body of what is there at this path (see `is_get`). Raises `MasaError`."""
    endpoint, name = _ROUTED.get(path), ""
    if endpoint is None:
        start = next(start for start in _BEFORE_A_NAME if path.startswith(start))
        endpoint, name = _BEFORE_A_NAME[start], path.removeprefix(start)
    made = GETS[endpoint](view, Asked(head.headers, head.query, name, caller))
    if isinstance(made, Awaitable):
        made = await cast("Awaitable[object]", made)
    found = made if isinstance(made, Found) else Found(made)
    content_type = found.content_type or endpoint.content_type
    text = found.value if isinstance(found.value, bytes) else msgspec.json.encode(found.value)
    return found.status, [(b"content-type", content_type), *found.headers], text
