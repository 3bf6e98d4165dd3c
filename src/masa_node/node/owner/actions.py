"""What the console's endpoints have the node do: each is the command of the same name, given to the node itself."""

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from masa_node.api.control.owner import Invite, InviteWanted, MadeInvite
from masa_node.chat.errors import CallerError, ConfigurationError, Overloaded
from masa_node.chat.owner_errors import NotDone, UnknownInvite
from masa_node.network.links.invites import BadInvite
from masa_node.network.store.commands import Verb
from masa_node.network.store.rows import KeptInvite
from masa_node.network.store.store import FILE_NAME
from masa_node.node.owner.folder import CommandedNode
from masa_node.node.owner.invites import WantedInvite, list_invites, make_invite, reach_in_words
from masa_node.node.owner.invites import invite_id as id_of
from masa_node.node.owner.peers import change_peer, join
from masa_node.node.owner.qr import qr_rows
from masa_node.node.settings.environment import Settings
from masa_node.storage.lock import is_held

MAX_AT_ONCE = 8  # each has the store open, and may wait for the node; an owner gives one after the other
BUSY_RETRY_AFTER_S = 2
_OFF = "This node runs without a network: NETWORK=off. Unset that, and start the node again."


class ConsoleActions:
    """See `OwnerActions`. At most MAX_AT_ONCE at a time; the next get `Overloaded`."""

    def __init__(self, settings: Settings) -> None:
        masa_dir = Path(settings.masa_dir).expanduser()
        self._node = CommandedNode(masa_dir, partial(is_held, masa_dir))
        self._has_network = settings.network != "off"
        self._running = 0

    async def invites(self) -> list[Invite]:
        """See `OwnerActions`."""
        if not (self._node.masa_dir / FILE_NAME).exists():  # nobody has made any, and looking makes no file
            return []
        async with self._one_more():
            kept, now_unix_s = await list_invites(self._node), time.time()
        usable = [each for each in kept if each.used < each.uses and each.expires_at_unix_s > now_unix_s]
        return [_shown(each) for each in usable]

    async def make_invite(self, wanted: InviteWanted) -> MadeInvite:
        """See `OwnerActions`. Raises `NotDone`, `NoAddress`, `StoreFailed`."""
        self._check_network()
        async with self._one_more():
            made = await make_invite(self._node, WantedInvite(wanted.lasts_s, wanted.uses, wanted.note))
        ways, rows = reach_in_words(made.address, made.missed_relay), qr_rows(made.link)
        return MadeInvite(made.id, made.link, made.note, made.uses, made.expires_at_unix_s, ways, rows)

    async def revoke_invite(self, invite_id: str) -> None:
        """See `OwnerActions`."""
        async with self._one_more(), self._node.store() as store:
            found = [each for each in await store.invites() if id_of(each) == invite_id]
            for invite in found:
                await store.revoke_invite(invite.token_hash)
        if not found:
            raise UnknownInvite(f"There is no invite {invite_id!r}. `masa-node invites` shows those that there are.")

    async def join(self, link: str) -> str:
        """See `OwnerActions`. Raises `NotDone`, `CallerError` for what is no invite."""
        self._check_network()
        async with self._one_more():
            try:
                return (await join(self._node, link)).words
            except BadInvite as exc:
                raise CallerError(exc.message) from exc

    async def change_peer(self, verb: str, node_id: str) -> str:
        """See `OwnerActions`."""
        async with self._one_more():
            try:
                return (await change_peer(self._node, Verb(verb), node_id)).words
            except ConfigurationError as exc:
                raise NotDone(exc.message) from exc

    def _check_network(self) -> None:
        if not self._has_network:
            raise NotDone(_OFF)

    @asynccontextmanager
    async def _one_more(self) -> AsyncGenerator[None]:
        if self._running >= MAX_AT_ONCE:
            raise Overloaded("As many changes are under way as this node takes at once. Try again.", BUSY_RETRY_AFTER_S)
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1


def _shown(invite: KeptInvite) -> Invite:
    return Invite(
        id_of(invite), invite.note, invite.made_at_unix_s, invite.expires_at_unix_s, invite.uses - invite.used
    )
