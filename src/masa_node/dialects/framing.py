"""Where one frame ends and the next begins, and which frames are only signs of life. Pure."""

import re
from collections.abc import Iterable, Iterator
from typing import Protocol

import msgspec

from masa_node.chat.errors import NotAnAnswer
from masa_node.dialects.fields import BOM, FIELDS, TEXT, is_empty, read

# ---- framing ----

# Chunks and frames are unrelated: one chunk may hold several frames, a frame may span chunks and be cut anywhere,
# also inside a UTF-8 character.

# One frame may carry a base64 image or Ollama's whole `context`; more than this is an attack or a fault.
MAX_FRAME_BYTES = 16 * 1024 * 1024


# A line ends with LF, CRLF or CR alone. All blank lines that follow an event are its end.
_BLANK_LINES = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2,}")
_LF_BLANK_LINES = re.compile(rb"\n\n+")
_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+")
LF, _RETURN = b"\n\r"
_MANY_LINES = 64  # of one event; most have one or two
_FIELD = re.compile(rb"(?:\A|[\r\n])(data|event|error):[ ]?([^\r\n]*)")


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
    """Server-sent events: a blank line ends a frame (WHATWG HTML 9.2), with LF, CRLF or CR line ends."""

    def end_of_last_frame(self, buffer: bytes | bytearray, start: int) -> int:
        """See `Framing`."""
        if buffer.endswith((b"\n\n", b"\r\n\r\n", b"\r\r")):
            return len(buffer)
        start = max(0, start - 3)  # a delimiter may have begun before
        end = _end_of_last(b"\n\n", buffer, start)
        if buffer.find(b"\r", start) < 0:
            return end
        ends = (_end_of_last(delimiter, buffer, start) for delimiter in (b"\n\r\n", b"\r\r"))
        return max(end, *ends, _end_of_mixed(buffer, start))

    def frames(self, chunk: bytes) -> list[bytes]:
        """See `Framing`."""
        has_cr = _RETURN in chunk
        if not has_cr and chunk.find(b"\n\n") == len(chunk) - 2:
            return [chunk]
        if not has_cr and chunk.find(b"\n\n\n") < 0:
            *whole, rest = chunk.split(b"\n\n")
            return [frame + b"\n\n" for frame in whole] + ([rest] if rest else [])
        ends = [match.end() for match in (_BLANK_LINES if has_cr else _LF_BLANK_LINES).finditer(chunk)]
        if not ends or ends[-1] < len(chunk):
            ends.append(len(chunk))
        return [chunk[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def count(self, chunk: bytes) -> int:
        """See `Framing`."""
        ends = chunk.count(b"\n\n")
        # Not by `in`, which takes b"\r" for a number first, and then formats an error that nobody sees: twice the time.
        return ends if chunk.find(b"\r") < 0 else ends + chunk.count(b"\n\r\n") + chunk.count(b"\r\r")


class NdjsonFraming:
    """One JSON value a line, with LF, CRLF or CR line ends."""

    def end_of_last_frame(self, buffer: bytes | bytearray, start: int) -> int:
        """See `Framing`."""
        if buffer.endswith(b"\n"):
            return len(buffer)
        return max(buffer.rfind(b"\n", start), buffer.rfind(b"\r", start)) + 1

    def frames(self, chunk: bytes) -> list[bytes]:
        """See `Framing`."""
        return _LINE.findall(chunk)

    def count(self, chunk: bytes) -> int:
        """See `Framing`."""
        return chunk.count(b"\n") or chunk.count(b"\r")


def parts_of(framing: Framing, whole: bytes, most_bytes: int) -> Iterator[bytes]:
    """These frames in parts of about so many bytes, found one by one; a larger frame is a part by itself."""
    start = 0
    while start < len(whole):
        size, end = most_bytes, 0
        while not end and start + size < len(whole):
            end = framing.end_of_last_frame(whole[start : start + size], 0)
            size *= 4
        end = start + end if end else len(whole)
        yield whole[start:end]
        start = end


SSE = SseFraming()
NDJSON = NdjsonFraming()


SILENT_STARTS = (b":", b"\n", b"\r")
_MAX_SILENT_BYTES = 8 * 1024  # looked at in one go
_COMMENTS = re.compile(rb"(?:[\r\n]++|:[^\r\n]*+)*+")


def is_silent(framing: Framing, frames: bytes) -> bool:
    """Quickly: are these frames nothing but comments and blank lines? Millions of them come as fast as they can."""
    if len(frames) > _MAX_SILENT_BYTES or not frames.startswith(SILENT_STARTS):
        return False
    return _COMMENTS.fullmatch(frames) is not None if framing is SSE else frames.isspace()


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
            with memoryview(begun) as view:
                whole = bytes(view[:end])
            del begun[:end]
        if len(begun) > MAX_FRAME_BYTES:
            raise NotAnAnswer(f"one frame of the answer is larger than {MAX_FRAME_BYTES} bytes")
        return whole

    @property
    def held_bytes(self) -> int:
        """The size of what was begun."""
        return len(self._begun)

    def buffered(self) -> bytes:
        """What was begun; it stays."""
        return bytes(self._begun)

    def rest(self) -> bytes:
        """What was begun and not completed; the cutter is empty afterwards."""
        rest = bytes(self._begun)
        self._begun.clear()
        return rest


def event_of(frame: bytes) -> tuple[bytes, bytes]:
    """The event name and the data of one server-sent event (both b"" if absent).

    llama.cpp's older `error: {...}` lines count as an event named `error`.
    """
    if frame.startswith(b"data: ") and frame.find(b"\n") == len(frame) - 2 and _RETURN not in frame:
        return b"", frame[6:-2]  # most frames of most streams
    if frame.startswith(b"event: ") and frame.find(b"\r") < 0:
        end = frame.find(b"\n")
        if frame.startswith(b"data: ", end + 1) and frame.find(b"\n", end + 1) == len(frame) - 2:
            return frame[7:end], frame[end + 7 : -2]  # and of those that name them
    event = b""
    data: list[bytes] = []
    for field, value in _fields(frame.removeprefix(BOM)):
        if field == b"data":
            data.append(value)
        elif field == b"event":
            event = value
        elif field == b"error":
            event = b"error"
            data.append(value)
    return event, data[0] if len(data) == 1 else b"\n".join(data)


def _fields(frame: bytes) -> Iterable[tuple[bytes, bytes]]:
    if b"\r" in frame:
        frame = frame.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if frame.count(b"\n") > _MANY_LINES:  # a loop over lines without end would take long
        return _FIELD.findall(frame)
    return [
        (field, value.removeprefix(b" "))
        for field, colon, value in [line.partition(b":") for line in frame.split(b"\n")]
        if colon
    ]


def _end_of_last(delimiter: bytes, buffer: bytes | bytearray, start: int) -> int:
    """Behind the last of these; 0 if there is none."""
    at = buffer.rfind(delimiter, start)
    return at + len(delimiter) if at >= 0 else 0


def _end_of_mixed(buffer: bytes | bytearray, start: int) -> int:
    """Behind the last blank line that ends with CR alone and follows a line that ends with LF; 0 if there is none.

    A CR at the very end may be half of a CRLF: it is waited for what follows.
    """
    at = buffer.rfind(b"\n\r", start, len(buffer) - 1)
    return at + 2 if at >= 0 and buffer[at + 2] != LF else 0


# ---- heartbeats ----

# Signs of life in a stream that are no part of an answer: servers send them while the model is loaded or thinks.

NOTHING = frozenset({b"", b"{}", b"[]", b"null", b'""'})
_NAMES = frozenset({"ping", "pong", "keepalive", "heartbeat", "alive"})
# Where a heartbeat says that it is one, and what it may tell beside that.
_NAMED_BY = ("type", "event", "object", "status", "kind")
_BESIDE = frozenset({"time", "timestamp", "ts", "created", "created_at", "id", "message"})
_MAX_BYTES = 512  # of one heartbeat: a name, a time and an id
_MAX_ASIDE_BYTES = 16 * 1024
# Fields in which some format has an answer or an error, and the types of events that hold one.
_ANSWERED_IN = frozenset(
    {
        *("choices", "response", "delta", "content", "content_block", "text", "output", "output_text", "result"),
        *("results", "candidates", "completion", "generated_text", "generations", "token", "outputs", "data"),
        *("embedding", "embeddings", "model_info", "modelfile", "details", "done", "error", "errors", "detail"),
    }
)
_ANSWERED_BY = ("message", "content_block", "response.")


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


def is_aside(data: bytes) -> bool:
    """Is this an object that tells about a request (a place in a queue, progress), in nobody's words for an answer?

    SDKs read over it. One that holds but a message, or what any format has answers or errors in, is none.
    """
    fields = read(data, FIELDS) if len(data) <= _MAX_ASIDE_BYTES else None
    if fields is None:
        return False
    said = {name for name, value in fields.items() if not is_empty(value)}
    kind = read(fields["type"], TEXT) if "type" in said else None
    if said & _ANSWERED_IN or (kind or "").startswith(_ANSWERED_BY):
        return False
    return "message" not in said or (bool(said - _BESIDE) and bytes(fields["message"]).startswith(b'"'))


def _is_name(raw: msgspec.Raw) -> bool:
    name = read(raw, TEXT)
    return name is not None and is_heartbeat_name(name)
