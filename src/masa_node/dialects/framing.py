"""Where one frame ends and the next begins: server-sent events and newline-delimited JSON.

Chunks and frames are unrelated: one chunk may hold several frames, a frame may span chunks and be cut anywhere,
also inside a UTF-8 character.
"""

import re
from typing import Protocol

from masa_node.chat.errors import NotAnAnswer

# One frame may carry a base64 image or Ollama's whole `context`; more than this is an attack or a fault.
MAX_FRAME_BYTES = 16 * 1024 * 1024


_BLANK_LINE = re.compile(rb"\n\r?\n")
_LINE = re.compile(rb"[^\n]*\n|[^\n]+")


class Framing(Protocol):
    """How frames are delimited."""

    def end_of_last_frame(self, buffer: bytes | bytearray, start: int) -> int:
        """The index behind the last complete frame that ends after `start`; 0 if there is none."""
        ...

    def frames(self, chunk: bytes) -> list[bytes]:
        """The frames of a chunk that holds only complete ones (a last one may lack its delimiter).

        Each with its delimiter: together they are the chunk.
        """
        ...

    def count(self, chunk: bytes) -> int:
        """How many delimiters the chunk holds: the number of frames of a chunk of complete ones."""
        ...


class SseFraming:
    """Server-sent events: a blank line ends a frame (WHATWG HTML 9.2), with LF or CRLF line ends."""

    def end_of_last_frame(self, buffer: bytes | bytearray, start: int) -> int:
        """See `Framing`."""
        if buffer.endswith((b"\n\n", b"\r\n\r\n")):
            return len(buffer)
        start = max(0, start - 3)  # a delimiter may have begun before
        lf = buffer.rfind(b"\n\n", start)
        crlf = buffer.rfind(b"\n\r\n", start)
        return max(lf + 2 if lf >= 0 else 0, crlf + 3 if crlf >= 0 else 0)

    def frames(self, chunk: bytes) -> list[bytes]:
        """See `Framing`."""
        ends = [match.end() for match in _BLANK_LINE.finditer(chunk)]
        if not ends or ends[-1] < len(chunk):
            ends.append(len(chunk))
        return [chunk[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def count(self, chunk: bytes) -> int:
        """See `Framing`."""
        ends = chunk.count(b"\n\n")
        return ends + chunk.count(b"\n\r\n") if b"\r" in chunk else ends


class NdjsonFraming:
    """One JSON value a line."""

    def end_of_last_frame(self, buffer: bytes | bytearray, start: int) -> int:
        """See `Framing`."""
        return buffer.rfind(b"\n", start) + 1

    def frames(self, chunk: bytes) -> list[bytes]:
        """See `Framing`."""
        return _LINE.findall(chunk)

    def count(self, chunk: bytes) -> int:
        """See `Framing`."""
        return chunk.count(b"\n")


SSE = SseFraming()
NDJSON = NdjsonFraming()


class FrameCutter:
    """Gives complete frames as soon as they are complete, byte for byte; keeps the begun one.

    Holds at most MAX_FRAME_BYTES; raises `NotAnAnswer` beyond. Each byte is scanned once.
    """

    __slots__ = ("_begun", "_framing")

    def __init__(self, framing: Framing) -> None:
        self._framing = framing
        self._begun = bytearray()

    def feed(self, piece: bytes) -> bytes:
        """The frames that this piece completes (b"" if none)."""
        begun = self._begun
        if not begun:
            end = self._framing.end_of_last_frame(piece, 0)
            if end == len(piece):
                return piece
            whole, rest = piece[:end], piece[end:]
            begun += rest
        else:
            scanned = len(begun)
            begun += piece
            end = self._framing.end_of_last_frame(begun, scanned)
            whole = bytes(begun[:end])
            del begun[:end]
        if len(begun) > MAX_FRAME_BYTES:
            raise NotAnAnswer(f"one frame of the answer is larger than {MAX_FRAME_BYTES} bytes")
        return whole

    def rest(self) -> bytes:
        """What was begun and not completed; the cutter is empty afterwards."""
        rest = bytes(self._begun)
        self._begun.clear()
        return rest


def has_comment(frames: bytes) -> bool:
    """May there be a comment line among these server-sent events?"""
    return frames.startswith(b":") or b"\n:" in frames


def event_of(frame: bytes) -> tuple[bytes, bytes]:
    """The event name and the data of one server-sent event (both b"" if absent).

    llama.cpp's older `error: {...}` lines count as an event named `error`.
    """
    event = b""
    data: list[bytes] = []
    for line in frame.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").split(b"\n"):
        field, colon, value = line.partition(b":")
        if not colon:
            continue
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            event = value
        elif field == b"error":
            event = b"error"
            data.append(value)
    return event, b"\n".join(data)
