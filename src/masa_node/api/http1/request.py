"""One request as it comes in: its head, complete from the start, and its body while it arrives."""

import asyncio
from collections.abc import Callable, Sequence
from urllib.parse import unquote

from masa_node.chat.errors import MasaError

HeaderPairs = Sequence[tuple[bytes, bytes]]

MAX_UNREAD_BYTES = 64 * 1024  # of a body that nobody reads yet; beyond, the caller has to wait


class ClientDisconnected(Exception):
    """The caller closed the connection. Not a `MasaError`: there is nobody to answer."""


class Head:
    """What stands before a body: everything of it but `Content-Length`. It is never changed.

    `raw_path` is the path as it came, `path` the same with its escapes decoded, once. Names of headers are in lower
    case. One object stands for all equal heads that follow each other on a connection: `memo` is what the application
    has made of them.
    """

    __slots__ = ("headers", "memo", "method", "path", "query", "raw_path", "target")

    def __init__(self, method: str, target: bytes, headers: HeaderPairs) -> None:
        self.method = method
        self.target = target
        self.memo: object = None
        self.raw_path, _, self.query = target.partition(b"?")
        path = self.raw_path.decode("ascii")
        self.path = unquote(path) if "%" in path else path
        self.headers = headers


class HttpRequest:
    """A request, filled by its connection (`feed`, `complete`, `lose`) and read by one task.

    `wanted` is called when the task waits for more of the body, so that the connection has the caller go on. `path` is
    the head's until whoever answers has a better name for the same. `body`: all of it, where it came with the head.
    """

    def __init__(
        self, head: Head, content_length: int | None, wanted: Callable[[], None], body: bytes | None = None
    ) -> None:
        self.head = head
        self.path = head.path
        self.content_length = content_length
        self.expects_continue = False  # does the caller wait for `100 Continue` before it sends the body?
        self.is_admitted = False  # may it come in, so that its connection is not taken from it?
        self.is_whole = body is not None  # has all of the body come?
        self.is_gone = False  # has the caller left?
        self.is_cancelled_when_gone = False
        self.unread_bytes = len(body) if body else 0
        self._wanted = wanted
        self._pieces: list[bytes] = [body] if body else []
        self._sink: Callable[[bytes], None] | None = None
        self._waiter: asyncio.Future[None] | None = None

    # ---- what the task does ----

    async def read_into(self, sink: Callable[[bytes], None]) -> None:
        """Give what comes of the body to `sink`, piece by piece, until it is whole.

        Raises `ClientDisconnected`, and the `MasaError` that `sink` raises. Nothing more is given then, nor after
        cancellation.
        """
        taken = self.take()
        if taken:
            sink(taken)
        if self.is_whole:
            return
        self._sink, self._waiter = sink, asyncio.get_running_loop().create_future()
        self._wanted()
        try:
            await self._waiter
        finally:
            self._sink = self._waiter = None
        if self.is_gone:
            raise ClientDisconnected

    def take(self) -> bytes:
        """What has come of the body and was not taken yet. Raises `ClientDisconnected`."""
        if self.is_gone:
            raise ClientDisconnected
        pieces = self._pieces
        taken = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self.unread_bytes = 0
        return taken

    def body(self) -> bytes | None:
        """All of the body, which stays to be taken; None while more of it is to come, or some was taken."""
        if not self.is_whole or self.unread_bytes != (self.content_length or 0):
            return None
        if len(self._pieces) > 1:
            self._pieces = [b"".join(self._pieces)]
        return self._pieces[0] if self._pieces else b""

    def cancel_when_gone(self) -> None:
        """From now on the connection cancels the running task when the caller leaves, at once if it has left."""
        self.is_cancelled_when_gone = True
        task = asyncio.current_task() if self.is_gone else None
        if task is not None:
            task.cancel()

    # ---- what the connection does ----

    @property
    def is_waited_for(self) -> bool:
        """Does somebody take the body as it comes?"""
        return self._sink is not None

    def feed(self, piece: bytes) -> None:
        """More of the body came."""
        if self._sink is None:
            self._pieces.append(piece)
            self.unread_bytes += len(piece)
            return
        try:
            self._sink(piece)
        except MasaError as error:
            self._sink = None
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_exception(error)

    def complete(self) -> None:
        """All of the body has come."""
        self.is_whole = True
        self._wake()

    def lose(self) -> None:
        """The caller has left."""
        self.is_gone = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
