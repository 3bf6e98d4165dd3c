"""Invites of a node, as its owner makes, lists and revokes them, and the relay that leads to it."""

import secrets
import time
from collections.abc import Callable

import msgspec

from masa_node.chat.errors import ConfigurationError
from masa_node.network.links.invites import TOKEN_BYTES, Invite, make_link, token_hash
from masa_node.network.store.commands import Verb
from masa_node.network.store.rows import KeptInvite
from masa_node.network.store.store import Store
from masa_node.network.transport.addresses import PUBLIC_RELAYS, AddressScope, scope_of
from masa_node.network.transport.interfaces import PeerAddress
from masa_node.node.owner.folder import CommandedNode, known_address
from masa_node.node.settings.environment import Settings
from masa_node.node.settings.peers import relay_fault

MIN_ID_CHARS = 4
INVITE_ID_CHARS = 8  # of the token's hash: a thousand invites at most

_NO_INVITE = "It would refuse whoever came, so no invite was made. Its log says why it does not read MASA_DIR."
_NO_RELAY = "It does not read MASA_DIR; its log says why."


class MadeInvite(msgspec.Struct, frozen=True):
    """A new invite; `is_running` tells whether a node runs that could let somebody in now.

    `missed_relay` is to be used and was not reached; the link names it, for it may be reached later.
    """

    link: str
    id: str
    address: PeerAddress
    expires_at_unix_s: int
    uses: int
    note: str
    is_running: bool
    missed_relay: str = ""


class WantedInvite(msgspec.Struct, frozen=True):
    """What the owner wants of a new invite. `may_use_relay` asks them, where nobody elsewhere could reach this node."""

    lasts_s: int
    uses: int
    note: str
    may_use_relay: Callable[[], bool | None] = lambda: None


async def make_invite(node: CommandedNode, wanted: WantedInvite) -> MadeInvite:
    """Make one and keep its hash. A running node without peers goes on the network because of it.

    Raises `NoAddress` when the node's address is not known, `NotDone` when the node does not read the invite, which is
    then taken back.
    """
    token, now_unix_s = secrets.token_bytes(TOKEN_BYTES), int(time.time())
    record = KeptInvite(token_hash(token), now_unix_s, now_unix_s + wanted.lasts_s, wanted.uses, wanted.note)
    is_running = node.is_running()
    async with node.store() as store:
        await store.add_invite(record)
        try:
            address = await _reachable_address(node, store, wanted, is_running=is_running)
            missed = await _missed_relay(store, address) if is_running else ""
        except BaseException:
            await store.revoke_invite(record.token_hash)
            raise
    relay_url = address.relay_url or (missed if missed != PUBLIC_RELAYS else None) or None
    link = make_link(Invite(address.node_id, address.direct, relay_url, token, record.expires_at_unix_s))
    more = (record.expires_at_unix_s, record.uses, record.note, is_running, missed)
    return MadeInvite(link, invite_id(record), address, *more)


async def list_invites(node: CommandedNode) -> list[KeptInvite]:
    """Those kept, newest first."""
    async with node.store() as store:
        return await store.invites()


async def revoke_invite(node: CommandedNode, text: str) -> str:
    """Revoke the invite whose id begins so; its whole id. Raises `ConfigurationError` when it is not exactly one."""
    prefix = text.strip().lower()
    async with node.store() as store:
        found = [invite for invite in await store.invites() if invite.token_hash.hex().startswith(prefix)]
        if len(prefix) < MIN_ID_CHARS or len(found) != 1:
            raise ConfigurationError(f"{text!r} fits {len(found)} invites. `masa-node invites` shows their ids.")
        await store.revoke_invite(found[0].token_hash)
        return invite_id(found[0])


def invite_id(invite: KeptInvite) -> str:
    """The short id that people use."""
    return invite.token_hash.hex()[:INVITE_ID_CHARS]


def reach_of(address: PeerAddress) -> list[str]:
    """The ways by which nodes elsewhere can come, in words; none if there is none."""
    relay = [f"through the relay {address.relay_url}"] if address.relay_url else []
    return [*(f"directly at {text}" for text in address.direct if scope_of(text) is AddressScope.PUBLIC), *relay]


def reach_in_words(address: PeerAddress, missed_relay: str = "") -> list[str]:
    """By which ways other nodes can come, or what to do where not every node can. Each is a line."""
    ways = reach_of(address)
    if missed_relay:
        which = "None of iroh's public relays" if missed_relay == PUBLIC_RELAYS else f"The relay {missed_relay}"
        missed = f"{which} {'was' if missed_relay == PUBLIC_RELAYS else 'was not'} reached: masa-node doctor says why."
        return [*([f"Others can come {' or '.join(ways)}."] if ways else []), missed]
    if ways:
        return [f"Others can come {' or '.join(ways)}."]
    if {scope_of(text) for text in address.direct} <= {AddressScope.LOOPBACK}:
        return ["This node is reachable on this machine only: see PEER_HOST and RELAY_URL."]
    return [
        "This node knows private addresses of itself only: they lead to it on its own network. From elsewhere",
        "a relay is needed (--relay public, or your own: RELAY_URL), or a forwarded port (PEER_ADDRESS).",
    ]


async def _missed_relay(store: Store, address: PeerAddress) -> str:
    """The relay that this node is to use, if it has not taken the node in; "" if it has, or there is none."""
    return "" if address.relay_url else (await store.value("awaited_relay") or b"").decode("utf-8", "replace")


async def choose_relay(node: CommandedNode, choice: str, settings: Settings) -> None:
    """Have the node use this relay from now on: `public`, a URL, `none`. Raises `ConfigurationError`, `NotDone`."""
    fault = relay_fault(choice, settings)
    if fault:
        raise ConfigurationError(fault)
    is_running = node.is_running()
    async with node.store() as store:
        if not is_running:
            await store.set_value("relay", choice.encode())
            return
        await node.have(store, Verb.RELAY, choice, _NO_RELAY)


async def _reachable_address(
    node: CommandedNode, store: Store, wanted: WantedInvite, *, is_running: bool
) -> PeerAddress:
    """The node's address, once it holds what lets others in; at the latest when the node has looked for all of it.

    A node that has just started is asked first. It may not read what is written here, and would refuse the invite. With
    its answer, what the run before had found is gone. Where nothing lets others in, the owner is asked about a relay.
    Raises `NoAddress`, `NotDone`.
    """
    address = await node.needed_address(store, is_running=is_running)
    if not is_running:
        return address
    await node.have(store, Verb.CHECK, address.node_id, _NO_INVITE)
    address = await _settled(node, store) or address
    if reach_of(address) or await store.value("relay"):
        return address
    choice = wanted.may_use_relay()
    if choice is None:
        return address
    await node.have(store, Verb.RELAY, "public" if choice else "none", _NO_RELAY)
    return await _settled(node, store) or address


async def _settled(node: CommandedNode, store: Store) -> PeerAddress | None:
    """The address that lets others in, by the relay too if the node is to use one: other ways may lead nowhere.
    The one that there is when the node has looked for that long enough.
    """

    async def look() -> PeerAddress | None:
        address = await known_address(store)
        if address is None or await store.value("settled") == b"1":
            return address
        is_complete = address.relay_url or not await store.value("awaited_relay")
        return address if is_complete and reach_of(address) else None

    return await node.wait_for(look, what="Looking for a way in (relay, router, public address) ...")
