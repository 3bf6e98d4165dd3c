"""Finds nodes on the LAN by multicast DNS (RFC 6762, RFC 6763), and lets them find this one.

The only file that knows python-zeroconf; the node imports it only with DISCOVER_LAN=1.

Anybody on the LAN can announce anything, so what is found is only a hint where to dial. The handshake proves the
peer's key, and membership decides whether it is let in. IPv4 multicast only; it announces IPv6 addresses, too.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping

import structlog
from zeroconf import Error, InterfaceChoice, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from masa_node.network.transport.addresses import AddressScope, may_dial, read_address, scope_of, write_address
from masa_node.network.transport.interfaces import ALPN, MAX_ADDRESSES, NodeId, PeerAddress, is_node_id

SERVICE = "_masa-node._udp.local."
MAX_FOUND = 256  # node ids told within FORGET_EVERY_S: more than a LAN has, and all that a flood of made-up ones gets
FORGET_EVERY_S = 3600.0
MAX_WAITING = 256  # names seen and not asked for yet; a name that is left out is seen again
RESOLVERS = 8  # each waits up to ASK_WITHIN_MS for a name that nobody answers for
RESOLVE_WITHIN_MS = 3000  # python-zeroconf's own default
CHECK_EVERY_S = 10.0  # interfaces and the node's own address
RETRY_AFTER_S = 30.0
CLOSE_WITHIN_S = 2.0  # saying goodbye takes three packets, 0.4 s

_LOOPBACK = "127.0.0.1"
_NAME_CHARS = 16  # of the node id: unique enough, and a DNS label has 63 characters

log = structlog.get_logger()


class LanDiscovery:
    """Announces this node and tells of others, while `run` runs.

    `address` is asked every CHECK_EVERY_S, for a laptop changes its network. `found` is told of each node, again
    when it comes back; it must not raise. A node that listens on loopback only looks and is seen on this machine only.
    """

    def __init__(self, address: Callable[[], PeerAddress], found: Callable[[PeerAddress], None]) -> None:
        self._address = address
        self._found = found
        self._waiting: asyncio.Queue[str] = asyncio.Queue(MAX_WAITING)
        self._reported: set[NodeId] = set()
        self._forgot_at_s = 0.0
        self._is_worried = False

    @property
    def waiting(self) -> int:
        """Names that were seen and are not asked for yet."""
        return self._waiting.qsize()

    async def run(self) -> None:
        """Until cancelled. When the network fails it says so once, and tries again."""
        while True:
            try:
                await self._look(self._address())
            except (OSError, Error) as exc:
                self._worry(exc)
                await asyncio.sleep(RETRY_AFTER_S)

    async def _look(self, own: PeerAddress) -> None:
        """Returns when this node's address has changed. Raises `OSError`, `zeroconf.Error`."""
        async with _multicast(own) as multicast:
            info = announcement(own)
            if info is not None:
                await (
                    await multicast.async_register_service(  # pyright: ignore[reportUnknownMemberType] - a bare Awaitable
                        info, allow_name_change=True
                    )
                )
            browser = AsyncServiceBrowser(multicast.zeroconf, SERVICE, handlers=[self.noticed])
            try:
                self._is_worried = False
                async with asyncio.TaskGroup() as group:
                    resolvers = [group.create_task(self._keep_resolving(multicast.zeroconf)) for _ in range(RESOLVERS)]
                    await self.until_moved(multicast, own)
                    for resolver in resolvers:
                        resolver.cancel()
            finally:
                await browser.async_cancel()

    def noticed(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        """The browser saw a name; the parameters' names are python-zeroconf's."""
        del zeroconf, service_type
        if state_change is not ServiceStateChange.Removed:
            with contextlib.suppress(asyncio.QueueFull):
                self._waiting.put_nowait(name)

    async def _keep_resolving(self, zeroconf: Zeroconf) -> None:
        while True:
            name = await self._waiting.get()
            with contextlib.suppress(OSError, Error):
                info = AsyncServiceInfo(SERVICE, name)
                if await info.async_request(zeroconf, RESOLVE_WITHIN_MS):
                    self.resolved(info)

    def resolved(self, info: AsyncServiceInfo) -> None:
        """A name was asked for, and this is what the LAN says of it."""
        own = self._address()
        found = peer_in(info.properties, info.parsed_addresses(), info.port or 0, is_local=_is_local(own))
        if found is None or found.node_id == own.node_id:
            return
        if found.node_id not in self._reported:
            if len(self._reported) >= MAX_FOUND:
                return
            self._reported.add(found.node_id)
        self._found(found)

    async def until_moved(self, multicast: AsyncZeroconf, own: PeerAddress) -> None:
        """Returns once this node's address is another; keeps up with the interfaces meanwhile."""
        is_moved = False
        while not is_moved:
            await asyncio.sleep(CHECK_EVERY_S)
            is_moved = frozenset(self._address().direct) != frozenset(own.direct)
            self._forget_sometimes()
            try:
                await multicast.async_update_interfaces()
            except (OSError, Error) as exc:
                self._worry(exc)

    def _forget_sometimes(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s - self._forgot_at_s >= FORGET_EVERY_S:
            self._forgot_at_s = now_s
            self._reported.clear()

    def _worry(self, exc: BaseException) -> None:
        if not self._is_worried:
            self._is_worried = True
            log.warning("the LAN cannot be searched for nodes now; it keeps trying", why=str(exc) or type(exc).__name__)


def announcement(own: PeerAddress) -> AsyncServiceInfo | None:
    """The records announced on the LAN; None without an address.

    A service has one port: of a node with several, the addresses with the first one's are announced.
    """
    is_local = _is_local(own)
    usable = [text for text in own.direct if is_local or scope_of(text) is not AddressScope.LOOPBACK]
    read = [pair for pair in map(read_address, usable) if pair is not None]
    if not read:
        return None
    port = read[0][1]
    name = f"masa-{own.node_id[:_NAME_CHARS]}"
    return AsyncServiceInfo(
        SERVICE,
        f"{name}.{SERVICE}",
        port=port,
        addresses=[ip.packed for ip, other_port in read if other_port == port],
        properties={"id": own.node_id, "protocol": ALPN.decode()},
        server=f"{name}.local.",
    )


def peer_in(
    properties: Mapping[bytes, bytes | None], addresses: list[str], port: int, *, is_local: bool
) -> PeerAddress | None:
    """The node that such records tell of; None if it is none, of another protocol, or nowhere to be dialed.

    Loopback addresses count only if `is_local`: from another machine they would lead back to this one.
    """
    node_id = (properties.get(b"id") or b"").decode("latin-1")
    if not is_node_id(node_id) or properties.get(b"protocol") != ALPN:
        return None
    texts = dict.fromkeys(f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}" for ip in addresses)
    direct = tuple(
        write_address(*read)
        for text in texts
        if (read := read_address(text)) is not None
        and may_dial(text, "", allow_private=True)
        and (is_local or scope_of(text) is not AddressScope.LOOPBACK)
    )[:MAX_ADDRESSES]
    return PeerAddress(NodeId(node_id), direct) if direct else None


def _is_local(own: PeerAddress) -> bool:
    """Does it listen on loopback only?"""
    return bool(own.direct) and all(scope_of(text) is AddressScope.LOOPBACK for text in own.direct)


@contextlib.asynccontextmanager
async def _multicast(own: PeerAddress) -> AsyncGenerator[AsyncZeroconf]:
    """Sockets on all interfaces, or on loopback alone. Says goodbye at the end, within CLOSE_WITHIN_S."""
    multicast = AsyncZeroconf(interfaces=[_LOOPBACK] if _is_local(own) else InterfaceChoice.All)
    try:
        yield multicast
    finally:
        try:
            with contextlib.suppress(OSError, Error, TimeoutError):
                async with asyncio.timeout(CLOSE_WITHIN_S):
                    await multicast.async_unregister_all_services()
        finally:
            await multicast.async_close()
