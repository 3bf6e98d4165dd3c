"""The network of a node: comes up once there is anything to be connected with, and carries out its owner's commands."""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog

from masa_node.chat.errors import ConfigurationError, LinkRefused, MasaError
from masa_node.network.links.invites import BadInvite, parse_link, token_hash
from masa_node.network.links.peer_book import PeerBook, PeerRecord
from masa_node.network.store.commands import CommandResult, CommandState, OwnerCommand, Verb, apply
from masa_node.network.store.joins import keep_obstacle, keep_refusal, refusal
from masa_node.network.store.rows import KeptVoucher
from masa_node.network.store.store import Store
from masa_node.network.transport.interfaces import NodeId, PeerAddress, Route, Transport, short_id
from masa_node.node.peering.own_folder import OwnFolder
from masa_node.node.peering.own_way_in import OwnWayIn, relay_in_force
from masa_node.node.peering.parts import PeerParts
from masa_node.node.peering.state import Off, PeerState, Up

if TYPE_CHECKING:
    from masa_node.network.network import Network

MAX_DELEGATION_BYTES = 1024  # what an advert has room for
LOOK_EVERY_S = 1.0  # at the store: a command waits this long at most,
LOOK_SOON_S = 0.1  # and the next one this long, as commands come in rows: an invite takes two or three
ROW_LASTS_S = 5.0
CLOSE_WITHIN_S = 3.0
SAVED_WITHIN_S = 5.0  # as the store is closed then
MAX_NEWCOMERS = 64  # with an invite that was good, and not let in yet

log = structlog.get_logger()


class PeerNetwork:
    """`run` it once. `enter` is told each state: `Off` and why while there is no network, `Up` while there is."""

    def __init__(self, parts: PeerParts, enter: Callable[[PeerState], None]) -> None:
        self._parts = parts
        self._enter = enter
        self._settings = parts.settings
        self._masa_dir = Path(parts.settings.masa_dir).expanduser()
        self._folder = OwnFolder(self._masa_dir, self._wait_for)
        self._joining: dict[int, asyncio.Task[None]] = {}
        self._called: dict[NodeId, str] = {}  # by the note of its invite; until the next look
        self._delegation: bytes | None = None  # the word of a stake's owner for this node, shown to peers

    async def run(self) -> None:
        """Until cancelled. Raises `MasaError` and `OSError` where there can be no network."""
        with await self._folder.lock():
            store = await Store.open(self._masa_dir)
            try:
                await store.set_value("url", self._parts.url.encode())
                await self._run_network(store, await self._wait_until_wanted(store))
            finally:
                await asyncio.shield(store.close())

    def _wait_for(self, why: str) -> None:
        """There is no network for now; the node serves without."""
        self._enter(Off(why))

    async def _wait_until_wanted(self, store: Store) -> list[PeerRecord]:
        """The peers remembered, once there is a reason to be on the network."""
        settings = self._settings
        is_named = (
            settings.network == "on"
            or self._parts.peer_settings.bootnodes
            or settings.discover_lan
            or settings.open_network
        )
        while True:
            records = await store.load()
            if is_named or records or await self._parts.console.take(store) or await _has_invites(store):
                return records
            why = "there is nobody to connect to: see `masa-node invite`, `masa-node join`, BOOTNODES"
            self._enter(Off(why, await refusal(store)))
            while not (await self._folder.reopen(store) or await store.changed()):
                await store.catch_up()
                await asyncio.sleep(LOOK_EVERY_S)

    async def _run_network(self, store: Store, records: list[PeerRecord]) -> None:
        secret = await self._folder.secret()
        transport = await self._open_transport(secret, store)
        try:
            book = PeerBook(records, own=transport.keys.node_id, is_open=self._settings.open_network)
            network = await self._make(transport, store, book)
            async with asyncio.TaskGroup() as group:
                group.create_task(network.run())
                group.create_task(self._look_after(store, network, transport, group))
                group.create_task(self._parts.stakes.run(network, store, lambda: self._delegation))
                if self._settings.discover_lan:
                    group.create_task(self._discover(network, transport))
                self._enter(Up(network, transport, self._parts.peer_settings.external or ""))
                log.info("network is up", node_id=network.node_id, addresses=transport.address().direct)
        finally:
            self._enter(Off("it is ending"))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_WITHIN_S):
                    await transport.close()

    async def _open_transport(self, secret: bytes, store: Store) -> Transport:
        await asyncio.to_thread(_load_network)
        from masa_node.network.transport.iroh.endpoint import TransportOptions, open_transport  # noqa: PLC0415 - 0.1 s, now in a thread

        settings = self._settings
        stored = await store.value("peer_port")
        options = TransportOptions(
            host=settings.peer_host,
            port=settings.peer_port or (int(stored) if stored and stored.isdigit() else 0),
            relay_url=await relay_in_force(store, settings),
            relay_token=settings.relay_token or None,
            use_public_lookup=settings.address_lookup,
            external=self._parts.peer_settings.external,
        )
        try:
            return await open_transport(secret, options)
        except ConfigurationError:
            if settings.peer_port or not options.port:
                raise
            log.warning("the UDP port of last time is taken", port=options.port)
            return await open_transport(secret, msgspec.structs.replace(options, port=0))

    async def _make(self, transport: Transport, store: Store, book: PeerBook) -> "Network":
        from masa_node.node.peering.wiring import OwnRecords, make_network  # noqa: PLC0415 - as in `_open_transport`

        self._delegation = await _own_delegation(store)

        async def use_invite(token: bytes, peer: NodeId) -> bool:
            is_good = await store.use_invite(token_hash(token), peer, time.time())
            if is_good and (called := await _name_given(store, token_hash(token))):
                self._called[peer] = called  # it has no record yet
            return is_good

        own = OwnRecords(book, use_invite, lambda: self._delegation, random.Random())  # noqa: S311 - jitter
        network = make_network(self._parts, transport, own)
        network.remember_vouchers([(voucher.by, voucher.signed) for voucher in await store.vouchers(time.time())])
        return network

    async def _discover(self, network: "Network", transport: Transport) -> None:
        from masa_node.network.transport.lan import LanDiscovery  # noqa: PLC0415 - zeroconf only where it is used

        await LanDiscovery(transport.address, network.heard_on_lan).run()

    # ---- the store ----

    async def _look_after(
        self, store: Store, network: "Network", transport: Transport, group: asyncio.TaskGroup
    ) -> None:
        """Save what changed, carry out what was commanded: once a second, and sooner after a command."""
        own = OwnWayIn(store, network, transport, self._settings)
        await own.begin()
        await store.set_value("node_id", network.node_id.encode())
        is_first_look = True  # the command that woke the network was written, and seen as a change, before
        now_s = asyncio.get_running_loop().time
        row_until_s = now_s() + ROW_LASTS_S
        try:
            while True:
                await own.look(LOOK_EVERY_S)
                self._name_newcomers(network)
                if await self._folder.reopen(store):
                    network.book.remember(await store.load_missed())
                    network.book_changed()
                await self._save(store, network)
                await store.catch_up()
                if await store.changed() or is_first_look:
                    is_first_look = False
                    self._delegation = await _own_delegation(store)
                    network.refused_join = await refusal(store)
                    for command in await self._parts.console.take(store):
                        row_until_s = now_s() + ROW_LASTS_S
                        if command.verb is Verb.RELAY:
                            answer = await own.choose_relay(command.argument)
                            await store.finish_command(command.id, answer.state, answer.words)
                        else:
                            await self._execute(command, store, network, group)
                await asyncio.sleep(LOOK_SOON_S if now_s() < row_until_s else LOOK_EVERY_S)
        finally:
            await asyncio.shield(self._save_last(store, network))

    def _name_newcomers(self, network: "Network") -> None:
        """Those that were let in since the last look; one that was not after all is named when it comes again."""
        for peer in [peer for peer in self._called if network.book.is_member(peer)]:
            network.book.call(peer, self._called.pop(peer))
        while len(self._called) > MAX_NEWCOMERS:
            del self._called[next(iter(self._called))]

    @classmethod
    async def _save_last(cls, store: Store, network: "Network") -> None:
        """A disk that hangs does not keep the node from ending."""
        try:
            async with asyncio.timeout(SAVED_WITHIN_S):
                await cls._save(store, network)
        except TimeoutError:
            log.warning("the disk does not answer: what is known of peers is not saved", after_s=SAVED_WITHIN_S)

    @staticmethod
    async def _save(store: Store, network: "Network") -> bool:
        changed, gone = network.book.take_changes()
        is_saved = await store.save(changed, gone) if changed or gone else True
        for by, statement, expires_at_unix_s in network.take_new_vouchers():
            await store.keep_voucher(KeptVoucher(by, statement, expires_at_unix_s))
        return is_saved

    async def _execute(self, command: OwnerCommand, store: Store, network: "Network", group: asyncio.TaskGroup) -> None:
        if command.verb is Verb.JOIN:
            if command.id not in self._joining:
                self._joining[command.id] = group.create_task(self._join(command, store, network))
            return
        answer = apply(command, network.book, time.time())
        network.book_changed()
        is_kept = await self._save(store, network)
        words = answer.words if is_kept else f"{answer.words} It could not be written to MASA_DIR; the log says why."
        await store.finish_command(command.id, answer.state, words)

    async def _join(self, command: OwnerCommand, store: Store, network: "Network") -> None:
        """Try until it is done, refused, or the invite has ended."""
        try:
            answer = await self._joined(command, store, network)
        finally:
            self._joining.pop(command.id, None)
        # Whoever gave the command may be gone, or have given it while no node ran: the next command shows it.
        network.refused_join = answer.words if answer.state is CommandState.FAILED else ""
        await keep_refusal(store, network.refused_join)
        await keep_obstacle(store, "")
        await self._save(store, network)
        await store.finish_command(command.id, answer.state, answer.words)

    @staticmethod
    async def _joined(command: OwnerCommand, store: Store, network: "Network") -> CommandResult:
        pause_s = 1.0
        while True:
            try:
                invite = parse_link(command.argument, time.time())
                await network.join(PeerAddress(invite.node_id, invite.addresses, invite.relay_url), invite.token)
            except (BadInvite, LinkRefused) as exc:
                return CommandResult(CommandState.FAILED, exc.message)
            except MasaError as exc:
                log.warning("not joined yet", why=exc.message)
                await keep_obstacle(store, exc.message)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, 60.0)
            else:
                others = len(network.links.sessions) - 1
                more = f", and {others} more" if others > 0 else ""
                session = network.links.sessions.get(invite.node_id)
                route = session.link.path().route if session is not None else Route.UNKNOWN
                how = f" ({route.value})" if route is not Route.UNKNOWN else ""
                return CommandResult(CommandState.DONE, f"Joined: linked with {short_id(invite.node_id)}{how}{more}.")


async def _own_delegation(store: Store) -> bytes | None:
    """What `masa-node stake delegate` left; shown whether or not this node looks at stakes itself."""
    stored = await store.value("delegation")
    return stored if stored and len(stored) <= MAX_DELEGATION_BYTES else None


async def _name_given(store: Store, token: bytes) -> str:
    """The note of this invite, if it is for one peer alone: then it is its name."""
    with contextlib.suppress(MasaError):
        return next((each.note for each in await store.invites() if each.token_hash == token and each.uses == 1), "")
    return ""


async def _has_invites(store: Store) -> bool:
    now = time.time()
    with contextlib.suppress(MasaError):
        return any(invite.expires_at_unix_s > now for invite in await store.invites())
    return False


def _load_network() -> None:
    """A node that has nobody to connect to needs none of it."""
    import masa_node.network.transport.iroh.endpoint  # noqa: PLC0415 # pyright: ignore[reportUnusedImport]
    import masa_node.node.peering.wiring  # noqa: F401, PLC0415  # pyright: ignore[reportUnusedImport]
