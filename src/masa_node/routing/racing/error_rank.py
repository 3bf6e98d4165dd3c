"""When all have failed: which side is at fault, and which error helps the caller most? Pure."""

from collections.abc import Sequence

from masa_node.chat.errors import (
    BrokenAnswer,
    EncodedAnswer,
    EndpointMissing,
    ErrorAnswer,
    ErrorInStream,
    FirstPieceTimeout,
    MemoryFull,
    NotAnAnswer,
    PeerBusy,
    PeerRefused,
    ProviderAway,
    ProviderError,
    StakeDemanded,
    Stalled,
    TlsFailed,
)

# The LLM understood the request and says what is wrong with it: most useful first.
_ABOUT_THE_REQUEST = (400, 422, 413)
_TOO_MANY = 429
_BY_RANK = (_ABOUT_THE_REQUEST, (404,), (_TOO_MANY,), (401, 403))  # then about the model, the load, and rights
# About the server's account or load; any other 4xx is about the request (RFC 9110, 15.5).
_NOT_THE_CALLERS = frozenset({401, 402, 403, 407, 408, 425, 429, 499})
_CALLERS = frozenset(range(400, 500)) - _NOT_THE_CALLERS
_SERVER_FAULT = 500
_RANKS = (
    (FirstPieceTimeout, 5),
    (PeerBusy | StakeDemanded | MemoryFull | ProviderAway, 6),
    (ErrorInStream, 7),
    (EncodedAnswer | PeerRefused | TlsFailed, 11),  # only if nothing failed of which asking again may help
    (BrokenAnswer | NotAnAnswer | Stalled, 9),
)


def is_the_callers_fault(error: ProviderError) -> bool:
    """Would any working server have refused this request?"""
    return isinstance(error, ErrorAnswer) and error.status in _CALLERS


def is_busy(error: ProviderError) -> bool:
    """Is the provider well, but without a free slot?"""
    return isinstance(error, PeerBusy) or (isinstance(error, ErrorAnswer) and error.status == _TOO_MANY)


def is_refusal(error: ProviderError) -> bool:
    """Did an LLM say that the request itself is wrong? Any other one with this model would say the same."""
    if isinstance(error, EndpointMissing):  # another server may have it
        return False
    return isinstance(error, ErrorAnswer) and error.status in _ABOUT_THE_REQUEST


def best_error(errors: Sequence[ProviderError]) -> ProviderError:
    """The error that tells the caller most; of equals the first. Needs at least one."""
    return min(errors, key=_rank)


def _rank(error: ProviderError) -> int:
    """An LLM's words about the request come first, then the lack of time or of places: there asking again may help."""
    if isinstance(error, ErrorAnswer):
        other = 8 if error.status >= _SERVER_FAULT else 4
        return next((rank for rank, statuses in enumerate(_BY_RANK) if error.status in statuses), other)
    return next((rank for kinds, rank in _RANKS if isinstance(error, kinds)), 10)
