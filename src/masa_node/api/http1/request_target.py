"""The target of a request: what stands between method and version. Pure."""

import re
from collections.abc import Sequence

_ABSOLUTE = re.compile(rb"(?i:https?)://(?P<authority>[^/?]*)(?P<rest>[/?].*)?")


def path_and_query(target: bytes, method: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Path and query, as they came. An absolute URL is taken only if its host is the one of the Host header.

    Raises ValueError for anything else.
    """
    if b"#" in target:
        raise ValueError("a fragment in the target")
    if target[:1] == b"/" or (target == b"*" and method == b"OPTIONS"):
        return target
    match = _ABSOLUTE.fullmatch(target)
    hosts = [value.lower() for name, value in headers if name == b"host"]
    if match is None or hosts != [match["authority"].lower()]:
        raise ValueError("neither a path nor a URL of this host")
    rest: bytes = match["rest"] or b"/"
    return rest if rest.startswith(b"/") else b"/" + rest
