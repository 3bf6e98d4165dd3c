"""The settings about peers, read and checked before anything starts."""

from ipaddress import ip_address

import msgspec

from masa_node.chat.errors import ConfigurationError
from masa_node.network.links.invites import parse_bootnodes
from masa_node.network.requests.sharing import SharePolicy, read_policy
from masa_node.network.transport.addresses import PUBLIC_RELAYS, is_relay_url, read_address, write_address
from masa_node.network.transport.interfaces import NodeId, PeerAddress, is_node_id
from masa_node.node.settings.environment import Settings
from masa_node.node.settings.words import listed

NO_RELAY = "none"  # as `invite --relay`: use none


class PeerSettings(msgspec.Struct, frozen=True):
    """What BOOTNODES, TRUSTED_PEERS and SHARE mean."""

    bootnodes: tuple[PeerAddress, ...]
    trusted: frozenset[NodeId]
    share: SharePolicy
    external: str | None = None  # PEER_ADDRESS


def read_peer_settings(settings: Settings) -> PeerSettings:
    """Raises `ConfigurationError` naming the setting and what it may be."""
    relay = settings.relay_url
    if relay and relay != PUBLIC_RELAYS and not is_relay_url(relay):
        raise ConfigurationError(f"RELAY_URL: {relay!r} is not understood. Use https://relay.example.org, or `public`.")
    try:
        ip_address(settings.peer_host)
    except ValueError as exc:
        raise ConfigurationError(f"PEER_HOST: {settings.peer_host!r} is not an IP address.") from exc
    external = read_address(settings.peer_address) if settings.peer_address else None
    if settings.peer_address and (external is None or external[1] == 0):
        raise ConfigurationError(f"PEER_ADDRESS: {settings.peer_address!r} is no address: use ip:port or [ip6]:port.")
    return PeerSettings(
        bootnodes=tuple(parse_bootnodes(settings.bootnodes)),
        trusted=frozenset(_node_id(text) for text in listed(settings.trusted_peers)),
        share=read_policy(settings.share),
        external=write_address(*external) if external is not None else None,
    )


def relay_fault(choice: str, settings: Settings) -> str:
    """Why this choice cannot be; "" if it can."""
    if settings.relay_url and choice != settings.relay_url:
        return f"RELAY_URL is set to {settings.relay_url}, and that counts. Change it there, and start the node again."
    if choice not in (PUBLIC_RELAYS, NO_RELAY) and not is_relay_url(choice):
        return f"--relay: {choice!r} is not understood. Use public, none, or https://relay.example.org."
    return ""


def _node_id(text: str) -> NodeId:
    if not is_node_id(text.lower()):
        raise ConfigurationError(
            f"TRUSTED_PEERS: {text!r} is not a node id. `masa-node peers --json` shows them whole."
        )
    return NodeId(text.lower())
