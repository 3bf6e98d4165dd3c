"""Which version of the protocol two nodes speak: the highest that both know. Pure.

The frames' head, HELLO, WELCOME and REFUSED stay as they are in every version, so that nodes of any two versions can
tell each other what they speak.
"""

from masa_node.chat.errors import VersionRefused
from masa_node.network.links.control import RefusalCode, Versions

OWN_VERSIONS = Versions()


def common_version(theirs: Versions, own: Versions = OWN_VERSIONS) -> int:
    """The one to speak. Raises `VersionRefused` when there is none; it says which side to update."""
    highest = min(theirs.max_protocol, own.max_protocol)
    if highest < max(theirs.min_protocol, own.min_protocol):
        raise version_refused(theirs, own)
    return highest


def version_refused(theirs: Versions, own: Versions = OWN_VERSIONS) -> VersionRefused:
    """Why there is no link with a node that speaks these."""
    which = "this node" if theirs.max_protocol > own.max_protocol else "it"
    return VersionRefused(
        f"it speaks {_in_words(theirs)} of the protocol, this node {_in_words(own)}: update {which}.",
        RefusalCode.VERSION,
    )


def _in_words(versions: Versions) -> str:
    first, last = versions.min_protocol, versions.max_protocol
    return f"version {first}" if first == last else f"versions {first}-{last}"
