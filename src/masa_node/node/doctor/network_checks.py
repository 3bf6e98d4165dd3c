"""What the doctor says of the way to peers: UDP, addresses, router, relay, and each known peer. Pure."""

from collections.abc import Iterator

from masa_node.chat.errors import ConfigurationError, ConnectionRefused, DnsFailed, TlsFailed
from masa_node.network.clocks import APART
from masa_node.network.links.control import RefusalCode
from masa_node.network.transport.addresses import (
    PUBLIC_RELAYS,
    AddressScope,
    is_shared_by_carrier,
    read_address,
    scope_of,
)
from masa_node.network.transport.interfaces import short_id
from masa_node.network.transport.unreached import PeerHostUnknown, PeerKeyWrong, PeerSpeaksOtherwise
from masa_node.node.doctor.facts import NetworkFacts, PeerFacts, RelayFacts, WayInFacts
from masa_node.node.doctor.findings import Finding, fail, ok, warn
from masa_node.node.doctor.own_checks import host_of

MAX_PEERS_SHOWN = 20
NETWORK_CHECKS = frozenset({"udp", "address", "relay", "clock", "join", "network", "peer"})  # first words of checks
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400
_PING_OK = 200
_NO_TOKEN = frozenset({401, 403})
_USE_RELAY = "masa-node invite --relay public"
_SIGN_IN = "sign in to this network in a browser (hotel, train)"

_RELAY_NEXT = {
    DnsFailed.code: "Correct the host name in RELAY_URL.",
    ConnectionRefused.code: "Start the relay there, or correct the port in RELAY_URL.",
    TlsFailed.code: "Give the relay a certificate of a public authority (Let's Encrypt): iroh trusts no private one. "
    f"Or set this machine's date right, or {_SIGN_IN}.",
}
_PEER_NEXT: dict[str, str] = {
    RefusalCode.VERSION: "Update the one that it names.",
    RefusalCode.BAD_INVITE: "Ask its owner for a new invite: `masa-node invite` there.",
    RefusalCode.NOT_A_MEMBER: "Ask its owner for an invite: `masa-node invite` there.",
    RefusalCode.BLOCKED: "Ask its owner to unblock this node: `masa-node peers unblock` there.",
    RefusalCode.FULL: "Nothing: it is tried again by itself.",
    APART: "Set the clock that is wrong: `masa-node doctor` here and there says which.",
    PeerHostUnknown.code: "Correct that host name in BOOTNODES, or the name service.",
    PeerKeyWrong.code: "Another node answers there. Ask its owner for `masa-node id`, or for a new invite.",
    PeerSpeaksOtherwise.code: "Another program answers there, or another release: update both nodes.",
}
_PEER_NEXT_OTHERWISE = "Is it running, and its UDP port open? If an address changed while both were off, join again."


def way_in_findings(facts: NetworkFacts, relay: RelayFacts) -> Iterator[Finding]:
    """UDP, public address, NAT, port mapping."""
    way_in = facts.way_in
    if way_in.bind_error:
        yield fail("udp", way_in.bind_error, "Set PEER_PORT to a free port; 0 finds one.")
        return
    if facts.state != "on" or way_in.address is None:
        return
    yield from _udp(way_in, relay)
    yield from _address(way_in, relay)


def _udp(way_in: WayInFacts, relay: RelayFacts) -> Iterator[Finding]:
    bound = way_in.bound[0] if way_in.bound else "no port"
    if _outer(way_in) or _own_public(way_in):
        yield ok("udp", f"packets go out and answers come in at {bound}.")
    elif relay.is_home and relay.url.startswith("https:"):
        says = f"the relay is reached over TCP, but UDP ({bound}) brings no answer from it: a firewall blocks UDP."
        yield warn("udp", says, "Allow UDP out, to port 7842 of the relay and to any port of peers.")
    elif relay.is_home:
        says = "a relay over plain http cannot tell this node its public address: nobody is reached directly."
        yield warn("udp", says, "Give the relay a certificate, and write https:// in RELAY_URL.")
    else:
        yield ok("udp", f"bound to {bound}; whether it reaches the internet shows only with a relay.")


def _address(way_in: WayInFacts, relay: RelayFacts) -> Iterator[Finding]:
    """A relay that is set and fails has a line of its own, and is no second fault here."""
    outer = _outer(way_in)
    if way_in.external:
        yield _external(way_in.external, relay)
    elif _own_public(way_in):
        yield ok("address", f"this machine has a public address of its own: {_own_public(way_in)[0]}.")
    elif way_in.is_mapped and outer:
        yield ok("address", f"the router forwards {outer[0]} to this node.")
    elif outer:
        yield _translated(way_in, outer, relay)
    elif _of_carrier(way_in):
        says = f"the router's own address {_of_carrier(way_in)[0]} is the carrier's: no port can be opened there."
        yield warn("address", says, "" if relay.url else _USE_RELAY)
    elif relay.url:
        yield ok("address", "behind NAT: friends elsewhere come through the relay.")
    else:
        kinds = {scope_of(text) for text in _known(way_in)}
        where = "on this machine" if kinds <= {AddressScope.LOOPBACK} else "in this network"
        yield fail("address", f"only nodes {where} can reach this one: no public address, no relay.", _USE_RELAY)
    if not way_in.is_mapped and not way_in.external and not _own_public(way_in):
        says = "the router opens no port for this node (UPnP, NAT-PMP, PCP)."
        yield ok("mapping", says, "Optional: forward a UDP port there, then set PEER_PORT and PEER_ADDRESS.")


def _external(address: str, relay: RelayFacts) -> Finding:
    says = f"others are told {address} (PEER_ADDRESS)"
    if relay.url or scope_of(address) is AddressScope.PUBLIC:
        return ok("address", f"{says}.")
    then = "For friends elsewhere set PEER_ADDRESS to the router's public address."
    return warn("address", f"{says}, which leads here only inside that network.", then)


def _translated(way_in: WayInFacts, outer: list[str], relay: RelayFacts) -> Finding:
    """NAT without a forwarded port: how easily is it passed?"""
    ports = {_port(text) for text in outer}
    own_port = _port(way_in.bound[0]) if way_in.bound else None
    if len(ports) > 1 and len({text.rpartition(":")[0] for text in outer}) == 1:
        says = f"behind NAT that takes a new port for each peer ({', '.join(outer)}): most links go through the relay."
        return warn("address", says, "Forward a UDP port in the router, then set PEER_PORT and PEER_ADDRESS.")
    keeps = "that keeps the port" if ports == {own_port} else "that changes the port"
    if relay.url:
        return ok("address", f"behind NAT {keeps} ({outer[0]}); the relay helps peers to a direct link.")
    return fail("address", f"behind NAT {keeps} ({outer[0]}), and no relay helps peers in.", _USE_RELAY)


def _outer(way_in: WayInFacts) -> list[str]:
    """The public addresses that are the router's, not this machine's."""
    return [
        text
        for text in _known(way_in)
        if scope_of(text) is AddressScope.PUBLIC and text not in way_in.own_ips and text != way_in.external
    ]


def _own_public(way_in: WayInFacts) -> list[str]:
    return sorted(text for text in way_in.own_ips if scope_of(text) is AddressScope.PUBLIC)


def _of_carrier(way_in: WayInFacts) -> list[str]:
    return [text for text in _known(way_in) if is_shared_by_carrier(text) and text not in way_in.own_ips]


def _known(way_in: WayInFacts) -> tuple[str, ...]:
    return way_in.address.direct if way_in.address is not None else ()


def _port(text: str) -> int | None:
    read = read_address(text)
    return read[1] if read is not None else None


def relay_findings(facts: RelayFacts) -> Iterator[Finding]:
    """Is the relay reached, is it one, and is this node connected to it?"""
    if not facts.url:
        yield ok("relay", "none is set; that is fine where peers reach this node directly.")
        return
    if facts.code == ConfigurationError.code:  # no URL: told with the settings
        return
    name = "iroh's public relays" if facts.url == PUBLIC_RELAYS else host_of(facts.url)
    if facts.code:
        then = _RELAY_NEXT.get(facts.code, "Is that machine on? Correct RELAY_URL if not.")
        yield fail("relay", f"{name} is not reached: {facts.why}", then)
    elif facts.status in _NO_TOKEN:
        yield fail("relay", f"{name} refuses this node ({facts.status}).", "Set RELAY_TOKEN to a token that it takes.")
    elif facts.is_page or facts.status not in (None, _PING_OK):
        says = f"{name} answers {facts.status}{' with a web page' if facts.is_page else ''}: that is no iroh relay."
        yield fail("relay", says, f"Correct RELAY_URL, or {_SIGN_IN}.")
    elif facts.is_home is False:
        says = f"{name} answers, but the node is not connected to it: its certificate is private, or its token wrong."
        yield fail("relay", says, "Use a certificate of a public authority, and check RELAY_TOKEN.")
    elif facts.url.startswith("http:"):
        says = f"{name} is reached over plain http: it carries packets, but never helps to a direct link."
        yield warn("relay", says, "Give it a certificate, and write https:// in RELAY_URL.")
    else:
        yield ok("relay", f"{name} is reached{' and connected' if facts.is_home else ''}.")


def network_findings(facts: NetworkFacts) -> Iterator[Finding]:
    """Is there a network, and which peers are linked?"""
    if facts.refused_join:
        yield fail("join", f"the last join was refused: {facts.refused_join}", "masa-node join LINK, with a new link")
    if facts.state == "off" and not facts.way_in.bind_error:  # which has a line of its own
        yield warn("network", f"not connected with peers: {facts.why}", "masa-node invite, or masa-node join LINK")
    if facts.state == "not running":
        return
    linked = sum(peer.is_linked for peer in facts.peers)
    if facts.peers:
        make = ok if linked else warn
        yield make("network", f"{linked} of {len(facts.peers)} known peers are linked.", "" if linked else "see below")
    elif facts.state == "on":
        yield ok("network", "no peers yet.", "masa-node invite, or masa-node join LINK")
    for peer in facts.peers[:MAX_PEERS_SHOWN]:
        yield _peer(peer)


def _peer(peer: PeerFacts) -> Finding:
    check = f"peer {short_id(peer.id)}"
    called = f"{peer.name}: " if peer.name else ""
    if peer.is_linked:
        return ok(check, f"{called}linked, {peer.route}.")
    last = "never linked" if peer.last_linked_s_ago is None else f"last linked {_span(peer.last_linked_s_ago)} ago"
    again = "" if peer.next_try_s is None else f", next try in {_span(peer.next_try_s)}"
    why = peer.why or "it was not dialed yet."
    if peer.code == RefusalCode.BLOCKED and peer.membership == "blocked":
        return ok(check, f"{called}blocked here.", f"masa-node peers unblock {short_id(peer.id)}")
    return warn(check, f"{called}{why} ({last}{again})", next_for_peer(peer.code))


def next_for_peer(code: str) -> str:
    """What to do about a peer that is not linked for this reason: a `RefusalCode`, or an error's code."""
    return _PEER_NEXT.get(code, _PEER_NEXT_OTHERWISE)


def _span(seconds: float) -> str:
    for unit, size_s in (("d", _DAY_S), ("h", _HOUR_S), ("min", _MINUTE_S)):
        if seconds >= size_s:
            return f"{seconds / size_s:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
