"""Asking RPC servers: one HTTP request a batch, the next URL where one fails, single calls where none takes batches."""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar
from urllib.parse import unquote, urlsplit

from masa_node.chat.errors import (
    BrokenAnswer,
    ChainUnknown,
    ConnectionClosed,
    ConnectionRefused,
    DnsFailed,
    NotAnAnswer,
    ProviderError,
    ProxyFailed,
    TlsFailed,
    Unreachable,
)
from masa_node.staking.ethereum.json_rpc import BadReply, BatchRefused, RpcCall, RpcError, RpcReply, encode, parse

__all__ = ["PostJson", "Rpc", "RpcCall", "RpcError", "RpcReply", "shown_url"]

URL_TIMEOUT_S = 1.0  # an RPC server answers in 0.05 to 0.3 s; a connection from far away with TLS takes as long again
# A block is told with the hash of each transaction, 70 bytes: this is one of 3 500, where Base has some hundreds.
MAX_RPC_ANSWER_BYTES = 256 * 1024
# A server that refused a batch for a passing reason gets the chance to save requests again.
BATCH_AGAIN_AFTER = 200
MIN_SECRET_CHARS = 6  # shorter parts of a URL are words such as "rpc" and "v3"

_FAILED: dict[type[ProviderError], str] = {
    ConnectionRefused: "nothing listens there (connection refused).",
    ConnectionClosed: "it closed the connection before it answered.",
    BrokenAnswer: "the connection broke in the middle of its answer.",
    NotAnAnswer: f"what came is not HTTP, or larger than {MAX_RPC_ANSWER_BYTES // 1024} KiB. Is it an RPC server?",
    Unreachable: "no connection could be made. Is the address right?",
}

T = TypeVar("T")


class PostJson(Protocol):
    """Posts a JSON body and gives the HTTP status and the body of the answer.

    Raises `ProviderError`: `Unreachable` and its kinds, `ConnectionClosed`, `BrokenAnswer`, and `NotAnAnswer` also
    where the answer is larger than `max_bytes`. Has no time limit of its own; cancelling it gives the connection up.
    """

    async def __call__(self, url: str, body: bytes, max_bytes: int) -> tuple[int, bytes]:
        """See the class."""
        ...


class Rpc:
    """The RPC servers of a profile, asked in their order. Holds no connection and owns no task between two requests."""

    def __init__(self, post: PostJson, urls: Sequence[str]) -> None:
        self._post = post
        self._urls = tuple(urls)
        self._ids = itertools.count(1)
        self._singly: dict[str, int] = {}  # servers that refuse batches: asks until one is tried again

    async def batch(self, calls: Sequence[RpcCall]) -> tuple[RpcReply, ...]:
        """A result or a server's error for each call, in order. Raises `ChainUnknown` when no URL answers."""
        return await self.judged(calls, _as_they_are)

    async def judged(self, calls: Sequence[RpcCall], judge: Callable[[tuple[RpcReply, ...]], T]) -> T:
        """What `judge` makes of the answers of the first URL at which it does not raise `ChainUnknown`.

        Takes URL_TIMEOUT_S a URL at most. Raises `ChainUnknown` with each URL's reason; no URL is shown with a key.
        """
        reasons: list[str] = []
        for url in self._urls:
            try:
                async with asyncio.timeout(URL_TIMEOUT_S):
                    replies = await self._ask_server(url, calls)
                return judge(replies)
            except (ProviderError, BadReply, ChainUnknown, TimeoutError) as exc:
                reasons.append(f"{shown_url(url)}: {_without_secrets(_why(exc), url)}")
        if not reasons:
            raise ChainUnknown("No RPC server is known. Set RPC_URL, or name one in the profile.")
        raise ChainUnknown("No RPC server answers as it should. " + " ".join(reasons))

    async def _ask_server(self, url: str, calls: Sequence[RpcCall]) -> tuple[RpcReply, ...]:
        if len(calls) > 1 and not self._is_to_be_asked_singly(url):
            try:
                return await self._send(url, calls)
            except BatchRefused:
                pass
        if len(calls) == 1:
            return await self._send(url, calls)
        replies = await self._send_each(url, calls)
        self._singly.setdefault(url, BATCH_AGAIN_AFTER)
        return replies

    def _is_to_be_asked_singly(self, url: str) -> bool:
        left = self._singly.get(url)
        if left is None:
            return False
        if left == 0:
            del self._singly[url]
            return False
        self._singly[url] = left - 1
        return True

    async def _send(self, url: str, calls: Sequence[RpcCall]) -> tuple[RpcReply, ...]:
        first_id = next(self._ids)
        for _ in calls[1:]:
            next(self._ids)
        status, body = await self._post(url, encode(calls, first_id), MAX_RPC_ANSWER_BYTES)
        return parse(status, body, first_id, len(calls))

    async def _send_each(self, url: str, calls: Sequence[RpcCall]) -> tuple[RpcReply, ...]:
        """All at the same time: one after the other would take longer than a URL is given."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._send_one(url, call)) for call in calls]
        replies: list[RpcReply] = []
        for task in tasks:
            reply = task.result()
            if isinstance(reply, ProviderError | BadReply):
                raise reply
            replies.append(reply)
        return tuple(replies)

    async def _send_one(self, url: str, call: RpcCall) -> RpcReply | ProviderError | BadReply:
        try:
            (reply,) = await self._send(url, (call,))
        except (ProviderError, BadReply) as exc:
            return exc
        return reply


def shown_url(url: str) -> str:
    """The scheme, host and port. The rest of an RPC URL holds its owner's key, and is shown to nobody."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "an RPC URL that cannot be read"
    host = parts.hostname or "?"
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"


def _as_they_are(replies: tuple[RpcReply, ...]) -> tuple[RpcReply, ...]:
    return replies


def _why(exc: Exception) -> str:
    match exc:
        case TimeoutError():
            return f"no answer within {URL_TIMEOUT_S:g} s."
        case DnsFailed() | TlsFailed() | ProxyFailed():
            return exc.message
        case ProviderError():
            return next((words for kind, words in _FAILED.items() if isinstance(exc, kind)), "it failed.")
        case _:
            return str(exc)


def _without_secrets(text: str, url: str) -> str:
    """Servers quote a refused key in their errors."""
    parts = urlsplit(url) if shown_url(url) != "an RPC URL that cannot be read" else urlsplit("")
    values = [part.rpartition("=")[2] for part in parts.query.split("&")]
    for secret in (*parts.path.split("/"), *values, parts.username or "", parts.password or ""):
        for form in (secret, unquote(secret)):
            if len(form) >= MIN_SECRET_CHARS:
                text = text.replace(form, "***")
    return text
