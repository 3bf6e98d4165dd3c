"""What is written to the caller: the headers of every answer, errors in a dialect's shape."""

import re
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import quote

from masa_node.api.http1.reply import RawHeaders, Reply, lines_of
from masa_node.chat.answer import WholeAnswer
from masa_node.chat.errors import (
    ErrorAnswer,
    MasaError,
    MemoryFull,
    Overloaded,
    PeerBusy,
    ProviderAway,
    ProviderError,
    StakeUnknown,
    Unauthorized,
    WrongMethod,
)
from masa_node.chat.headers import SHOULD_RETRY, WHEN_TO_ASK_AGAIN
from masa_node.chat.key_errors import KeyLimited, KeySpent
from masa_node.chat.outcome import WON, Attempt, abridged
from masa_node.chat.request import DialectName, Headers, RequestId
from masa_node.chat.statuses import is_final, status_of
from masa_node.chat.websocket_errors import NoWebSocket
from masa_node.dialects.dialect import ErrorText
from masa_node.dialects.registry import DIALECTS

AWAY_RETRY_AFTER_S = 2  # a lost peer is dialed again, and a server that is down looked at, every second or two
_RETRY_AFTER_S: dict[type[MasaError], int] = {
    PeerBusy: 1,  # a slot may be free at any moment
    MemoryFull: 1,
    ProviderAway: AWAY_RETRY_AFTER_S,
    StakeUnknown: 10,  # a chain that could not be read is not asked again before
}
_CONTENT_TYPE = b"content-type"
_JSON = (_CONTENT_TYPE, b"application/json")
_PLAIN = (_CONTENT_TYPE, b"text/plain; charset=utf-8")
_IS_JSON = re.compile(rb"application/([\w.-]+\+)?json\s*(;|$)", re.IGNORECASE)
_RUNS_IN_BROWSERS = re.compile(r"html|xml|svg|script|css|pdf|multipart", re.IGNORECASE)
# What an LLM's error brings along that is wrong for an error in our words.
_OF_THE_BODY = (_CONTENT_TYPE, b"request-id")
_SHOULD_RETRY = SHOULD_RETRY.encode()
_UNAVAILABLE = 503
_PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")


def error_text(error: MasaError, request_id: RequestId) -> ErrorText:
    """The error in words: what happened, where, what to do."""
    location = error.location if isinstance(error, ProviderError) else ""
    message = f"{location}: {error.message}" if location else error.message
    return ErrorText(status_of(error), error.code, message, request_id)


async def send_error(
    reply: Reply, error: MasaError, dialect: DialectName, request_id: RequestId, headers: RawHeaders
) -> int:
    """The error in the dialect's shape, or as the LLM itself gave it. Returns the size of the body in bytes."""
    text = error_text(error, request_id)
    if isinstance(error, ErrorAnswer) and error.is_json and text.status == error.status:
        body = error.body
        headers += _labelled_as_json(error.headers)
    else:
        body = DIALECTS[dialect].error_body(text)
        headers.append(_JSON)
        headers += _retry_after(error)
        if dialect == DialectName.ANTHROPIC:
            headers.append((b"request-id", request_id.encode()))  # the name that its SDK reads
    says_nothing = isinstance(error, ErrorAnswer) and WHEN_TO_ASK_AGAIN.isdisjoint(name for name, _ in error.headers)
    if says_nothing and text.status == _UNAVAILABLE:
        headers.append((b"retry-after", b"%d" % AWAY_RETRY_AFTER_S))  # llama.cpp while it loads its model
    if is_final(error) and not any(name == _SHOULD_RETRY for name, _ in headers):
        headers.append((_SHOULD_RETRY, b"false"))  # the SDKs of OpenAI and Anthropic send a 5xx twice more, else
    if isinstance(error, WrongMethod):
        headers.append((b"allow", error.allowed.encode()))
    if isinstance(error, NoWebSocket):
        headers += [(b"upgrade", b"HTTP/1.1"), (b"connection", b"upgrade")]  # RFC 9110, 15.5.22
    if isinstance(error, Unauthorized):  # an LLM's 401 is about its key, not about this node's
        headers.append((b"www-authenticate", b'Bearer realm="masa-node"'))
    await reply.whole(text.status, headers, body)
    return len(body)


def _labelled_as_json(headers: Headers) -> RawHeaders:
    """The headers of a JSON body. A label that says otherwise is put right: a browser would believe it."""
    given = raw_headers(headers)
    if any(name == _CONTENT_TYPE and _IS_JSON.match(value) for name, value in given):
        return given
    return [_JSON, *(pair for pair in given if pair[0] != _CONTENT_TYPE)]


def _retry_after(error: MasaError) -> RawHeaders:
    if isinstance(error, ErrorAnswer):
        return [pair for pair in raw_headers(error.headers) if pair[0] not in _OF_THE_BODY]
    if isinstance(error, Overloaded | KeyLimited | KeySpent):
        return [(b"retry-after", b"%d" % error.retry_after_s)]
    return [(b"retry-after", b"%d" % after_s) for kind, after_s in _RETRY_AFTER_S.items() if isinstance(error, kind)]


def raw_headers(headers: Headers) -> RawHeaders:
    """Text headers as bytes. An LLM's answer is never labelled as what a browser would run: it says what it is told."""
    return [*map(_raw, headers)]


@lru_cache(maxsize=512)
def _raw(header: tuple[str, str]) -> tuple[bytes, bytes]:
    name, value = header
    if name == "content-type" and _RUNS_IN_BROWSERS.search(value):
        return _PLAIN
    return name.encode("latin-1"), value.encode("latin-1", "replace")


def request_headers(request_id: RequestId, model: str = "", attempts: Sequence[Attempt] = ()) -> RawHeaders:
    """The headers that say how a request went: its id, the model, the provider, the trail."""
    headers = [(b"x-request-id", request_id.encode())]
    if model:
        headers.append((b"x-masa-model", header_text(model)))
    if attempts:
        for attempt in attempts:
            if attempt.result == WON:
                headers.append((b"x-masa-served-by", b"local" if attempt.is_local else header_text(attempt.provider)))
                break
        parts = [
            b"%b=%b;ms=%d"
            % (header_text(a.provider), a.result.encode(), round(1000 * (a.ended_after_s - a.asked_after_s)))
            for a in abridged(attempts)
        ]
        headers.append((b"x-masa-attempts", b", ".join(parts)))
    return headers


def whole_lines(request_id: RequestId, model: str, attempt: Attempt, answer: WholeAnswer) -> bytes:
    """The same, and the headers of the LLM's answer, as lines: of a request that nobody but its winner was asked."""
    took_ms = int(1000 * (attempt.ended_after_s - attempt.asked_after_s) + 0.5)
    winner, rest = _usual_lines(model, attempt.provider, attempt.is_local, answer.headers)
    return f"x-request-id: {request_id}{winner}{took_ms}{rest}{len(answer.body)}\r\n".encode("latin-1")


@lru_cache(maxsize=128)
def _usual_lines(model: str, provider: str, is_local: bool, headers: Headers) -> tuple[str, str]:  # noqa: FBT001
    """What stands between the request's id and how long it took, and between that and the answer's length."""
    name = header_text(provider)
    about = [(b"x-masa-model", header_text(model)), (b"x-masa-served-by", b"local" if is_local else name)]
    winner = b"\r\n%bx-masa-attempts: %b=%b;ms=" % (lines_of(about), name, WON.encode())
    return winner.decode("ascii"), f"\r\n{lines_of(raw_headers(headers)).decode('latin-1')}content-length: "


@lru_cache(maxsize=512)
def header_text(text: str) -> bytes:
    """Any text as a header value: printable ASCII stays, the rest is percent-encoded."""
    return quote(text, safe=_PRINTABLE).encode()
