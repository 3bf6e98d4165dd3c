"""Chunks that come whole in one read: how each begins, and whether what came ends where one does. Pure."""

from masa_node.routing.provider import Take

MAX_SHORT_CHUNK_BYTES = 1024  # with sizes and line ends; a usual piece of a stream takes 200 to 300
MAX_OFFERED_BYTES = 4096  # in one read: of more pieces each costs less where all are parsed and looked at together


def _size_lines(chunk_bytes: int) -> tuple[bytes, ...]:
    """How a whole chunk of so many bytes begins: its size is the rest. As most servers write it, and as hyper does."""
    sizes = [chunk_bytes - 4 - digits for digits in range(1, 4)]
    return tuple(
        line % size
        for digits, size in enumerate(sizes, 1)
        for line in (b"%x\r\n", b"%X\r\n")
        if 16 ** (digits - 1) <= size < 16**digits
    )


_SIZE_LINES = [_size_lines(chunk_bytes) for chunk_bytes in range(MAX_SHORT_CHUNK_BYTES)]


def offered(data: bytes, take: Take) -> bytes:
    """What is left of this where `take` was offered what is in the short chunks at its beginning, if it took that.

    A chunk is known by where it ends: its length says how it has to begin.
    """
    lines = _SIZE_LINES[len(data) if len(data) < MAX_SHORT_CHUNK_BYTES else 0]
    if data.startswith(lines) and data.endswith(b"\r\n"):
        return b"" if take([data[len(lines[0]) : -2]]) else data
    pieces: list[bytes] = []
    at = 0
    while at < (end := data.find(b"\n\r\n", at) + 3) < at + MAX_SHORT_CHUNK_BYTES:
        lines = _SIZE_LINES[end - at]
        if not data.startswith(lines, at):
            break
        pieces.append(data[at + len(lines[0]) : end - 2])
        at = end
    return data[at:] if pieces and take(pieces) else data


def ends_with_a_chunk(data: bytes, part: bytes) -> bool:
    """Does what came end just where a chunk does? `part` is the last of the body in it. False where that is not clear.

    A part that ends before the data does has ended its chunk. If a line with the next size followed, which is never
    empty, there would be something between the last two line ends.
    """
    return data.endswith(b"\n\r\n") and not data.endswith(part)
