"""Why a peer was not reached, from what iroh says.

Its binding gives one kind for all failures to connect, and a text. The text quotes the alert by which TLS ended the
handshake; those numbers are RFC 8446's (section 6), and are all that is read here. Any other text is "not reached".
"""

import re

import iroh

from masa_node.chat.errors import PeerUnreachable
from masa_node.network.transport.unreached import PeerKeyWrong, PeerSpeaksOtherwise

_ALERT = re.compile(r"cryptographic handshake failed: error (\d{1,3})\b")
_BAD_CERTIFICATE, _UNKNOWN_AUTHORITY, _NO_APPLICATION_PROTOCOL = 42, 48, 120
_OTHER_KEY = frozenset({_BAD_CERTIFICATE, _UNKNOWN_AUTHORITY})


def unreached(error: iroh.IrohError | iroh.InternalError, who: str, locations: str) -> PeerUnreachable:
    """What a failed dial of `who` at `locations` means."""
    found = _ALERT.search(error.message()) if isinstance(error, iroh.IrohError) else None
    alert = int(found[1]) if found else None
    if alert in _OTHER_KEY:
        return PeerKeyWrong(f"another node answers at {locations}: it does not have the key of {who}.")
    if alert == _NO_APPLICATION_PROTOCOL:
        return PeerSpeaksOtherwise(f"what answers at {locations} does not speak this protocol.")
    return PeerUnreachable(f"{who} was not reached at {locations}.")
