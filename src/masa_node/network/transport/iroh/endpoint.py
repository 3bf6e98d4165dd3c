"""The transport over iroh (QUIC); only this folder knows that. `interfaces.py` says what is promised."""

import asyncio
from contextlib import suppress

import iroh
import msgspec

from masa_node.chat.errors import ConfigurationError, LinkLost, PeerUnreachable
from masa_node.network.transport.bind import addresses_to_bind, advertisable, loopback_of
from masa_node.network.transport.handshake_limits import Decision, HandshakeLimits
from masa_node.network.transport.interfaces import (
    ALPN,
    MAX_ADDRESSES,
    PeerAddress,
    WayIn,
    is_node_id,
    short_id,
)
from masa_node.network.transport.iroh.failures import unreached
from masa_node.network.transport.iroh.keys import FOREIGN, IrohKeys
from masa_node.network.transport.iroh.link import IrohLink
from masa_node.network.transport.iroh.patches.byte_copy import copy_in_blocks
from masa_node.network.transport.iroh.patches.release import release_on_loop
from masa_node.network.transport.iroh.patches.wake_ups import settle_directly
from masa_node.network.transport.iroh.relays import Relays, first_relays, plain_url
from masa_node.network.transport.sources import Source, source_of

HANDSHAKE_S = 5.0  # three round trips on a very bad line
# Looking up the node's own address takes a millisecond of Python, and an idle node asks for it all the time. So the
# answer is used for a while, and for longer while it stays the same. It changes in the first seconds.
ADDRESS_KEPT_S = 1.0
STEADY_ADDRESS_KEPT_S = 4.0
CLOSE_S = 2.0  # peers are told at once; those that do not confirm are not waited for longer
_PORT_MAPPED = "net_report:portmap_external_address_updated"  # how often a router gave a port

COPIES_IN_BLOCKS = copy_in_blocks(iroh.iroh_ffi)
SETTLES_DIRECTLY = settle_directly(iroh.iroh_ffi)
RELEASES_ON_LOOP = release_on_loop(iroh.iroh_ffi)


class TransportOptions(msgspec.Struct, frozen=True):
    """`host` is an IP address; `external` an `ip:port` that leads here from outside.

    Without `relay_url` and `use_public_lookup` no outside server is contacted, but relays in addresses that are dialed.
    """

    host: str
    port: int = 0
    relay_url: str | None = None
    relay_token: str | None = None
    use_public_lookup: bool = False
    external: str | None = None


class IrohTransport:
    """See `interfaces.Transport`. Made by `open_transport`; one task, which `close` ends, owns all that run for it."""

    def __init__(self, endpoint: iroh.Endpoint, keys: IrohKeys, relays: Relays, external: str | None = None) -> None:
        self._endpoint: iroh.Endpoint | None = endpoint
        self.limits = HandshakeLimits()
        self.keys = keys
        self._relays = relays
        self._external = external
        self._links: set[IrohLink] = set()
        self._dials: set[asyncio.Timeout] = set()  # those under way
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
        named = (self._external,) if self._external is not None else ()  # first: it is sure to lead here
        others = [text for text in known.direct_addresses() if text not in named]
        found = others or [loopback_of(bound) for bound in endpoint.bound_sockets()]
        relay_url = self._relays.in_use(known.relay_url())
        return PeerAddress(self.keys.node_id, (*named, *advertisable(found))[:MAX_ADDRESSES], relay_url)

    @property
    def relays(self) -> frozenset[str]:
        """See `interfaces.Transport`."""
        return self._relays.urls

    async def way_in(self) -> WayIn:
        """See `interfaces.Transport`."""
        if self._endpoint is None:
            return WayIn()
        counts = self._endpoint.stats()
        mapped = counts.get(_PORT_MAPPED)
        home = await self._relays.home()
        return WayIn(tuple(self.bound()), tuple(sorted(self.relays)), home, bool(mapped and mapped.value))

    async def use_relay(self, url: str, token: str | None = None) -> None:
        """See `interfaces.Transport`."""
        await self._relays.use(url, token)
        self._address_until_s, self._address_kept_s = 0.0, ADDRESS_KEPT_S

    async def connect_again(self, relay_url: str) -> bool:
        """See `interfaces.Transport`."""
        return await self._relays.connect_again(relay_url)

    async def leave_relays(self) -> None:
        """See `interfaces.Transport`."""
        await self._relays.leave()
        self._address_until_s = 0.0

    async def dial(self, address: PeerAddress) -> IrohLink:
        """See `interfaces.Transport`. A relay that cannot be used is left out."""
        await self._is_up.wait()
        endpoint = self._open()
        if not is_node_id(address.node_id):
            raise PeerUnreachable("that is not a node id.")
        connection = None
        while connection is None:
            connection = await self._connect(endpoint, address)
        link = IrohLink(connection, is_dialed=True)
        self._links.add(link)
        self._open()  # `close` may have been called meanwhile, and closes every connection
        self._group.create_task(self._watch(link))
        return link

    async def _connect(self, endpoint: iroh.Endpoint, address: PeerAddress) -> iroh.Connection | None:
        """None when it is to begin again. iroh says its first word again after 1, 3 and 7 s."""
        relay_url = await self._relays.meet(address.relay_url) if address.relay_url else None
        with suppress(TimeoutError):
            async with asyncio.timeout(None) as dial:
                self._dials.add(dial)
                try:
                    key = iroh.EndpointId.from_string(address.node_id)
                    target = iroh.EndpointAddr(key, relay_url, list(address.direct))
                    return await endpoint.connect(target, ALPN)
                except FOREIGN as exc:
                    locations = (
                        ", ".join(filter(None, (*address.direct, plain_url(relay_url or "")))) or "any address known"
                    )
                    raise unreached(exc, short_id(address.node_id), locations) from exc
                finally:
                    self._dials.discard(dial)
        return None

    def restart_dials(self) -> None:
        """See `interfaces.Transport`."""
        for dial in self._dials:
            dial.reschedule(self._now_s())

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
        self._relays.let_go()
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
                    source = await self._admit(incoming)
                    if source is not None:
                        self.limits.begun(source)
                        group.create_task(self._take(incoming, source))
        finally:
            self._arrived.put_nowait(None)

    async def _admit(self, incoming: iroh.Incoming) -> Source | None:
        """Where it comes from, if a handshake may begin; otherwise it is turned away here."""
        with suppress(*FOREIGN):
            source = _source_of(await incoming.remote_addr())
            decision = self.limits.decide(source)
            if decision is Decision.IGNORE:
                await incoming.ignore()
            elif decision is Decision.REFUSE:
                await incoming.refuse()
            elif decision is Decision.RETRY and not await incoming.remote_addr_validated():
                await incoming.retry()
            else:
                return source
        return None

    async def _take(self, incoming: iroh.Incoming, source: Source) -> None:
        """Shake hands; then look after the link until it is gone."""
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                connection = await (await incoming.accept()).connect()
        except (TimeoutError, *FOREIGN):
            return
        finally:
            self.limits.ended(source)
        link = IrohLink(connection, is_dialed=False)
        if connection.alpn() != ALPN:
            link.close("another protocol")
            return
        self._links.add(link)
        self.limits.linked(source)
        self._arrived.put_nowait(link)
        try:
            await self._watch(link)
        finally:
            self.limits.unlinked(source)

    async def _watch(self, link: IrohLink) -> None:
        try:
            await link.refuse_one_way_streams()
        finally:
            self._links.discard(link)


def _source_of(address: iroh.IncomingAddr) -> Source:
    """One key at a relay is as one customer: a relay names keys, and no addresses."""
    if isinstance(address, iroh.IncomingAddr.IP):
        return source_of(address.addr)
    site = plain_url(address.url) if isinstance(address, iroh.IncomingAddr.RELAY) else ""
    return Source(site, str(address))


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
    relays = first_relays(options.relay_url, options.relay_token)
    builder.relay_mode(iroh.RelayMode.custom(relays))
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
    if options.external is not None:
        await endpoint.add_external_addr(options.external)
    return IrohTransport(endpoint, keys, Relays(endpoint, relays), options.external)
