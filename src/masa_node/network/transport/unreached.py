"""Why a peer was not reached, where that is known: each kind has another remedy."""

from masa_node.chat.errors import PeerUnreachable


class PeerHostUnknown(PeerUnreachable):
    """The host name written for the peer does not resolve. Correct it in BOOTNODES, or the name service."""

    code = "peer_host_unknown"


class PeerKeyWrong(PeerUnreachable):
    """Another node answers at the peer's address: its key is not the one expected. Ask its owner for a new invite."""

    code = "peer_key_wrong"


class PeerSpeaksOtherwise(PeerUnreachable):
    """What answers at the peer's address is another program, or a release too far from this one. Update both nodes."""

    code = "peer_speaks_otherwise"
