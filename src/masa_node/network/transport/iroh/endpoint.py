"""The transport over iroh (QUIC); only this file and `keys.py` know that. `interfaces.py` says what is promised."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress

import iroh
import msgspec

from masa_node.chat.errors import ConfigurationError, LinkLost, PeerUnreachable, StreamReset
from masa_node.network.transport.bind import addresses_to_bind, advertisable, loopback_of, subnet_of
from masa_node.network.transport.foreign_text import sanitize
from masa_node.network.transport.handshake_limits import Decision, HandshakeLimits
from masa_node.network.transport.interfaces import (
    ALPN,
    MAX_READ_BYTES,
    NodeId,
    Path,
    PeerAddress,
    Route,
    is_node_id,
    short_id,
)
from masa_node.network.transport.iroh.keys import FOREIGN, IrohKeys
from masa_node.network.transport.iroh.patches.byte_copy import copy_in_blocks
from masa_node.network.transport.iroh.patches.release import release_on_loop
from masa_node.network.transport.iroh.patches.wake_ups import run_now, settle_directly

PUBLIC_RELAYS = "public"  # as RELAY_URL: the relays of iroh's makers

MAX_STREAMS = 1024  # that a peer may have open on a link; iroh holds up to 1.2 MB unread of each
HANDSHAKE_S = 5.0  # three round trips on a very bad line
# Looking up the node's own address takes a millisecond of Python, and an idle node asks for it all the time. So the
# answer is used for a while, and for longer while it stays the same. It changes in the first seconds.
ADDRESS_KEPT_S = 1.0
STEADY_ADDRESS_KEPT_S = 4.0
CLOSE_S = 2.0  # peers are told at once; those that do not confirm are not waited for longer
MAX_REASON_BYTES = 100
_FEW_BYTES = 4096  # each read that waits holds a buffer of its size; streams of small pieces get a small one
_RELAY_QUIC_PORT = 7842  # where an iroh relay tells a node its public address, unless it is set up otherwise
_GAVE_UP = 1  # the code of a stream that was given up; of a link that was closed

COPIES_IN_BLOCKS = copy_in_blocks(iroh.iroh_ffi)
SETTLES_DIRECTLY = settle_directly(iroh.iroh_ffi)
RELEASES_ON_LOOP = release_on_loop(iroh.iroh_ffi)


class TransportOptions(msgspec.Struct, frozen=True):
    """`host` is an IP address. Without `relay_url` and `use_public_lookup` no outside server is ever contacted."""

    host: str
    port: int = 0
    relay_url: str | None = None
    relay_token: str | None = None
    use_public_lookup: bool = False


class IrohStream:
    """A stream on a link. Nothing runs in the background for it."""

    __slots__ = ("_ended", "_finished", "_given_up", "_link", "_reader", "_receive", "_send", "_want", "_writer")

    def __init__(self, link: "IrohLink", stream: iroh.BiStream) -> None:
        self._link = link
        self._send = stream.send()
        self._receive = stream.recv()
        self._reader: asyncio.Task[object] | None = None
        self._writer: asyncio.Task[object] | None = None
        self._want = _FEW_BYTES
        self._given_up = self._finished = self._ended = False

    async def read(self) -> bytes:
        """See `interfaces.Stream`."""
        self._check()
        task = self._reader = _this_task()
        cancels = task.cancelling()
        try:
            data = await self._receive.read(self._want)
        except asyncio.CancelledError:
            if self._given_up:
                _end(self._receive.stop(_GAVE_UP))
                self._let_go(task, cancels)
            raise
        except FOREIGN as exc:
            raise self._link.loss() or StreamReset("it gave the stream up.") from exc
        finally:
            self._reader = None
        if len(data) == self._want:
            self._want = MAX_READ_BYTES
        elif len(data) < _FEW_BYTES:
            self._want = _FEW_BYTES
            self._ended = not data
        return data

    async def write(self, data: bytes) -> None:
        """See `interfaces.Stream`."""
        self._check()
        task = self._writer = _this_task()
        cancels = task.cancelling()
        try:
            await self._send.write_all(data)
        except asyncio.CancelledError:
            if self._given_up:
                _end(self._send.reset(_GAVE_UP))
                self._let_go(task, cancels)
            raise
        except FOREIGN as exc:
            raise self._link.loss() or StreamReset("it gave the stream up.") from exc
        finally:
            self._writer = None

    async def finish(self) -> None:
        """See `interfaces.Stream`."""
        self._check()
        if not self._finished:
            try:
                await self._send.finish()
            except FOREIGN as exc:
                raise self._link.loss() or StreamReset("it gave the stream up.") from exc
            self._finished = True

    def abort(self) -> None:
        """See `interfaces.Stream`. A read or write under way ends with `StreamReset`."""
        if self._given_up or (self._finished and self._ended):
            return
        self._given_up = True
        # iroh does not let go of half a stream while somebody waits on it: the waiter is woken, and lets go itself.
        if self._reader is not None:
            self._reader.cancel()
        elif not self._ended:
            _end(self._receive.stop(_GAVE_UP))
        if self._writer is not None:
            self._writer.cancel()
        else:
            _end(self._send.reset(_GAVE_UP))

    def _check(self) -> None:
        if self._given_up:
            raise StreamReset("this node gave the stream up.")

    def _let_go(self, task: asyncio.Task[object], cancels: int) -> None:
        """The task was woken by `abort`. Unless it was cancelled for another reason too it goes on, and learns why."""
        if task.uncancel() <= cancels:
            raise StreamReset("this node gave the stream up.") from None


class IrohLink:
    """A connection with `peer`; `is_dialed`: this node made it."""

    def __init__(self, connection: iroh.Connection, *, is_dialed: bool) -> None:
        self._connection = connection
        self.peer = NodeId(str(connection.remote_id()))
        self.is_dialed = is_dialed
        connection.set_max_concurrent_bi_streams(MAX_STREAMS)

    async def open(self) -> IrohStream:
        """See `interfaces.Link`. Waits while MAX_STREAMS are open."""
        try:
            return IrohStream(self, await self._connection.open_bi())
        except FOREIGN as exc:
            raise self.loss() or LinkLost("the connection failed.") from exc

    async def accept(self) -> IrohStream:
        """See `interfaces.Link`. A stream that comes while this is cancelled is given up."""
        try:
            return IrohStream(self, await self._connection.accept_bi())
        except FOREIGN as exc:
            raise self.loss() or LinkLost("the connection failed.") from exc

    def path(self) -> Path:
        """See `interfaces.Link`; `rtt_s` is measured in whole milliseconds."""
        for path in self._connection.paths():
            if path.is_selected:
                route = Route.RELAY if path.is_relay else Route.DIRECT if path.is_ip else Route.UNKNOWN
                return Path(route, path.remote_addr, path.rtt_ms / 1000)
        return Path(Route.UNKNOWN, "", None)

    async def closed(self) -> str:
        """See `interfaces.Link`."""
        return sanitize(await self._connection.closed())

    def close(self, reason: str) -> None:
        """See `interfaces.Link`."""
        self._connection.close(_GAVE_UP, reason.encode()[:MAX_REASON_BYTES])

    async def refuse_one_way_streams(self) -> None:
        """Until the link is gone. No node opens such streams, and nobody would read what a peer leaves in them."""
        with suppress(*FOREIGN):
            await self._connection.accept_uni()
            self.close("one-way streams are not used here")

    def loss(self) -> LinkLost | None:
        """None while the connection stands."""
        reason = self._connection.close_reason()
        return None if reason is None else LinkLost(f"the connection is gone: {sanitize(reason)}.")


class IrohTransport:
    """See `interfaces.Transport`. Made by `open_transport`; one task, which `close` ends, owns all that run for it."""

    def __init__(self, endpoint: iroh.Endpoint, keys: IrohKeys, *, has_relay: bool) -> None:
        self._endpoint: iroh.Endpoint | None = endpoint
        self.limits = HandshakeLimits()
        self.keys = keys
        self._has_relay = has_relay
        self._links: set[IrohLink] = set()
        # at most handshake_limits.MAX_LINKS, and the end
        self._arrived: asyncio.Queue[IrohLink | None] = asyncio.Queue()
        self._group = asyncio.TaskGroup()
        self._is_up = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._now_s = loop.time
        self._address = PeerAddress(keys.node_id)
        self._address_until_s = 0.0
        self._address_kept_s = ADDRESS_KEPT_S
        self._runner = loop.create_task(self._run(endpoint))

    @property
    def links(self) -> frozenset[IrohLink]:
        """Those that stand now, whichever side dialed."""
        return frozenset(self._links)

    def bound(self) -> list[str]:
        """The sockets of this node, as `ip:port`; none once it is closed."""
        return self._endpoint.bound_sockets() if self._endpoint is not None else []

    def address(self) -> PeerAddress:
        """See `interfaces.Transport`. Loopback addresses only while there are no others."""
        if self._endpoint is None:
            return PeerAddress(self.keys.node_id)
        now_s = self._now_s()
        if now_s >= self._address_until_s:
            before, self._address = self._address, self._look_up(self._endpoint)
            is_steady = self._address == before
            self._address_kept_s = min(2 * self._address_kept_s, STEADY_ADDRESS_KEPT_S) if is_steady else ADDRESS_KEPT_S
            self._address_until_s = now_s + self._address_kept_s
        return self._address

    def _look_up(self, endpoint: iroh.Endpoint) -> PeerAddress:
        known = endpoint.addr()
        found = known.direct_addresses() or [loopback_of(bound) for bound in endpoint.bound_sockets()]
        return PeerAddress(self.keys.node_id, advertisable(found), known.relay_url())

    async def dial(self, address: PeerAddress) -> IrohLink:
        """See `interfaces.Transport`. The relay is used only by a node that has one itself."""
        await self._is_up.wait()
        endpoint = self._open()
        if not is_node_id(address.node_id):
            raise PeerUnreachable("that is not a node id.")
        relay_url = address.relay_url if self._has_relay else None
        try:
            target = iroh.EndpointAddr(iroh.EndpointId.from_string(address.node_id), relay_url, list(address.direct))
            connection = await endpoint.connect(target, ALPN)
        except FOREIGN as exc:
            locations = ", ".join((*address.direct, *filter(None, [relay_url]))) or "any address known"
            raise PeerUnreachable(f"{short_id(address.node_id)} was not reached at {locations}.") from exc
        link = IrohLink(connection, is_dialed=True)
        self._links.add(link)
        self._open()  # `close` may have been called meanwhile, and closes every connection
        self._group.create_task(self._watch(link))
        return link

    async def accept(self) -> IrohLink:
        """See `interfaces.Transport`."""
        link = await self._arrived.get()
        if link is None:
            self._arrived.put_nowait(None)  # for the next caller
            raise LinkLost("this node is stopping.")
        return link

    async def close(self) -> None:
        """See `interfaces.Transport`; takes 2 * CLOSE_S at most. The port is free once the links are let go of too."""
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is None:
            return
        for link in self._links:
            link.close("this node is stopping")
        try:
            with suppress(TimeoutError, *FOREIGN):
                async with asyncio.timeout(CLOSE_S):
                    await endpoint.close()
            await asyncio.wait((self._runner,), timeout=CLOSE_S)
        finally:
            self._runner.cancel()

    def _open(self) -> iroh.Endpoint:
        if self._endpoint is None:
            raise PeerUnreachable("this node is stopping.")
        return self._endpoint

    async def _run(self, endpoint: iroh.Endpoint) -> None:
        try:
            async with self._group as group:
                self._is_up.set()
                while (incoming := await endpoint.accept_next()) is not None:
                    subnet = await self._admit(incoming)
                    if subnet is not None:
                        self.limits.begun(subnet)
                        group.create_task(self._take(incoming, subnet))
        finally:
            self._arrived.put_nowait(None)

    async def _admit(self, incoming: iroh.Incoming) -> str | None:
        """Where it comes from, if a handshake may begin; otherwise it is turned away here."""
        with suppress(*FOREIGN):
            source = await incoming.remote_addr()
            subnet = (
                subnet_of(source.addr) if isinstance(source, iroh.IncomingAddr.IP) else str(source)
            )  # a node at a relay
            decision = self.limits.decide(subnet)
            if decision is Decision.IGNORE:
                await incoming.ignore()
            elif decision is Decision.REFUSE:
                await incoming.refuse()
            elif decision is Decision.RETRY and not await incoming.remote_addr_validated():
                await incoming.retry()
            else:
                return subnet
        return None

    async def _take(self, incoming: iroh.Incoming, subnet: str) -> None:
        """Shake hands; then look after the link until it is gone."""
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                connection = await (await incoming.accept()).connect()
        except (TimeoutError, *FOREIGN):
            return
        finally:
            self.limits.ended(subnet)
        link = IrohLink(connection, is_dialed=False)
        if connection.alpn() != ALPN:
            link.close("another protocol")
            return
        self._links.add(link)
        self.limits.linked(subnet)
        self._arrived.put_nowait(link)
        try:
            await self._watch(link)
        finally:
            self.limits.unlinked(subnet)

    async def _watch(self, link: IrohLink) -> None:
        try:
            await link.refuse_one_way_streams()
        finally:
            self._links.discard(link)


async def open_transport(secret: bytes, options: TransportOptions) -> IrohTransport:
    """Bind the node's UDP port and start to take links.

    Only `options.host` is listened on; iroh also wants a socket of the other IP version, which is bound to loopback
    unless the host is all addresses. Raises `ConfigurationError`.
    """
    keys = IrohKeys(secret)
    builder = iroh.EndpointBuilder()  # type: ignore[no-untyped-call]  # generated code
    if options.use_public_lookup:
        builder.apply_n0()
    else:
        builder.apply_minimal()
    builder.relay_mode(_relay_mode(options))
    builder.secret_key(secret)
    builder.alpns([ALPN])
    for address in addresses_to_bind(options.host, options.port):
        builder.bind_addr(address)
    try:
        endpoint = await builder.bind()
    except FOREIGN as exc:
        raise ConfigurationError(
            f"UDP port {options.port} of {options.host} cannot be used: it is taken, or the address is not one of this "
            "machine's. Set PEER_PORT to a free port (0 finds one), or correct PEER_HOST."
        ) from exc
    return IrohTransport(endpoint, keys, has_relay=options.relay_url is not None)


def _relay_mode(options: TransportOptions) -> iroh.RelayMode:
    if options.relay_url is None:
        return iroh.RelayMode.disabled()
    if options.relay_url == PUBLIC_RELAYS:
        return iroh.RelayMode.default_mode()
    relays = iroh.RelayMap.empty()
    try:
        relays.insert(
            iroh.RelayConfig(url=options.relay_url, quic_port=_RELAY_QUIC_PORT, auth_token=options.relay_token)
        )
    except FOREIGN as exc:
        raise ConfigurationError(f"RELAY_URL is not a URL: {options.relay_url!r}.") from exc
    return iroh.RelayMode.custom(relays)


def _this_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("streams are used from tasks")
    return task


def _end(half: Coroutine[object, object, object]) -> None:
    with suppress(*FOREIGN):  # what is over already needs not be given up
        run_now(half)
