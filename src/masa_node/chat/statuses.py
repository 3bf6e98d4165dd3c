"""Which HTTP status stands for each error: the one table. Callers are answered with it, outcomes and docs/ quote it."""

from masa_node.chat import errors as e
from masa_node.chat import journal_errors as j
from masa_node.chat import key_errors as k
from masa_node.chat import owner_errors as o
from masa_node.chat import websocket_errors as w

STATUS: dict[type[e.MasaError], int] = {
    e.BadJson: 400,
    e.BadModel: 400,
    e.BadHost: 400,
    e.Unauthorized: 401,
    e.HostRefused: 403,
    e.OriginRefused: 403,
    e.UnknownModel: 404,
    e.UnknownPath: 404,
    j.UnknownRequest: 404,
    e.WrongMethod: 405,
    w.NoWebSocket: 426,  # at any other status Codex tries five times more before it goes on without
    e.BodyTooSlow: 408,
    e.CallerStalled: 408,
    e.BodyTooLarge: 413,
    e.EncodedBody: 415,
    e.DialectNotServed: 400,  # many clients hide the text of a 404
    e.CallerError: 400,
    k.KeyRefused: 403,
    o.ChangeRefused: 403,
    o.UnknownInvite: 404,
    o.NotDone: 409,
    o.NoAddress: 409,
    k.KeyLimited: 429,
    k.KeySpent: 429,
    e.Overloaded: 503,
    j.NodeStopping: 503,
    e.FirstPieceTimeout: 504,
    e.Stalled: 504,
    e.PeerBusy: 503,
    e.ProviderAway: 503,
    e.MemoryFull: 503,
    e.StakeUnknown: 503,
    e.StakeDemanded: 403,
    e.ProviderError: 502,
    e.RequestLoop: 508,
    e.PolicyError: 403,
    e.MasaError: 500,
}

FIRST_ERROR = 400

# Of these asking again makes nothing better: somebody has to change the request, a setting or a server.
_FINAL = (e.CallerError, e.PolicyError, e.EndpointMissing, e.PeerRefused, e.TlsFailed, e.EncodedAnswer)
_PASSING = (e.BodyTooSlow, e.CallerStalled, e.StakeUnknown, k.KeyLimited)


def status_of(error: e.MasaError) -> int:
    """The status for this error: an LLM's own where it answered with one, else that of its class."""
    if isinstance(error, e.ErrorAnswer) and error.status >= FIRST_ERROR:
        return error.status
    return status_of_kind(type(error))


def status_of_kind(kind: type[e.MasaError]) -> int:
    """That of the nearest class in the table."""
    return next(STATUS[each] for each in kind.__mro__ if each in STATUS)


def is_final(error: e.MasaError) -> bool:
    """Is it known that the same request, sent again soon, fails in the same way?"""
    return isinstance(error, _FINAL) and not isinstance(error, _PASSING)
