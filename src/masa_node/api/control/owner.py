"""What an owner wants of a node through the console: the bodies of requests, what is answered, who carries it out."""

from typing import Annotated, Protocol

import msgspec
from msgspec import Meta


class TokenGiven(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `masa-node console` put behind its link."""

    token: Annotated[str, Meta(min_length=1, max_length=256)]


class InviteWanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An invite for so many nodes, which ends after so many seconds. Of one for one node, `note` is its name here."""

    note: Annotated[str, Meta(max_length=200)] = ""
    uses: Annotated[int, Meta(ge=1, le=10_000)] = 1
    lasts_s: Annotated[int, Meta(ge=60, le=366 * 86_400)] = 86_400


class LinkGiven(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `masa-node invite` printed on another node."""

    link: Annotated[str, Meta(min_length=1, max_length=4_096)]


class Invite(msgspec.Struct, frozen=True):
    """One that was made here; its link is not kept."""

    id: str
    note: str
    made_at_unix_s: int
    expires_at_unix_s: int
    uses_left: int


class MadeInvite(msgspec.Struct, frozen=True):
    """A new one. The link is shown once; `qr` is the same as a QR code without its quiet zone, a row each, 1 is dark.

    `ways` are those by which others can come, in words.
    """

    id: str
    link: str
    note: str
    uses: int
    expires_at_unix_s: int
    ways: list[str]
    qr: list[str]


class OwnerActions(Protocol):
    """Has the node do what its owner wants, as the commands of the same names do. Each raises `MasaError`."""

    async def invites(self) -> list[Invite]:
        """Those that can still be used, newest first."""
        ...

    async def make_invite(self, wanted: InviteWanted) -> MadeInvite:
        """A new one."""
        ...

    async def revoke_invite(self, invite_id: str) -> None:
        """It lets nobody in any more. Raises `UnknownInvite`."""
        ...

    async def join(self, link: str) -> str:
        """Join a network by this link; what became of it, in words. Raises `NotDone` where nothing did."""
        ...

    async def change_peer(self, verb: str, node_id: str) -> str:
        """One of `paths.PEER_VERBS` upon the peer with this whole id, the same way. Raises `NotDone`."""
        ...
