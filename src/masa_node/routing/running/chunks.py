"""Chunks that come whole in one read: how each begins, and whether what came ends where one does. Pure."""

MAX_SHORT_CHUNK_BYTES = 1024  # with sizes and line ends; a usual piece of a stream takes 200 to 300


def _size_lines(chunk_bytes: int) -> tuple[bytes, ...]:
    """How a whole chunk of so many bytes begins: its size is the rest. As most servers write it, and as hyper does."""
    sizes = [chunk_bytes - 4 - digits for digits in range(1, 4)]
    return tuple(
        line % size
        for digits, size in enumerate(sizes, 1)
        for line in (b"%x\r\n", b"%X\r\n")
        if 16 ** (digits - 1) <= size < 16**digits
    )


SIZE_LINES = [_size_lines(chunk_bytes) for chunk_bytes in range(MAX_SHORT_CHUNK_BYTES)]  # all of one are as long


def ends_with_a_chunk(data: bytes, part: bytes) -> bool:
    """Does what came end just where a chunk does? `part` is the last of the body in it. False where that is not clear.

    A part that ends before the data does has ended its chunk. If a line with the next size followed, which is never
    empty, there would be something between the last two line ends.
    """
    return data.endswith(b"\n\r\n") and not data.endswith(part)
