"""The way in to a running node: kept in MASA_DIR for commands, the relay that its owner chose, and what follows when it
changes.
"""

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import msgspec
import structlog

from masa_node.chat.errors import ConfigurationError
from masa_node.network.store.commands import CommandResult, CommandState
from masa_node.network.store.store import Store
from masa_node.network.transport.addresses import read_address
from masa_node.network.transport.interfaces import PeerAddress, Transport, WayIn
from masa_node.node.settings.environment import Settings
from masa_node.node.settings.peers import NO_RELAY, relay_fault

if TYPE_CHECKING:
    from masa_node.network.network import Network

KEPT_RELAY = "relay"
# What iroh finds out of relay, router and public address is there by then, or comes late: a command waits no longer.
SETTLED_S = 4.0
HOME_WITHIN_S = 3.0  # a name looked up, TLS, the relay's greeting; 0.2 s where all is near
BACK_WITHIN_S = 1.0  # the same after an absence; what takes longer is seen by the next look, and commands go on
LOOK_EVERY_S = 0.05
ASLEEP_S = 5.0  # a look that comes so late was no slow one: the machine slept, or the process was stopped

log = structlog.get_logger()


class OwnWayIn:
    """`look` from time to time. Peers are dialed again at once after a change of address, a sleep, a relay's return."""

    def __init__(self, store: Store, network: "Network", transport: Transport, settings: Settings) -> None:
        self._store = store
        self._network = network
        self._transport = transport
        self._settings = settings
        self._address: PeerAddress | None = None
        self._home: str | None = None
        self._lost = ""  # the relay that this node is to be connected to again, or at last; "": any that it uses
        self._since_s = asyncio.get_running_loop().time()
        self._looked_s = lasting_s()
        self._is_settled = False

    async def begin(self) -> None:
        """At the start: nothing is settled yet, and a port once bound is bound again."""
        await self._unsettle((await relay_in_force(self._store, self._settings)) or "")
        port = _port_to_keep(await self._transport.way_in(), self._settings.peer_host)
        if port:
            await self._store.set_value("peer_port", str(port).encode())

    async def look(self, every_s: float) -> None:
        """What has changed since the last look, `every_s` seconds ago?"""
        has_slept, address = self._has_slept(every_s), self._transport.address()
        has_moved = address != self._address
        if has_moved:
            await self._store.set_value("address", msgspec.msgpack.encode(address))
            has_moved, self._address = self._address is not None, address
        is_relay_back = await self._is_relay_back()
        if has_slept or has_moved or is_relay_back:
            self._transport.restart_dials()
            self._network.dial_again()
        if not self._is_settled and asyncio.get_running_loop().time() - self._since_s >= SETTLED_S:
            self._is_settled = await self._store.set_value("settled", b"1")
            if self._transport.relays and not self._home:
                log.warning("relay not reached", relays=sorted(self._transport.relays), hint="masa-node doctor")

    async def choose_relay(self, choice: str) -> CommandResult:
        """The owner's choice: `public`, a URL, `none`. It is kept, and holds at once."""
        fault = relay_fault(choice, self._settings)
        if fault:
            return CommandResult(CommandState.FAILED, fault)
        await self._unsettle("")
        await self._transport.leave_relays()
        if choice == NO_RELAY:
            self._network.book.leave_relays()
        else:
            try:
                await self._transport.use_relay(choice, self._settings.relay_token or None)
            except ConfigurationError as exc:
                return CommandResult(CommandState.FAILED, exc.message)
            await self._until_home(HOME_WITHIN_S)
            await self._await(choice)
        if not await self._store.set_value(KEPT_RELAY, choice.encode()):
            return CommandResult(CommandState.FAILED, "The choice holds until the node ends: MASA_DIR is not writable.")
        return CommandResult(CommandState.DONE, f"Relay: {choice}.")

    async def _unsettle(self, relay: str) -> None:
        """What lets others in is looked for from now on; commands wait for this relay, too, and the time is bounded."""
        self._since_s, self._is_settled = asyncio.get_running_loop().time(), False
        await self._await(relay)
        await self._store.set_value("settled", b"")

    async def _await(self, relay: str) -> None:
        self._lost = relay
        await self._store.set_value("awaited_relay", relay.encode())

    async def _until_home(self, within_s: float) -> str | None:
        """Until the relay has taken this node in: the relay, or None when it takes too long to."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not (home := (await self._transport.way_in()).home_relay):  # noqa: ASYNC110 - iroh has no event that ends
                    await asyncio.sleep(LOOK_EVERY_S)
                return home
        return None

    def _has_slept(self, every_s: float) -> bool:
        before, self._looked_s = self._looked_s, lasting_s()
        return self._looked_s - before > every_s + ASLEEP_S

    async def _is_relay_back(self) -> bool:
        """Is this node connected to its relay again? Said in the log, as is the loss."""
        if not self._transport.relays:
            return False
        before, self._home = self._home, (await self._transport.way_in()).home_relay
        if before and not self._home:
            self._lost = before  # of several, iroh may have taken another one than was named
            log.warning("relay lost", relay=before, hint="masa-node doctor")
        elif self._is_settled and not self._home and await self._transport.connect_again(self._lost):
            self._home = await self._until_home(BACK_WITHIN_S)
        return bool(self._home and not before)


def lasting_s() -> float:
    """Seconds by a clock that goes on while the machine sleeps; where there is none, by the one that its owner sets."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.time()


async def relay_in_force(store: Store, settings: Settings) -> str | None:
    """RELAY_URL, else what the owner chose with `--relay`; None for no relay."""
    chosen = (await store.value(KEPT_RELAY) or b"").decode("utf-8", "replace")
    choice = settings.relay_url or chosen
    return choice if choice and not relay_fault(choice, settings) and choice != NO_RELAY else None


def _port_to_keep(way_in: WayIn, host: str) -> int | None:
    """The port of the socket that peers come to: never the router's, which it may give to another machine next."""
    read = [found for found in map(read_address, way_in.bound) if found is not None]
    of_host = [port for ip, port in read if str(ip) == host.strip("[]")]
    return next(iter([*of_host, *(port for _, port in read)]), None)
