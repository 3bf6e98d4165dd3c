"""The one protocol of everything that can answer a request."""

from collections.abc import Callable
from typing import Protocol

from masa_node.chat.answer import Answer
from masa_node.chat.request import Request

Sign = Callable[[], None]


def no_sign() -> None:
    """Ignores signs of life."""


class Provider(Protocol):
    """An LLM server behind this node, or a remote peer: routing sees no difference.

    `name` is unique on this node; `location` is it in words, for errors. `is_local` says whether it is behind this node
    or a peer. `is_trusted` says whether its owner may see requests marked `X-Masa-Privacy: trusted`, and `is_hosted`
    whether its answers cost this node's owner money. `priority` ranks own servers of one model: those of
    the lowest number share the work, and others are asked when none of these is well.
    """

    name: str
    location: str
    is_local: bool
    is_hosted: bool
    priority: int

    @property
    def is_trusted(self) -> bool:
        """Own LLM servers are; a peer is when this node's owner said so."""
        ...

    async def answer(self, request: Request, sign: Sign = no_sign) -> Answer:
        """Ask. Returns when the first valid piece is there; the caller of this owns the answer and closes it.

        `sign` is called at each sign of life until then: the head of a 2xx answer, bytes that are no piece yet.

        Raises `ProviderError` with its `location` set. When cancelled, the LLM is stopped at once and nothing stays
        open. Holds no deadline of its own: the request's is kept by the dispatcher.
        """
        ...
