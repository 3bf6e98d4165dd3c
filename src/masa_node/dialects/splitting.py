"""The parts of a large JSON list or object as they were written, in steps: so nobody's megabytes hold the event loop.

msgspec makes an object of each part, however many there are, in one go: of 16 MB it made a gigabyte. Here the first
parts are cut out, and the rest is not looked at. Nothing is validated; whoever reads a part does that.
"""

import re

from masa_node.dialects.condensing import STEP_BYTES, Steps, end_of_container, end_of_text

_SIGN = re.compile(rb'[,"\[\]{}]')
_SIGN_COSTS_BYTES = 512  # to find one, and the end of what it opens, takes as long as to look at so many bytes


def parts_of(data: bytes, most: int) -> Steps[list[bytes] | None]:
    """The first parts of the list or object that these bytes are; of an object each is `"name": value`.

    None where the bytes are neither, or end before it does.
    """
    at = begin = len(data) - len(data.lstrip()) + 1
    if data[begin - 1 : begin] not in (b"[", b"{"):
        return None
    parts: list[bytes] = []
    looked_at = yielded_at = 0
    while at < len(data):
        looked_at += _SIGN_COSTS_BYTES
        if at + looked_at >= yielded_at + STEP_BYTES:
            yielded_at = at + looked_at
            yield
        found = _SIGN.search(data, at, at + STEP_BYTES)
        at = found.end() if found is not None else at + STEP_BYTES
        sign = found[0] if found is not None else b""
        if sign == b'"':
            at = yield from end_of_text(data, at - 1)
        elif sign in (b"[", b"{"):
            at = yield from end_of_container(data, at - 1)
        elif sign:
            parts.append(data[begin : at - 1].strip())
            if sign != b"," or len(parts) >= most:
                return parts if parts != [b""] else []
            begin = at
    return None


def fields_of(data: bytes, most: int) -> Steps[dict[bytes, bytes] | None]:
    """The first fields of the object that these bytes are; names as written between their quotes."""
    if not data.lstrip().startswith(b"{"):
        return None
    parts = yield from parts_of(data, most)
    fields: dict[bytes, bytes] = {}
    for part in parts or ():
        end = yield from end_of_text(part, 0)
        fields[part[1 : end - 1]] = part[end:].lstrip().removeprefix(b":").lstrip()
    return fields if parts is not None else None
