"""The one table of endpoints that change the node or end something, and what each does.

To add one: a row in `CHANGES`. Nothing here changes the node by being on its machine alone: see `Caller.may_change`.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import msgspec

from masa_node.accounts.access import Caller
from masa_node.accounts.sessions import Sessions
from masa_node.api.control.owner import InviteWanted, LinkGiven, OwnerActions, TokenGiven
from masa_node.api.guard import SESSION_PATH
from masa_node.api.http1.request import HttpRequest
from masa_node.api.paths import PEER_VERBS
from masa_node.api.request_body import HeldBody, read_body
from masa_node.api.views import history
from masa_node.api.views.openapi import ChangeEndpoint
from masa_node.chat.errors import BadJson, BodyTooLarge, CallerError, Unauthorized, UnknownPath
from masa_node.chat.owner_errors import UnknownInvite

MAX_BODY_BYTES = 32 * 1024  # the longest link and note, with every character escaped
_NODE_ID = re.compile(r"[0-9a-f]{64}")
_INVITE_ID = re.compile(r"[0-9a-f]{8}")
_SHOWN_CHARS = 64


Body = TypeVar("Body")


class Wanted(msgspec.Struct, Generic[Body], frozen=True):
    """What is wanted, and by whom. `parts` are what stands for the braces of the path."""

    caller: Caller
    parts: tuple[str, ...]
    body: Body


class Changes(msgspec.Struct, frozen=True):
    """Carries them out. `sessions` are those of the console, `past` is for the requests under way."""

    actions: OwnerActions
    sessions: Sessions
    past: history.History

    async def carry_out(self, request: HttpRequest, path: str, caller: Caller, held: HeldBody) -> tuple[int, bytes]:
        """Status and JSON. The path is one of `methods_at`. Raises `MasaError`, `ClientDisconnected`."""
        endpoint, parts = next(found for found in _at(path) if found[0].method == request.head.method)
        if endpoint.is_owners:
            caller.check_may_change()
        body = await _read(request, held, endpoint.body) if endpoint.body is not None else None
        answer = await CHANGES[endpoint](self, Wanted(caller, parts, body))
        return endpoint.status, msgspec.json.encode(answer)


Carry = Callable[[Changes, Any], Awaitable[object]]  # each takes what `_read` makes of its endpoint's own body


def methods_at(path: str) -> list[str]:
    """Those that change something at this path."""
    return [endpoint.method for endpoint, _ in _at(path)]


async def _begin_session(changes: Changes, wanted: Wanted[TokenGiven]) -> object:
    text, session = changes.sessions.exchange(wanted.body.token)
    return {"session": text, "expires_at_unix_s": session.expires_at_unix_s}


async def _end_session(changes: Changes, wanted: Wanted[None]) -> object:
    session = wanted.caller.session
    if session is None:
        raise Unauthorized("No session of the console came along, so that none was ended.")
    changes.sessions.end(session)
    return {"ended": 1}


async def _revoke_invite(changes: Changes, wanted: Wanted[None]) -> object:
    (invite_id,) = wanted.parts
    if _INVITE_ID.fullmatch(invite_id) is None:
        raise UnknownInvite(f"There is no invite {invite_id[:_SHOWN_CHARS]!r}: an id has 8 hexadecimal digits.")
    await changes.actions.revoke_invite(invite_id)
    return {"revoked": invite_id}


async def _join(changes: Changes, wanted: Wanted[LinkGiven]) -> object:
    return {"words": await changes.actions.join(wanted.body.link)}


async def _change_peer(changes: Changes, wanted: Wanted[None]) -> object:
    node_id, verb = wanted.parts
    if verb not in PEER_VERBS:
        raise UnknownPath(f"A peer cannot be {verb[:_SHOWN_CHARS]!r} here. There are: {', '.join(PEER_VERBS)}.")
    if _NODE_ID.fullmatch(node_id) is None:
        raise CallerError(f"{node_id[:_SHOWN_CHARS]!r} is not a node id: it has 64 hexadecimal digits, in lower case.")
    return {"words": await changes.actions.change_peer(verb, node_id)}


async def _end_request(changes: Changes, wanted: Wanted[None]) -> object:
    return history.end(changes.past, wanted.caller, wanted.parts[0])


CHANGES: dict[ChangeEndpoint, Carry] = {
    ChangeEndpoint(
        "POST", SESSION_PATH.decode(), "Exchange the token of a `masa-node console` link for a session", TokenGiven
    ): _begin_session,
    ChangeEndpoint("DELETE", SESSION_PATH.decode(), "End the session that is sent along"): _end_session,
    ChangeEndpoint(
        "POST", "/api/v1/invites", "Make an invite; its link is shown once", InviteWanted, status=201, is_owners=True
    ): lambda changes, wanted: changes.actions.make_invite(wanted.body),
    ChangeEndpoint("DELETE", "/api/v1/invites/{invite_id}", "Revoke an invite", is_owners=True): _revoke_invite,
    ChangeEndpoint("POST", "/api/v1/join", "Join a network by an invite's link", LinkGiven, is_owners=True): _join,
    ChangeEndpoint(
        "POST", "/api/v1/peers/{node_id}/{verb}", "Trust, untrust, block, unblock or forget a peer", is_owners=True
    ): _change_peer,
    ChangeEndpoint(
        "DELETE", "/api/v1/requests/{request_id}", "End a request that is under way: its LLM is stopped"
    ): _end_request,
}
_PATTERNS = [
    (endpoint, re.compile(re.sub(r"\\\{\w+\\\}", "([^/]+)", re.escape(endpoint.path)))) for endpoint in CHANGES
]


def _at(path: str) -> list[tuple[ChangeEndpoint, tuple[str, ...]]]:
    matches = ((endpoint, pattern.fullmatch(path)) for endpoint, pattern in _PATTERNS)
    return [(endpoint, match.groups()) for endpoint, match in matches if match is not None]


async def _read(request: HttpRequest, held: HeldBody, kind: type[msgspec.Struct]) -> object:
    try:
        body = await read_body(request, held, MAX_BODY_BYTES)
    except BodyTooLarge as exc:
        raise BodyTooLarge(f"The body is larger than {MAX_BODY_BYTES} bytes, the limit at this endpoint.") from exc
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as exc:
        raise CallerError(f"The body is not understood: {exc}.") from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise BadJson(f"The body is not JSON: {exc}.") from exc
