"""What the commands about peers do: by an owner command to the node if one runs with this MASA_DIR, else upon its
store themselves.
"""

import asyncio
import contextlib
import secrets
import string
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
from rich.console import Console

from masa_node.chat.errors import ConfigurationError, MasaError, Unreachable
from masa_node.cli.output import check_url, plain
from masa_node.cli.peers.listing import NetworkView, fetch_peers, invite_id, remembered
from masa_node.network.links.invites import TOKEN_BYTES, BadInvite, Invite, make_link, parse_link, token_hash
from masa_node.network.links.peer_book import PeerBook, PeerRecord
from masa_node.network.store.commands import FOR_THE_NETWORK, CommandResult, CommandState, OwnerCommand, Verb, apply
from masa_node.network.store.joins import keep_refusal, obstacle, refusal
from masa_node.network.store.node_key import load_secret
from masa_node.network.store.rows import KeptInvite
from masa_node.network.store.store import Store
from masa_node.network.transport.addresses import AddressScope, canonical, is_relay_url, scope_of
from masa_node.network.transport.interfaces import (
    MAX_ADDRESSES,
    SHORT_ID_CHARS,
    NodeId,
    PeerAddress,
    is_node_id,
    short_id,
)
from masa_node.node.settings.environment import Settings
from masa_node.node.settings.peers import relay_fault
from masa_node.storage.database import StoreFailed
from masa_node.storage.lock import NodeLock, is_held_by_another
from masa_node.upstreams.http.proxies import NO_PROXIES, Proxies

ANSWER_WITHIN_S = 15.0  # a running node looks once a second; joining takes a few round trips
LOOK_EVERY_S = 0.1
MIN_ID_CHARS = 4
MAX_NAMED_PEERS = 5  # of those that an id fits

T = TypeVar("T")


class NotDone(MasaError):
    """The node did not do what was asked. The message says why."""

    code = "not_done"


class NoAddress(MasaError):
    """The node's address is not known yet: it finds out when it is on the network for the first time."""

    code = "no_address"


_NEVER_STARTED = (
    "This node's address is not known yet. Start it with `masa-node up`, and give this command again while it runs."
)
_NO_INVITE = "It would refuse whoever came, so no invite was made. Its log says why it does not read MASA_DIR."
_NO_RELAY = "It does not read MASA_DIR; its log says why."
_NOT_ON_THE_NETWORK = "The running node did not go on the network in time. `masa-node peers` says why."


class MadeInvite(msgspec.Struct, frozen=True):
    """A new invite; `is_running` tells whether a node runs that could let somebody in now."""

    link: str
    id: str
    address: PeerAddress
    expires_at_unix_s: int
    uses: int
    note: str
    is_running: bool


class WantedInvite(msgspec.Struct, frozen=True):
    """What the owner wants of a new invite. `may_use_relay` asks them, where nobody elsewhere could reach this node."""

    lasts_s: int
    uses: int
    note: str
    may_use_relay: Callable[[], bool | None] = lambda: None


async def make_invite(masa_dir: Path, wanted: WantedInvite) -> MadeInvite:
    """Make one and keep its hash. A running node without peers goes on the network because of it.

    Raises `NoAddress` when the node's address is not known, `NotDone` when the node does not read the invite, which is
    then taken back.
    """
    token, now_unix_s = secrets.token_bytes(TOKEN_BYTES), int(time.time())
    record = KeptInvite(token_hash(token), now_unix_s, now_unix_s + wanted.lasts_s, wanted.uses, wanted.note)
    is_running = is_held_by_another(masa_dir)
    async with _opened(masa_dir) as store:
        await store.add_invite(record)
        try:
            address = await _reachable_address(store, wanted, is_running=is_running)
            if is_running:  # one that does not read what is written here would refuse it
                await _answer(store, await store.add_command(Verb.CHECK, address.node_id, time.time()), _NO_INVITE)
        except BaseException:
            await store.revoke_invite(record.token_hash)
            raise
    invite = Invite(address.node_id, address.direct, address.relay_url, token, record.expires_at_unix_s)
    return MadeInvite(
        make_link(invite), invite_id(record), address, record.expires_at_unix_s, record.uses, record.note, is_running
    )


async def list_invites(masa_dir: Path) -> list[KeptInvite]:
    """Those kept, newest first."""
    async with _opened(masa_dir) as store:
        return await store.invites()


async def revoke_invite(masa_dir: Path, text: str) -> str:
    """Revoke the invite whose id begins so; its whole id. Raises `ConfigurationError` when it is not exactly one."""
    prefix = text.strip().lower()
    async with _opened(masa_dir) as store:
        found = [invite for invite in await store.invites() if invite.token_hash.hex().startswith(prefix)]
        if len(prefix) < MIN_ID_CHARS or len(found) != 1:
            raise ConfigurationError(f"{text!r} fits {len(found)} invites. `masa-node invites` shows their ids.")
        await store.revoke_invite(found[0].token_hash)
        return invite_id(found[0])


async def join(masa_dir: Path, link: str) -> CommandResult:
    """Join by this link, now if a node runs, else at its next start. Raises `BadInvite`, `NotDone`."""
    invite = parse_link(link, time.time())
    async with _opened(masa_dir) as store:
        if invite.node_id == await _own_id(store):
            raise BadInvite("This is this node's own invite. Use it on another node.")
        command_id = await store.add_command(Verb.JOIN, "".join(link.split()), time.time())
        if not is_held_by_another(masa_dir):
            return CommandResult(CommandState.PENDING, "The node will join when it is started: `masa-node up`.")
        return await _joined(store, command_id)


async def _joined(store: Store, command_id: int) -> CommandResult:
    """Raises `NotDone` with what is in the way."""
    try:
        return await _answer(store, command_id, "It keeps trying until the invite ends; `masa-node peers` shows more.")
    except NotDone as exc:
        command, why = await store.command(command_id), await obstacle(store)
        if command is not None and command.state is CommandState.FAILED:
            await keep_refusal(store, "")  # its owner is told now
        if command is None or command.state is not CommandState.PENDING or not why:
            raise
        more = "It keeps trying until the invite ends; `masa-node peers` shows more."
        raise NotDone(f"Not linked yet: {why} {more}") from exc


async def change_peer(masa_dir: Path, verb: Verb, text: str) -> CommandResult:
    """Every verb but JOIN, upon the peer that `text` names. Raises `ConfigurationError`, `NotDone`."""
    async with _opened(masa_dir) as store:
        node_id = find_peer(text, await store.load(), is_to_be_trusted=verb is Verb.TRUST)
        lock = await asyncio.to_thread(NodeLock.take_if_free, masa_dir)
        if lock is None:
            command_id = await store.add_command(verb, node_id, time.time())
            return await _answer(store, command_id, "It will be done as soon as the node reads it; see its log.")
        with lock:
            return await _apply_here(store, verb, node_id)


async def show_peers(
    masa_dir: Path, url: str, default_url: str, api_keys: Sequence[str], proxies: Proxies = NO_PROXIES
) -> NetworkView:
    """What the node at `url` tells; without one the node of this MASA_DIR, or what it remembers if it does not run."""
    if url:
        check_url(url)
        return await fetch_peers(url, api_keys, proxies)
    is_running = is_held_by_another(masa_dir)
    async with _opened(masa_dir) as store:
        own_id = await _own_id(store)
        memory = remembered(own_id, await store.load())
        default_url = await _kept_url(store) or default_url
    if not is_running:
        return memory
    try:
        answered = await fetch_peers(default_url, api_keys)
    except Unreachable as exc:
        why = f"the node runs, but does not answer at {default_url}: {exc.message}"
        return msgspec.structs.replace(memory, state="unknown", why=why)
    if own_id and answered.node_id and answered.node_id != own_id:
        raise NotDone(
            f"At {default_url} answers another node, {short_id(answered.node_id)}. Name this one's with --url."
        )
    return answered


async def url_of_running_node(masa_dir: Path, otherwise: str) -> str:
    """Where the node of this MASA_DIR serves HTTP; `otherwise` if none runs."""
    if not is_held_by_another(masa_dir):
        return otherwise
    async with _opened(masa_dir) as store:
        return await _kept_url(store) or otherwise


async def own_address(masa_dir: Path) -> PeerAddress:
    """This node's id, and its addresses once it was on the network. Makes the node's key if there is none yet."""
    node_id = await asyncio.to_thread(_id_of_key, masa_dir)
    async with _opened(masa_dir) as store:
        address = await _known_address(store)
    return address if address is not None and address.node_id == node_id else PeerAddress(node_id)


def find_peer(text: str, records: Sequence[PeerRecord], *, is_to_be_trusted: bool = False) -> NodeId:
    """The peer with this id or name, or whose id begins so. Raises `ConfigurationError` when that is not exactly one.

    A whole id need not be known here. A peer chooses its name, and with some patience the first letters of its id. So
    to be trusted, it must be named by as many letters of its id as the tables show.
    """
    wanted = text.strip().lower()
    if is_node_id(wanted):
        return NodeId(wanted)
    least_chars = SHORT_ID_CHARS if is_to_be_trusted else MIN_ID_CHARS
    is_prefix = len(wanted) >= least_chars and set(wanted) <= set(string.hexdigits)
    found = {
        record.node_id: record
        for record in records
        if (is_prefix and record.node_id.startswith(wanted))
        or (wanted and not is_to_be_trusted and wanted in (record.name.lower(), record.called.lower()))
    }
    if len(found) == 1:
        return next(iter(found))
    if found:
        some = ", ".join(_described(record) for record in list(found.values())[:MAX_NAMED_PEERS])
        raise ConfigurationError(f"{text!r} fits {len(found)} peers: {some}. Give more of the id.")
    if is_to_be_trusted and 0 < len(wanted) < SHORT_ID_CHARS:
        raise ConfigurationError(
            f"{text!r} is too short to trust a peer by: another could use the same. Give the first "
            f"{SHORT_ID_CHARS} letters of its id; `masa-node peers` shows them."
        )
    by = "id" if is_to_be_trusted else "id or name"
    raise ConfigurationError(
        f"No peer has the {by} {text!r}. `masa-node peers --all` shows them; of an id, the first {least_chars} letters "
        "are enough."
    )


@contextlib.asynccontextmanager
async def _opened(masa_dir: Path) -> AsyncGenerator[Store]:
    store = await Store.open(masa_dir)
    try:
        if not store.is_kept:
            raise StoreFailed(f"What {masa_dir} holds cannot be read or written. The line above says why.")
        yield store
    finally:
        await store.close()


async def _apply_here(store: Store, verb: Verb, node_id: NodeId) -> CommandResult:
    """No node runs, and none can start meanwhile: the caller holds the lock."""
    own_id = await _own_id(store)
    book = PeerBook(await store.load(), own=NodeId(own_id) if own_id else None)
    now_unix_s = time.time()
    for earlier in await store.pending_commands():  # what a node that was stopped did not get to
        if earlier.verb not in FOR_THE_NETWORK:
            done = apply(earlier, book, now_unix_s)
            await store.finish_command(earlier.id, done.state, done.words)
    answer = apply(OwnerCommand(1, verb, node_id, int(now_unix_s)), book, now_unix_s)
    if answer.state is not CommandState.DONE:
        raise NotDone(answer.words)
    if not await store.save(*book.take_changes()):
        raise StoreFailed("It could not be written to MASA_DIR. The line above says why.")
    return answer


async def _answer(store: Store, command_id: int, otherwise: str) -> CommandResult:
    """Wait for what the node makes of this command. Raises `NotDone`."""
    command = await _wait_for(lambda: _answered(store, command_id), is_running=True)
    if command is None:
        raise NotDone(f"The node did not answer within {ANSWER_WITHIN_S:.0f} s. {otherwise}")
    if command.state is not CommandState.DONE:
        raise NotDone(command.words)
    return CommandResult(command.state, command.words)


async def _answered(store: Store, command_id: int) -> OwnerCommand | None:
    command = await store.command(command_id)
    return command if command is not None and command.state is not CommandState.PENDING else None


async def _wait_for(
    look: Callable[[], Awaitable[T | None]], *, is_running: bool, what: str = "Waiting for the node ..."
) -> T | None:
    """What `look` finds, at the latest after ANSWER_WITHIN_S if a node runs; None when that is nothing."""
    found = await look()
    if found is not None or not is_running:
        return found
    until_s = time.monotonic() + ANSWER_WITHIN_S
    with Console(stderr=True).status(what):
        while found is None and time.monotonic() < until_s:
            await asyncio.sleep(LOOK_EVERY_S)
            found = await look()
    return found


def _id_of_key(masa_dir: Path) -> NodeId:
    from masa_node.network.transport.iroh.keys import IrohKeys  # noqa: PLC0415 - takes 0.1 s, and only this needs it

    return IrohKeys(load_secret(masa_dir)).node_id


async def _kept_url(store: Store) -> str:
    """Where the running node says that it serves; "" if that is not known."""
    url = (await store.value("url") or b"").decode("latin-1")
    return url if url.startswith("http://") and url.isascii() and url.isprintable() else ""


async def _own_id(store: Store) -> str:
    """Empty while it is not known."""
    node_id = (await store.value("node_id") or b"").decode("latin-1")
    return node_id if is_node_id(node_id) else ""


async def _needed_address(store: Store, *, is_running: bool) -> PeerAddress:
    address = await _wait_for(lambda: _known_address(store), is_running=is_running)
    if address is None:
        raise NoAddress(_NOT_ON_THE_NETWORK if is_running else _NEVER_STARTED)
    return address


async def _reachable_address(store: Store, wanted: WantedInvite, *, is_running: bool) -> PeerAddress:
    """The node's address, once it holds what lets others in; at the latest when the node has looked for all of it.

    Where nothing does, the owner is asked about a relay, once. Raises `NoAddress`, `NotDone`.
    """
    address = await _needed_address(store, is_running=is_running)
    if not is_running:
        return address
    address = await _settled(store) or address
    if reach_of(address) or await store.value("relay"):
        return address
    choice = wanted.may_use_relay()
    if choice is None:
        return address
    await _answer(store, await store.add_command(Verb.RELAY, "public" if choice else "none", time.time()), _NO_RELAY)
    return await _settled(store) or address


async def _settled(store: Store) -> PeerAddress | None:
    """The address that lets others in, or the one that there is when the node has looked for one long enough."""

    async def look() -> PeerAddress | None:
        address = await _known_address(store)
        is_over = await store.value("settled") == b"1"
        return address if address is not None and (is_over or reach_of(address)) else None

    return await _wait_for(look, is_running=True, what="Looking for a way in (relay, router, public address) ...")


def reach_of(address: PeerAddress) -> list[str]:
    """The ways by which nodes elsewhere can come, in words; none if there is none."""
    relay = [f"through the relay {address.relay_url}"] if address.relay_url else []
    return [*(f"directly at {text}" for text in address.direct if scope_of(text) is AddressScope.PUBLIC), *relay]


async def choose_relay(masa_dir: Path, choice: str, settings: Settings) -> None:
    """Have the node use this relay from now on: `public`, a URL, `none`. Raises `ConfigurationError`, `NotDone`."""
    fault = relay_fault(choice, settings)
    if fault:
        raise ConfigurationError(fault)
    is_running = is_held_by_another(masa_dir)
    async with _opened(masa_dir) as store:
        if not is_running:
            await store.set_value("relay", choice.encode())
            return
        await _answer(store, await store.add_command(Verb.RELAY, choice, time.time()), _NO_RELAY)


async def refused_join(masa_dir: Path) -> str:
    """Why the last join was refused, if it was and nobody was told then; "" otherwise."""
    async with _opened(masa_dir) as store:
        return await refusal(store)


async def _known_address(store: Store) -> PeerAddress | None:
    """Where the node was last; None when that is not known."""
    try:
        stored = msgspec.msgpack.decode(await store.value("address") or b"", type=PeerAddress)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    relay_url = stored.relay_url if stored.relay_url and is_relay_url(stored.relay_url) else None
    direct = canonical(stored.direct)[:MAX_ADDRESSES]
    is_usable = is_node_id(stored.node_id) and bool(direct or relay_url)
    return PeerAddress(stored.node_id, direct, relay_url) if is_usable else None


def _described(record: PeerRecord) -> str:
    return f"{short_id(record.node_id)} {plain(record.shown_name, 30)}".strip()
