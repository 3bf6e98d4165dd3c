"""Signs of life in a stream that are no part of an answer: servers send them while the model is loaded or thinks."""

import msgspec

from masa_node.dialects.fields import FIELDS, TEXT, read

NOTHING = frozenset({b"", b"{}", b"[]", b"null", b'""'})
_NAMES = frozenset({"ping", "pong", "keepalive", "heartbeat", "alive"})
# Where a heartbeat says that it is one, and what it may tell beside that.
_NAMED_BY = ("type", "event", "object", "status", "kind")
_BESIDE = frozenset({"time", "timestamp", "ts", "created", "created_at", "id", "message"})
_MAX_BYTES = 512  # of one heartbeat: a name, a time and an id


def is_heartbeat_name(name: bytes | str) -> bool:
    """Is an event or a type of this name one: `ping`, `keep-alive`, `response.heartbeat`?"""
    text = name.decode("utf-8", "replace") if isinstance(name, bytes) else name
    if len(text) > _MAX_BYTES:
        return False
    last = text.strip().lower().rpartition(".")[2]
    return "".join(char for char in last if char.isalnum()) in _NAMES


def is_heartbeat(data: bytes) -> bool:
    """Does this payload of a frame say nothing but that the server lives? It is no part of an answer already."""
    if len(data) > _MAX_BYTES:
        return False
    if b"".join(data.split()) in NOTHING:
        return True
    fields = read(data, FIELDS)
    if fields is None:
        words = read(data, TEXT)
        return is_heartbeat_name(data if words is None else words)
    if any(_is_name(fields[key]) for key in _NAMED_BY if key in fields):
        return True
    names = [name for name in fields if name not in _BESIDE]
    return bool(names) and all(is_heartbeat_name(name) for name in names)


def _is_name(raw: msgspec.Raw) -> bool:
    name = read(raw, TEXT)
    return name is not None and is_heartbeat_name(name)
