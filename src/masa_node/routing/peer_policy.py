"""A policy for peers: which to ask, in which order, and which not at all. The stake policy is one."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from masa_node.chat.errors import PolicyError
from masa_node.routing.provider import Provider


class Selection(msgspec.Struct, frozen=True):
    """Groups of peers, the best first; one is asked when those before it have failed, or a stream is long in coming.

    None is empty.

    `refusal` says why none is left; it is None while any is.
    """

    groups: tuple[Sequence[Provider], ...]
    refusal: PolicyError | None = None


class PeerPolicy(Protocol):
    """The rule."""

    def select(self, peers: Sequence[Provider]) -> Selection:
        """Sort these peers by the policy; at least one is given. Called for each request: microseconds a peer."""
        ...

    async def refresh(self, peers: Sequence[Provider]) -> None:
        """Wait, for a bounded time, for look-ups about them that are under way. Raises nothing."""
        ...


class AnyPeer:
    """No rule: every peer may be asked."""

    def select(self, peers: Sequence[Provider]) -> Selection:
        """See `PeerPolicy`."""
        return Selection((peers,))

    async def refresh(self, peers: Sequence[Provider]) -> None:
        """See `PeerPolicy`."""
