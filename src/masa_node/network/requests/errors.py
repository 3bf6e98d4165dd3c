"""Errors on their way between two nodes: what the requester may know of a failure, and what it makes of that."""

from masa_node.chat.errors import (
    BrokenAnswer,
    CallerError,
    ConnectionClosed,
    ConnectionRefused,
    DnsFailed,
    EncodedAnswer,
    EndpointMissing,
    ErrorAnswer,
    ErrorInStream,
    FirstPieceTimeout,
    MasaError,
    MemoryFull,
    NotAnAnswer,
    Overloaded,
    PeerBusy,
    PeerRefused,
    PolicyError,
    ProviderAway,
    ProviderError,
    ProxyFailed,
    StakeDemanded,
    StakeUndecided,
    Stalled,
    TlsFailed,
    UnknownModel,
    Unreachable,
)
from masa_node.chat.request import Endpoint
from masa_node.chat.statuses import STATUS
from masa_node.network.requests.frames import RequestFailure, headers_from_peer
from masa_node.network.transport.foreign_text import MAX_MESSAGE_CHARS, sanitize
from masa_node.network.transport.redaction import redact

LLM_LOCATION = "its LLM server"
_INTERNAL = "internal_error"
_LOOKED_AT_CHARS = 4 * MAX_MESSAGE_CHARS  # what is cut off behind it is shown to nobody
# Whose key is wrong? That of the LLM's owner; the requester can do nothing about it, and the LLM's words may quote it.
ABOUT_THE_OWNERS_KEY = frozenset({401, 403, 407})
_LATER = "Ask again later, or another model."  # its owner alone can mend it
# What the requester is told instead of our own words, which name addresses, settings and other servers of the owner.
_WORDS: dict[str, str] = {
    ProviderAway.code: "it is away for the moment. Ask again in a few seconds.",
    Unreachable.code: f"it cannot be reached. {_LATER}",
    ProxyFailed.code: f"it cannot be reached. {_LATER}",
    ConnectionRefused.code: f"nothing listens there now. {_LATER}",
    DnsFailed.code: f"it cannot be found. {_LATER}",
    TlsFailed.code: f"no secure connection with it can be made. {_LATER}",
    ConnectionClosed.code: "it closed the connection before it answered. Ask again.",
    FirstPieceTimeout.code: f"it gave no answer in the time that its owner allows. {_LATER}",
    Stalled.code: "it fell silent, so the answer was cut. Ask again.",
}
_TOLD_AS = {ProxyFailed.code: Unreachable.code}  # by which way an LLM is reached is its owner's alone to know
_WITH_OWN_WORDS = (BrokenAnswer, NotAnAnswer, ErrorInStream)
CODES: dict[str, type[ProviderError]] = {
    error.code: error
    for error in (
        BrokenAnswer,
        ConnectionClosed,
        ConnectionRefused,
        DnsFailed,
        EncodedAnswer,
        ErrorInStream,
        FirstPieceTimeout,
        NotAnAnswer,
        PeerBusy,
        PeerRefused,
        ProviderAway,
        StakeDemanded,
        StakeUndecided,
        Stalled,
        TlsFailed,
        Unreachable,
    )
}


def failure_of(error: MasaError) -> RequestFailure:
    """What a peer may know of an error here: never an address or a setting of this node's owner."""
    match error:
        case Overloaded() | MemoryFull():
            failure = RequestFailure(PeerBusy.code, "it serves as many requests of peers as its owner allows.")
        case UnknownModel():
            failure = RequestFailure(PeerRefused.code, "it does not share that model.")
        case PeerRefused() | PeerBusy():
            failure = RequestFailure(error.code, for_peers(error.message))
        case CallerError() | PolicyError():
            failure = RequestFailure(PeerRefused.code, for_peers(error.message))
        case ErrorAnswer(status=status) if status in ABOUT_THE_OWNERS_KEY:
            failure = RequestFailure(ProviderError.code, f"it refused the key of its owner ({status}).", LLM_LOCATION)
        case ErrorAnswer():
            passed = headers_from_peer(error.headers)
            left = error.endpoints if isinstance(error, EndpointMissing) else ()
            names = tuple(sorted(endpoint.value for endpoint in left))
            failure = RequestFailure(error.code, for_peers(error.message), LLM_LOCATION, error.status, passed, names)
        case ProviderError():
            failure = RequestFailure(_TOLD_AS.get(error.code, error.code), _words(error), LLM_LOCATION)
        case _:
            failure = RequestFailure(_INTERNAL, "something went wrong inside it.")
    return failure


def error_of(failure: RequestFailure, location: str) -> ProviderError:
    """What this node makes of a peer's FAIL; `location` is the peer. An unknown code is a failure anyway."""
    message = sanitize(failure.message) or "it failed and does not say why."
    error: ProviderError
    if failure.code == EndpointMissing.code:
        left = frozenset(endpoint for endpoint in Endpoint if endpoint.value in failure.endpoints)
        error = EndpointMissing(message, left)
        error.status = failure.status or error.status
    elif failure.code == ErrorAnswer.code:
        status = failure.status or STATUS[ProviderError]
        error = ErrorAnswer(message, status=status, headers=headers_from_peer(failure.headers), body=b"", is_json=False)
    else:
        error = CODES.get(failure.code, ProviderError)(message)
    where = sanitize(failure.location)
    error.location = f"{location}, {where}" if where else location
    return error


def for_peers(text: str) -> str:
    """Words of this node as a peer may read them: without addresses, and short."""
    return sanitize(redact(text[:_LOOKED_AT_CHARS]))


def _words(error: ProviderError) -> str:
    if isinstance(error, _WITH_OWN_WORDS):
        return for_peers(error.message)
    return _WORDS.get(error.code, "it failed.")
