"""JSON-RPC 2.0 as bytes: calls, batches, answers, errors. Pure; nothing that a server says is taken on trust.

https://www.jsonrpc.org/specification and https://ethereum.github.io/execution-apis/
"""

import re
from collections.abc import Sequence

import msgspec

from masa_node.chat.errors import MasaError
from masa_node.dialects.fields import ABSENT, TEXT, is_given, read

HTTP_OK = 200
HTTP_TOO_MANY = 429
MAX_QUOTED_CHARS = 160  # of what a server says: a sentence

# Of those 4xx that may mean "no batches here" the ones are left out that cannot: no key, no such path, too many.
_NEVER_ABOUT_BATCHES = frozenset({401, 404, HTTP_TOO_MANY})
# dRPC answers 500 to a batch that is too long for its free tier.
_ALSO_ABOUT_BATCHES = frozenset({500, 501})
# EIP-1474 "limit exceeded", HTTP's own number, and what QuickNode and Base's public servers say.
_LIMITS = frozenset({-32005, HTTP_TOO_MANY, -32007, -32016})
# geth with and without revert data, and the VM error of Nethermind and OpenEthereum.
_REVERTS = frozenset({3, -32000, -32015})

_QUANTITY = re.compile(r"\A0x[0-9a-fA-F]{1,64}\Z")  # a uint256 has 64 digits
_DATA = re.compile(r"\A(?:Reverted )?0x((?:[0-9a-fA-F]{2})*)\Z")  # "Reverted " is Nethermind's
_HINTS = {
    401: " Is the key in the URL right?",
    403: " Is the key in the URL right?",
    404: " Is the URL right?",
}


class RpcCall(msgspec.Struct, frozen=True):
    """One call; `params` are values that JSON can hold."""

    method: str
    params: tuple[object, ...] = ()


class RpcError(MasaError):
    """The RPC server answered with an error. `data` is what a contract gave with a revert, "" without.

    `rpc_code` is the server's number for it.
    """

    code = "rpc_error"

    def __init__(self, message: str, rpc_code: int = 0, data: bytes = b"") -> None:
        super().__init__(message)
        self.rpc_code = rpc_code
        self.data = data

    @property
    def may_be_revert(self) -> bool:
        """Can this be the contract's own refusal? geth has one code for reverts without data and for much else."""
        return bool(self.data) or self.rpc_code in _REVERTS


class BadReply(MasaError):
    """What an RPC server sent answers nothing. The message says what came."""

    code = "bad_reply"


class BatchRefused(BadReply):
    """The server takes no batches, or none of this length. Send the calls one by one."""

    code = "batch_refused"


class RateLimited(BadReply):
    """The RPC server was asked too often. Wait, or use another one."""

    code = "rate_limited"

    def __init__(self) -> None:
        super().__init__("it was asked too often (rate limit). Wait, or use an RPC that allows more.")


RpcReply = msgspec.Raw | RpcError
"""What a call gave: its result as JSON, which may be `null`, or the server's error."""


class _Request(msgspec.Struct, frozen=True):
    id: int
    method: str
    params: tuple[object, ...]
    jsonrpc: str = "2.0"


class _Response(msgspec.Struct):
    id: msgspec.Raw = ABSENT
    result: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT


class _Error(msgspec.Struct):
    code: msgspec.Raw = ABSENT
    message: msgspec.Raw = ABSENT
    data: msgspec.Raw = ABSENT


_ONE = msgspec.json.Decoder(_Response)
_MANY = msgspec.json.Decoder(list[_Response])
_ERROR = msgspec.json.Decoder(_Error)
_NUMBER = msgspec.json.Decoder(int)


def encode(calls: Sequence[RpcCall], first_id: int) -> bytes:
    """The body of a request: the call itself if it is one, a batch otherwise. Ids count up from `first_id`."""
    requests = [_Request(first_id + at, call.method, call.params) for at, call in enumerate(calls)]
    return msgspec.json.encode(requests[0] if len(requests) == 1 else requests)


def parse(status: int, body: bytes, first_id: int, count: int) -> tuple[RpcReply, ...]:
    """The answers to `encode`'s request, in the order of its calls.

    Raises `BatchRefused` where single calls may help, `RateLimited`, and `BadReply` for everything else that is not
    exactly one answer to each call.
    """
    if status == HTTP_TOO_MANY:
        raise RateLimited
    return (_parse_one(status, body, first_id),) if count == 1 else _parse_batch(status, body, first_id, count)


def quantity(result: RpcReply) -> int:
    """The number in a result: `"0x1f"`, at most a uint256. Raises `ValueError`; the server's error as it is."""
    text = read(_result(result), TEXT)
    return number_in(text)


def number_in(value: object) -> int:
    """The number that a decoded result writes as `"0x1f"`. Raises `ValueError`."""
    if not isinstance(value, str) or not _QUANTITY.match(value):
        raise ValueError("that is not a number in hexadecimal")
    return int(value, 16)


def data(result: RpcReply) -> bytes:
    """The bytes in a result: `"0x…"`. Raises `ValueError`; the server's error as it is."""
    text = read(_result(result), TEXT)
    found = _bytes_in(text)
    if found is None:
        raise ValueError("that is not bytes in hexadecimal")
    return found


def quoted(text: str) -> str:
    """What a stranger said, short and harmless to a terminal, in quotation marks."""
    printable = "".join(char if char.isprintable() else " " for char in text[: 4 * MAX_QUOTED_CHARS])
    words = " ".join(printable.split())
    return f'"{words[:MAX_QUOTED_CHARS]}"'


def _result(reply: RpcReply) -> msgspec.Raw:
    if isinstance(reply, RpcError):
        raise reply
    return reply


def _parse_one(status: int, body: bytes, call_id: int) -> RpcReply:
    answer = read(body, _ONE)
    if answer is None or not (is_given(answer.error) or _has_id(answer, call_id)):
        raise _no_answer(status, is_json=answer is not None)
    reply = _reply(answer)
    if not isinstance(reply, RpcError):
        if status != HTTP_OK:
            raise _no_answer(status, is_json=True)
    elif not (_has_id(answer, call_id) or bytes(answer.id) in (b"", b"null")):
        raise BadReply("it answered another call than this one (wrong id).")
    return reply


def _parse_batch(status: int, body: bytes, first_id: int, count: int) -> tuple[RpcReply, ...]:
    answers = read(body, _MANY)
    if answers is None:
        raise _no_batch(status, body)
    if len(answers) == 1:
        _check_limit(answers[0])
        raise BatchRefused("it gave one answer to several calls.")
    if status != HTTP_OK:
        raise _no_answer(status, is_json=True)
    if len(answers) != count:
        raise BadReply(f"it gave {len(answers)} answers to {count} calls.")
    by_id = {bytes(answer.id).strip(b'"'): answer for answer in answers}  # some servers give ids back as text
    try:
        return tuple(_reply(by_id[b"%d" % (first_id + at)]) for at in range(count))
    except KeyError as exc:
        raise BadReply("its answers are not those to the calls made (wrong, missing or doubled ids).") from exc


def _no_batch(status: int, body: bytes) -> BadReply:
    """Something else than a list came for a batch: why, and may single calls do better?"""
    answer = read(body, _ONE)
    if answer is not None:
        _check_limit(answer)
        return BatchRefused("it takes no batches.")
    is_client_error = 400 <= status < 500 and status not in _NEVER_ABOUT_BATCHES  # noqa: PLR2004 - HTTP's classes
    if is_client_error or status in _ALSO_ABOUT_BATCHES:
        return BatchRefused(f"it answered HTTP {status} to a batch.")
    return _no_answer(status, is_json=False)


def _no_answer(status: int, *, is_json: bool) -> BadReply:
    if status == HTTP_OK:
        what = "JSON, but no answer to the call made" if is_json else "something that is not JSON-RPC"
        return BadReply(f"it sent {what}. Is the URL that of an RPC server?")
    redirect = " That is a redirect; set the final URL." if 300 <= status < 400 else ""  # noqa: PLR2004 - HTTP's classes
    return BadReply(f"it answered HTTP {status}.{redirect or _HINTS.get(status, '')}")


def _has_id(answer: _Response, call_id: int) -> bool:
    return bytes(answer.id).strip(b'"') == b"%d" % call_id


def _check_limit(answer: _Response) -> None:
    if is_given(answer.error):
        _reply(answer)


def _reply(answer: _Response) -> RpcReply:
    """Raises `RateLimited`, and `BadReply` where there is neither a result nor an error."""
    if not is_given(answer.error):
        if not bytes(answer.result):
            raise BadReply("its answer has neither a result nor an error. Is the URL that of an RPC server?")
        return answer.result
    error = read(answer.error, _ERROR) or _Error()
    code = read(error.code, _NUMBER) or 0
    if code in _LIMITS:
        raise RateLimited
    message = read(error.message, TEXT) or read(answer.error, TEXT) or "no message"
    return RpcError(f"{quoted(message)} (code {code})", code, _revert_data(error.data))


def _revert_data(raw: msgspec.Raw) -> bytes:
    """What a contract gave with its revert: a text, or an object that holds one under the same name (Hardhat)."""
    inner = read(raw, _ERROR)
    return _bytes_in(read(inner.data if inner is not None else raw, TEXT)) or b""


def _bytes_in(text: str | None) -> bytes | None:
    found = _DATA.match(text) if text is not None else None
    return bytes.fromhex(found[1]) if found else None
