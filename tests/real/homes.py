"""Two homes: each a machine behind a router that translates addresses and lets nothing in by itself; a street between.

Linux only, for root, with iproute2 and nftables. The street has room for a relay. No pytest here.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self, TypeVar

from netns import NodeThere, inside, ip
from node_process import PROJECT

STREET = "81.2.69.1"  # public, so that nodes take the routers' addresses for what they stand for; no packet leaves
RELAY_PORT = 3340
NFT_S = 10.0
T = TypeVar("T")
BUILT_RELAY = PROJECT / ".cache" / "iroh-relay" / "bin" / "iroh-relay"

_RULES = """
table inet home {{
  chain leave {{
    type nat hook postrouting priority 100
    oifname "wan" masquerade{how}
  }}
  chain enter {{
    type nat hook prerouting priority -100
    {forwarded}
  }}
  chain through {{
    type filter hook forward priority 0; policy drop
    {blocked}
    ct state established,related accept
    ct status dnat accept
    iifname "lan" accept
  }}
  chain own {{
    type filter hook input priority 0
    iifname "wan" ct state new drop
  }}
}}
"""

# Said again it changes nothing.
_COUNTER = """
table inet home {{
  counter came {{ }}
  chain count {{
    type filter hook prerouting priority -300
  }}
}}
flush chain inet home count
table inet home {{
  chain count {{
    ip saddr {address} counter name "came"
  }}
}}
"""

# Where miniupnpd puts its rules, and how it is told of them.
_MAPPER_RULES = """
table inet filter {
  chain forward {
    type filter hook forward priority -1; policy accept
    jump miniupnpd
  }
  chain miniupnpd {
  }
  chain prerouting {
    type nat hook prerouting priority -101; policy accept
    jump prerouting_miniupnpd
  }
  chain prerouting_miniupnpd {
  }
  chain postrouting {
    type nat hook postrouting priority 99; policy accept
    jump postrouting_miniupnpd
  }
  chain postrouting_miniupnpd {
  }
}
"""
_MAPPER = """
ext_ifname=wan
ext_ip={outer}
listening_ip=lan
port=0
enable_natpmp=yes
enable_upnp=yes
secure_mode=no
uuid=00000000-0000-0000-0000-000000000001
allow 1024-65535 0.0.0.0/0 1024-65535
upnp_table_name=filter
upnp_nat_table_name=filter
upnp_forward_chain=miniupnpd
upnp_nat_chain=prerouting_miniupnpd
upnp_nat_postrouting_chain=postrouting_miniupnpd
"""


def what_is_missing() -> str:
    """Which program the tester has to install beside iproute2; "" if none."""
    missing = [name for name in ("nft", "miniupnpd") if shutil.which(name) is None]
    return f"homes behind NAT need nftables and miniupnpd-nftables: no {', '.join(missing)}" if missing else ""


def relay_program() -> str:
    """The iroh-relay that is installed, or that `tools/get_iroh_relay.sh` built; "" if there is none."""
    found = shutil.which("iroh-relay")
    return found or (str(BUILT_RELAY) if BUILT_RELAY.exists() else "")


class Router:
    """How one home's router treats packets. `is_symmetric`: each destination sees another port.

    `udp_blocked`: no UDP passes. `forwarded`: this UDP port leads to the machine, as by hand.
    """

    def __init__(self, *, is_symmetric: bool = False, udp_blocked: bool = False, forwarded: int | None = None) -> None:
        self.is_symmetric = is_symmetric
        self.udp_blocked = udp_blocked
        self.forwarded = forwarded

    def rules(self, machine: str) -> str:
        """As nft reads them."""
        forwarded = f'iifname "wan" udp dport {self.forwarded} dnat ip to {machine}' if self.forwarded else ""
        return _RULES.format(
            how=" random,fully-random" if self.is_symmetric else "",
            forwarded=forwarded,
            blocked="meta l4proto udp drop" if self.udp_blocked else "",
        )


class Homes:
    """A context manager: the homes by name, each a `place` for `NodeThere`."""

    def __init__(self, **routers: Router) -> None:
        self._prefix = f"masa-{os.getpid()}-"
        self._routers = routers
        self._relay: subprocess.Popen[bytes] | None = None
        self._mapper: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_relay()
        if self._mapper is not None:
            self._mapper.kill()
            self._mapper.wait()
        for name in self._names():
            with contextlib.suppress(subprocess.SubprocessError):
                ip("netns", "del", name)

    def namespace(self, place: str) -> str:
        """See `netns.Lan`."""
        return f"{self._prefix}{place}"

    def outer_address(self, place: str) -> str:
        """That of its router, as the street sees it."""
        return f"81.2.69.{self._number(place) + 10}"

    def run(self, place: str, call: Callable[[], T]) -> T:
        """See `netns.Lan`."""
        return inside(self.namespace(place), call)

    def change_outer_address(self, place: str) -> str:
        """Its router dials in again: it gets another one, which is returned, and forgets what it translated."""
        gate, address = self._router(place), f"81.2.69.{self._number(place) + 110}"
        ip("-n", gate, "link", "set", "wan", "down")
        ip("-n", gate, "address", "del", f"{self.outer_address(place)}/24", "dev", "wan")
        ip("-n", gate, "address", "add", f"{address}/24", "dev", "wan")
        ip("-n", gate, "link", "set", "wan", "up")
        return address

    def change_inner_address(self, place: str) -> str:
        """The machine there gets another address from its router, which is returned."""
        home, number = self.namespace(place), self._number(place)
        address = f"192.168.{number}.7"
        ip("-n", home, "address", "del", f"192.168.{number}.2/24", "dev", "eth0")
        ip("-n", home, "address", "add", f"{address}/24", "dev", "eth0")
        ip("-n", home, "route", "replace", "default", "via", f"192.168.{number}.1")
        return address

    def packets_from(self, address: str, place: str) -> int:
        """How many have come from this outer address to the router there since this was first asked."""
        gate = self._router(place)
        _in(gate, "nft", "-f", "-", text=_COUNTER.format(address=address))
        told = _in(gate, "nft", "list", "counter", "inet", "home", "came")
        return int(told.partition("packets ")[2].split()[0])

    relay_url = f"http://{STREET}:{RELAY_PORT}"

    def start_relay(self, folder: Path) -> str:
        """A relay in the street, over plain HTTP; its URL."""
        config = folder / "relay.toml"
        config.write_text(
            f'enable_relay = true\nhttp_bind_addr = "{STREET}:{RELAY_PORT}"\n'
            "enable_quic_addr_discovery = false\nenable_metrics = false\n"
        )
        command = ["ip", "netns", "exec", self.namespace("street"), relay_program(), "--config-path", str(config)]
        self._relay = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self.relay_url

    def start_mapper(self, place: str, folder: Path) -> None:
        """The router there opens ports for machines that ask it to: UPnP and NAT-PMP."""
        gate = self._router(place)
        _in(gate, "nft", "-f", "-", text=_MAPPER_RULES)
        config = folder / "miniupnpd.conf"
        config.write_text(_MAPPER.format(outer=self.outer_address(place)))
        command = ["ip", "netns", "exec", gate, "miniupnpd", "-d", "-f", str(config), "-P", str(folder / "pid")]
        self._mapper = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop_relay(self) -> None:
        """As a power cut would."""
        if self._relay is not None:
            self._relay.kill()
            self._relay.wait()
            self._relay = None

    def _names(self) -> list[str]:
        return [self.namespace("street")] + [
            each for place in self._routers for each in (self.namespace(place), self._router(place))
        ]

    def _router(self, place: str) -> str:
        return self.namespace(f"{place}-router")

    def _number(self, place: str) -> int:
        return [*self._routers].index(place) + 1

    def _make(self) -> None:
        for name in self._names():
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        street = self.namespace("street")
        ip("-n", street, "link", "add", "br0", "type", "bridge")
        ip("-n", street, "link", "set", "br0", "up")
        ip("-n", street, "address", "add", f"{STREET}/24", "dev", "br0")
        for place, router in self._routers.items():
            self._connect(place, router)

    def _connect(self, place: str, router: Router) -> None:
        street, gate, home = self.namespace("street"), self._router(place), self.namespace(place)
        number = self._number(place)
        ip("-n", street, "link", "add", f"to{number}", "type", "veth", "peer", "name", "wan", "netns", gate)
        ip("-n", street, "link", "set", f"to{number}", "master", "br0", "up")
        ip("-n", gate, "link", "add", "lan", "type", "veth", "peer", "name", "eth0", "netns", home)
        for where, device, address in (
            (gate, "wan", f"{self.outer_address(place)}/24"),
            (gate, "lan", f"192.168.{number}.1/24"),
            (home, "eth0", f"192.168.{number}.2/24"),
        ):
            ip("-n", where, "address", "add", address, "dev", device)
            ip("-n", where, "link", "set", device, "up")
        ip("-n", home, "route", "add", "default", "via", f"192.168.{number}.1")
        _in(gate, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        _in(gate, "nft", "-f", "-", text=router.rules(f"192.168.{number}.2"))


def _in(namespace: str, *command: str, text: str = "") -> str:
    done = subprocess.run(
        ["ip", "netns", "exec", namespace, *command],
        input=text,
        text=True,
        check=True,
        capture_output=True,
        timeout=NFT_S,
    )
    return done.stdout


def node_at(homes: Homes, place: str, folder: Path, settings: Mapping[str, str] | None = None) -> NodeThere:
    """A node as its owner starts it there: off the network until somebody is invited or joined."""
    return NodeThere(folder, {"NETWORK": "auto", "DEMO": "1", **(settings or {})}, homes, place)


def set_clock(node: NodeThere, folder: Path, ahead_s: float) -> None:
    """From its next start on its machine's clock is so far ahead, for all that the node and its commands read of it."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import time\nreal, real_ns = time.time, time.time_ns\n"
        f"time.time = lambda: real() + {ahead_s}\ntime.time_ns = lambda: real_ns() + {int(ahead_s)} * 10**9\n"
    )
    node.environment["PYTHONPATH"] = os.pathsep.join((str(folder), node.environment["PYTHONPATH"]))


def right_clock(node: NodeThere) -> None:
    """The end of `set_clock`, from its next start on."""
    node.environment["PYTHONPATH"] = node.environment["PYTHONPATH"].partition(os.pathsep)[2]
