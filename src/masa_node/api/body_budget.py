"""How many bytes of callers' bodies the node holds at once, from the first byte of each until its answer is over."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from masa_node.chat.errors import Overloaded
from masa_node.routing.byte_budget import ByteBudget

HELD_BODY = "masa_node.held_body"  # in the scope of a request: the `HeldBody` that its body goes into
FULL_RETRY_AFTER_S = 2  # a body is held as long as its answer takes; most take a few seconds


class HeldBody:
    """A context manager: one request's body counts until the end of the block, however that comes.

    While bodies still arrive the largest of them goes when they are too much together, so that a crowd of large ones
    costs nobody a usual request.
    """

    __slots__ = ("_budget", "_pieces", "_share", "_tell")

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self._pieces: list[bytes] = []
        self._tell: Callable[[], object] | None = None

    def __enter__(self) -> Self:
        self._share = self._budget.open(self._drop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._share.release()

    def add(self, piece: bytes) -> None:
        """A piece came. Raises `Overloaded` when there is no room for this body, or is none any more."""
        if self._share.add(len(piece)):
            self._pieces.append(piece)
        self.check()

    @contextmanager
    def telling(self, tell: Callable[[], object]) -> Generator[None, None, None]:
        """Within this block, `tell` is called if the bytes are dropped while more are waited for."""
        self._tell = tell
        try:
            yield
        finally:
            self._tell = None

    def check(self) -> None:
        """Raises `Overloaded` if the bytes were dropped."""
        if self._share.is_taken:
            raise Overloaded(
                f"The bodies of all requests under way are larger together than {self._budget.most_bytes} bytes "
                f"(MAX_BODIES_TOTAL), and this was the largest still to come. Send less, or try again.",
                FULL_RETRY_AFTER_S,
            )

    def whole(self) -> bytes:
        """The body is complete: it is given once, and stays counted."""
        self._share.keep()
        body = b"".join(self._pieces)
        self._pieces.clear()
        return body

    def _drop(self) -> None:
        self._pieces.clear()
        if self._tell is not None:
            self._tell()
