"""Passes pieces of a stream on at a glance, as long as each frame differs from one before in its words alone.

Those in a chunk each go to a caller that takes chunks as they came. Of many streams hardly any is in the processor's
cache: so one object knows all that is needed for each piece, and little of what it refers to is touched.

See docs/decisions/0026-the-plain-way.md.
"""

from typing import Self

from masa_node.chat.answer import ChunkWriter, Give
from masa_node.dialects.choices import AnyEndings
from masa_node.dialects.dialect import Dialect
from masa_node.dialects.tracking import LINE_FEED, QUOTE, RETURN, USUAL, StreamTracker
from masa_node.routing.running.chunks import MAX_SHORT_CHUNK_BYTES, SIZE_LINES

_LINE_END = b"\r\n"


def _to_nobody(data: bytes) -> None:
    del data


class Relay(StreamTracker):
    """A tracker that is offered whole chunks, once it knows whom it passes them `to`."""

    __slots__ = ("_chunks", "_give")

    def __init__(self, dialect: Dialect, endings: AnyEndings | None = None) -> None:
        super().__init__(dialect, endings)
        self._give: Give = _to_nobody
        self._chunks: ChunkWriter | None = None

    @property
    def in_chunks(self) -> int:
        """How many bytes of frames were given to nobody, as they went on in their chunks."""
        return self.usual_bytes if self._chunks is not None else 0

    def to(self, give: Give, chunks: ChunkWriter | None) -> Self:
        """See `Response.listen`: from now on to `chunks`, if that is there, or else the frames to `give`, which sees to
        what has to be waited for.
        """
        self._give, self._chunks = give, chunks
        return self

    def part(self) -> None:
        """Nobody listens any more. What it gives to leads back to it: a circle, which this opens."""
        self._give = _to_nobody

    def take(self, data: bytes) -> bytes:
        """Pass on as much of this as can be, which begins where a chunk does; what is left, from such a place on."""
        chunks, before = self._chunks, self.usual_before
        if before is None or (chunks is not None and chunks.is_paused):
            return data
        end = self.usual_after + _LINE_END
        parts = data.split(end)
        parts.pop()
        at = counted = 0
        frames: list[bytes] = []
        for part in parts:
            size = len(part) + len(end)
            if size >= MAX_SHORT_CHUNK_BYTES or not part.startswith(lines := SIZE_LINES[size]):
                break
            start = len(lines[0])
            words = part[start + len(before) :]
            if QUOTE in words or LINE_FEED in words or RETURN in words or not part.startswith(before, start):
                break
            if chunks is None:
                frames.append(data[at + start : at + size - 2])
            counted += USUAL + size - 2 - start
            at += size
        self.usual_counted += counted
        if chunks is not None and at:
            chunks.write_now(data[:at])
        elif frames:
            self._give(b"".join(frames))
        return data[at:]

    def take_frames(self, data: bytes) -> bool:
        """See `Taker`."""
        is_more = self.is_all_more(data)
        if is_more:
            self._give(data)
        return is_more
