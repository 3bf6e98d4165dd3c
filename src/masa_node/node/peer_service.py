"""The peers' side of a node: comes up once there is anything to be connected with, and carries out its owner's
commands.

It never keeps the node from serving: what fails here is logged, and stands in `why`.
"""

import asyncio
import contextlib
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog

from masa_node.chat.errors import ConfigurationError, LinkRefused, MasaError
from masa_node.network.gossip.own_advert import AboutNode, Advertiser
from masa_node.network.links.invites import BadInvite, parse_link, token_hash, write_bootnode
from masa_node.network.links.peer_book import PeerBook, PeerRecord
from masa_node.network.network import Network, NetworkParts, NetworkRules
from masa_node.network.requests.quotas import MAX_REQUESTS_PER_PEER
from masa_node.network.requests.server import PeerServer, ServingLimits
from masa_node.network.requests.sharing import SharedCatalog
from masa_node.network.store.commands import CommandResult, CommandState, OwnerCommand, Verb, apply
from masa_node.network.store.rows import KeptVoucher
from masa_node.network.store.store import Store
from masa_node.network.transport.interfaces import NodeId, PeerAddress, Route, Transport
from masa_node.node.own_folder import OwnFolder
from masa_node.node.settings.environment import Settings
from masa_node.node.views import PeersView, no_network, view_of
from masa_node.routing.dispatch import Dispatcher
from masa_node.version import __version__

if TYPE_CHECKING:
    from masa_node.node.node import Node

MAX_DELEGATION_BYTES = 1024  # what an advert has room for
LOOK_EVERY_S = 1.0  # at the store: a command waits this long at most
CLOSE_WITHIN_S = 3.0

log = structlog.get_logger()


class PeerService:
    """`run` it in a task beside the server. `network` is None, and `why` says why, while there is none."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._settings = node.settings
        self._masa_dir = Path(node.settings.masa_dir).expanduser()
        self._folder = OwnFolder(self._masa_dir, self._wait_for)
        self._ready = node.network_ready
        self._shared = SharedCatalog(node.peer_settings.share)
        self._joining: dict[int, asyncio.Task[None]] = {}
        self.network: Network | None = None
        self.transport: Transport | None = None
        self._delegation: bytes | None = None  # the word of a stake's owner for this node, shown to peers
        self.why = "it is starting"

    @property
    def node_id(self) -> str:
        """This node's id; "" while there is no network."""
        return self.network.node_id if self.network is not None else ""

    def bootnode(self) -> str:
        """This node as others write it into BOOTNODES; "" while there is no network."""
        return write_bootnode(self.transport.address()) if self.transport is not None and self.network else ""

    def arriving(self) -> list[str]:
        """See `Network`."""
        return self.network.arriving() if self.network is not None else []

    def count_linked(self, route: Route) -> int:
        """How many peers are linked by this route now."""
        sessions = self.network.links.sessions.values() if self.network is not None else ()
        return sum(session.link.path().route is route for session in sessions)

    def peers_view(self) -> PeersView:
        """What is told of the peers."""
        staking, summary = self._node.stake_policy, self._node.staking_line
        if self.network is None:
            return no_network(self.why, summary)
        return view_of(self.network, summary, staking.row if staking is not None else None)

    def own_view(self) -> dict[str, object]:
        """What is told of this node."""
        own = self.transport.address() if self.transport is not None and self.network is not None else None
        if own is None:
            return {"node_id": None, "addresses": [], "relay_url": None}
        return {"node_id": own.node_id, "addresses": own.direct, "relay_url": own.relay_url}

    async def run(self) -> None:
        """Until cancelled; returns early when there is to be no network. Raises nothing."""
        try:
            await self._run()
        except (MasaError, OSError) as exc:
            self.why = exc.message if isinstance(exc, MasaError) else str(exc)
            log.error("no network", why=self.why)  # noqa: TRY400 - the owner's to mend, not a bug
        except Exception as exc:  # what the owner asks his own LLM servers goes on
            self.why = "something went wrong inside this node: its log tells where. Start it again"
            log.exception("a bug, no network from now on", kind=type(exc).__name__)
        finally:
            self.network = None
            self._ready.set()

    async def _run(self) -> None:
        if self._settings.network == "off":
            self.why = "NETWORK=off"
            return
        with await self._folder.lock():
            self._node.catalog.watch(self._share)
            self._share()
            store = await Store.open(self._masa_dir)
            await store.set_value("url", self._node.url.encode())
            try:
                await self._run_network(store, await self._wait_until_wanted(store))
            finally:
                await asyncio.shield(store.close())

    def _wait_for(self, why: str) -> None:
        """There is no network for now; the node serves without."""
        self.why = why
        self._ready.set()

    async def _wait_until_wanted(self, store: Store) -> list[PeerRecord]:
        """The peers remembered, once there is a reason to be on the network."""
        settings = self._settings
        is_named = (
            settings.network == "on"
            or self._node.peer_settings.bootnodes
            or settings.discover_lan
            or settings.open_network
        )
        while True:
            records = await store.load()
            if is_named or records or await store.pending_commands() or await _has_invites(store):
                return records
            self.why = "nobody to be connected with: see `masa-node invite`, `masa-node join`, BOOTNODES"
            self._ready.set()
            while not (await self._folder.reopen(store) or await store.changed()):
                await store.catch_up()
                await asyncio.sleep(LOOK_EVERY_S)

    async def _run_network(self, store: Store, records: list[PeerRecord]) -> None:
        secret = await self._folder.secret()
        transport = await self._open_transport(secret, store)
        try:
            book = PeerBook(records, own=transport.keys.node_id, is_open=self._settings.open_network)
            network = await self._make(transport, store, book)
            self.transport = transport
            async with asyncio.TaskGroup() as group:
                group.create_task(network.run())
                group.create_task(self._look_after(store, network, group))
                if self._node.stake_policy is not None:
                    group.create_task(self._node.stake_policy.run(network, store, lambda: self._delegation))
                if self._settings.discover_lan:
                    group.create_task(self._discover(network, transport))
                self.network, self.why = network, ""
                self._ready.set()
                log.info("network is up", node_id=network.node_id, addresses=transport.address().direct)
        finally:
            self.network = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_WITHIN_S):
                    await transport.close()

    async def _open_transport(self, secret: bytes, store: Store) -> Transport:
        await asyncio.to_thread(_load_transport)
        from masa_node.network.transport.iroh.endpoint import TransportOptions, open_transport  # noqa: PLC0415 - 0.1 s, now in a thread

        settings = self._settings
        kept = await store.value("peer_port")
        options = TransportOptions(
            host=settings.peer_host,
            port=settings.peer_port or (int(kept) if kept and kept.isdigit() else 0),
            relay_url=settings.relay_url or None,
            relay_token=settings.relay_token or None,
            use_public_lookup=settings.address_lookup,
        )
        try:
            return await open_transport(secret, options)
        except ConfigurationError:
            if settings.peer_port or not options.port:
                raise
            log.warning("the UDP port of last time is taken", port=options.port)
            return await open_transport(secret, msgspec.structs.replace(options, port=0))

    async def _make(self, transport: Transport, store: Store, book: PeerBook) -> Network:
        settings, node = self._settings, self._node
        self._delegation = await _own_delegation(store)

        def about() -> AboutNode:
            return AboutNode(
                __version__,
                settings.node_name,
                transport.address(),
                node.peer_admission.running,
                settings.max_peer_jobs,
                self._delegation,
            )

        async def use_invite(token: bytes, peer: NodeId) -> bool:
            return await store.use_invite(token_hash(token), peer, time.time())

        parts = NetworkParts(
            transport=transport,
            catalog=node.catalog,
            server=self._server(),
            advertiser=Advertiser(transport.keys, self._shared.offers, about),
            book=book,
            use_invite=use_invite,
            rng=random.Random(),  # noqa: S311 - jitter
        )
        rules = NetworkRules(
            version=__version__,
            name=settings.node_name,
            is_open=settings.open_network,
            allow_private=settings.allow_private_peers,
            relays=frozenset({settings.relay_url} - {""}),
            trusted=node.peer_settings.trusted,
        )
        network = Network(parts, rules)
        network.remember_vouchers([(voucher.by, voucher.signed) for voucher in await store.vouchers(time.time())])
        network.want(self._node.peer_settings.bootnodes)
        return network

    def _server(self) -> PeerServer:
        """Answers peers from the shared models of own servers alone."""
        node = self._node
        # With a health book of its own: what peers send must not speak against an LLM with its owner.
        dispatcher = Dispatcher(self._shared.catalog, node.peer_admission, _nothing_new, node.observe)
        server = PeerServer(dispatcher, self._shared, serving_limits(self._settings), node.instance)
        server.refused = node.metrics.peer_refused
        if node.stake_policy is not None:
            server.vet = node.stake_policy.vet
        return server

    def _share(self) -> None:
        self._shared.follow(self._node.catalog)

    async def _discover(self, network: Network, transport: Transport) -> None:
        from masa_node.network.transport.lan import LanDiscovery  # noqa: PLC0415 - zeroconf is for those who want it

        await LanDiscovery(transport.address, network.heard_on_lan).run()

    # ---- the store ----

    async def _look_after(self, store: Store, network: Network, group: asyncio.TaskGroup) -> None:
        """Save what changed, carry out what was commanded, once a second."""
        address: PeerAddress | None = None
        await store.set_value("node_id", network.node_id.encode())
        is_first_look = True  # the command that woke the network was written, and seen as a change, before
        try:
            while True:
                if self.transport is not None and self.transport.address() != address:
                    address = self.transport.address()
                    await self._keep_address(store, address)
                if await self._folder.reopen(store):
                    network.book.remember(await store.load_missed())
                    network.book_changed()
                await self._save(store, network)
                await store.catch_up()
                if await store.changed() or is_first_look:
                    is_first_look = False
                    self._delegation = await _own_delegation(store)
                    for command in await store.pending_commands():
                        await self._execute(command, store, network, group)
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            await asyncio.shield(self._save(store, network))

    @staticmethod
    async def _keep_address(store: Store, address: PeerAddress) -> None:
        await store.set_value("address", msgspec.msgpack.encode(address))
        if address.direct:
            await store.set_value("peer_port", address.direct[0].rpartition(":")[2].encode())

    @staticmethod
    async def _save(store: Store, network: Network) -> bool:
        changed, gone = network.book.take_changes()
        is_saved = await store.save(changed, gone) if changed or gone else True
        for by, statement, expires_at_unix_s in network.take_new_vouchers():
            await store.keep_voucher(KeptVoucher(by, statement, expires_at_unix_s))
        return is_saved

    async def _execute(self, command: OwnerCommand, store: Store, network: Network, group: asyncio.TaskGroup) -> None:
        if command.verb is Verb.JOIN:
            if command.id not in self._joining:
                self._joining[command.id] = group.create_task(self._join(command, store, network))
            return
        answer = apply(command, network.book, time.time())
        network.book_changed()
        is_kept = await self._save(store, network)
        words = answer.words if is_kept else f"{answer.words} It could not be written to MASA_DIR; the log says why."
        await store.finish_command(command.id, answer.state, words)

    async def _join(self, command: OwnerCommand, store: Store, network: Network) -> None:
        """Try until it is done, refused, or the invite has ended."""
        try:
            answer = await self._joined(command, network)
        finally:
            self._joining.pop(command.id, None)
        await self._save(store, network)
        await store.finish_command(command.id, answer.state, answer.words)

    @staticmethod
    async def _joined(command: OwnerCommand, network: Network) -> CommandResult:
        pause_s = 1.0
        while True:
            try:
                invite = parse_link(command.argument, time.time())
                await network.join(PeerAddress(invite.node_id, invite.addresses, invite.relay_url), invite.token)
            except (BadInvite, LinkRefused) as exc:
                return CommandResult(CommandState.FAILED, exc.message)
            except MasaError as exc:
                log.warning("not joined yet", why=exc.message)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, 60.0)
            else:
                others = len(network.links.sessions) - 1
                more = f", and {others} more" if others > 0 else ""
                return CommandResult(CommandState.DONE, f"Joined: linked with {invite.node_id[:10]}{more}.")


def serving_limits(settings: Settings) -> ServingLimits:
    """What one peer may have here: every slot that the owner gave to peers, if no other peer wants one."""
    return ServingLimits(
        settings.max_body,
        settings.llm_timeout,
        settings.llm_idle_timeout,
        settings.peer_rate,
        max(MAX_REQUESTS_PER_PEER, settings.max_peer_jobs + settings.max_peer_queue),
        settings.llm_begin_timeout,
    )


async def _nothing_new() -> None:
    """Peers are told of the models that are shared; a name that is not among them is not looked for."""


async def _own_delegation(store: Store) -> bytes | None:
    """What `masa-node stake delegate` left; shown whether or not this node looks at stakes itself."""
    kept = await store.value("delegation")
    return kept if kept and len(kept) <= MAX_DELEGATION_BYTES else None


async def _has_invites(store: Store) -> bool:
    now = time.time()
    with contextlib.suppress(MasaError):
        return any(invite.expires_at_unix_s > now for invite in await store.invites())
    return False


def _load_transport() -> None:
    import masa_node.network.transport.iroh.endpoint  # noqa: F401, PLC0415  # pyright: ignore[reportUnusedImport]
