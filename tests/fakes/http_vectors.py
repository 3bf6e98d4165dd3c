"""Vectors of raw bytes through a gateway: what a caller and an LLM server send, and what each of them gets.

`tests/vectors/http/README.md` describes the format. Any gateway can be tried, as a process that speaks HTTP on a port:

    python -m tests.fakes.http_vectors --gateway 127.0.0.1:8080 --llm 9000

It plays caller and LLM server itself; the gateway's LLM URL has to be http://127.0.0.1:9000/v1/chat/completions.
"""

import argparse
import asyncio
import contextlib
import math
import re
import socket
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

FOLDER = Path(__file__).resolve().parent.parent / "vectors" / "http"
PATIENCE_S = 5.0
QUIET_S = 0.15  # when recording: all that comes has come
RESET = struct.pack("ii", 1, 0)
_MODELS = b'{"object":"list","data":[{"id":"m","object":"model"},{"id":"n","object":"model"}]}'
LISTING = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(_MODELS), _MODELS)
NOT_THERE = b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n"

_ESCAPE = re.compile(rb"\\(x[0-9a-f]{2}|[rnt\\])")
_SIMPLE = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"\\": b"\\"}
_REPEATED = re.compile(rb"\{([^{}])\*(\d+)\}")
_LENGTH = b"{length}"

# What differs from run to run, and from gateway to gateway; the rest is compared byte for byte.
_VARIABLE = (
    (re.compile(rb"(?m)^date: [^\r]+"), b"date: {date}"),
    (re.compile(rb"(?m)^x-masa-node: [^\r]+"), b"x-masa-node: {version}"),
    (re.compile(rb"masa-node/[0-9][^\r]*"), b"masa-node/{version}"),
    (re.compile(rb"(?m)^x-request-id: [0-9a-f]{16}\r"), b"x-request-id: {id}\r"),
    (re.compile(rb"(?m)^request-id: [0-9a-f]{16}\r"), b"request-id: {id}\r"),
    (re.compile(rb'"request_id":"[0-9a-f]{16}"'), b'"request_id":"{id}"'),
    (re.compile(rb"ms=\d+"), b"ms={ms}"),
    (re.compile(rb'"id":"msg_[0-9a-zA-Z_]+"'), b'"id":"msg_{id}"'),
    (re.compile(rb"(?m)^(via|x-masa-via): [^\r]+"), rb"\1: {via}"),
    (re.compile(rb"127\.0\.0\.1:\d+"), b"127.0.0.1:{port}"),
)
# What a gateway may ask its LLM server before any caller asks: for its kind, and its models.
_PROBE = re.compile(rb"(GET [^\r]*)\r\n(?:[^\r]+\r\n)*\r\n|(POST [^\r]*)\r\n(?:[^\r]+\r\n)*\r\n\{\}")
_CHUNKED_HEAD = re.compile(
    rb"HTTP/1\.1 \d{3}[^\r]*\r\n(?:[^\r]+\r\n)*?transfer-encoding: chunked\r\n(?:[^\r]+\r\n)*\r\n"
)


def read_bytes(lines: Sequence[str]) -> bytes:
    """The bytes that these lines stand for. `chunk|` is framed as a chunk, and so is the end of all chunks, `last|`."""
    out = b""
    for line in lines:
        kind, _, text = line.partition("|")
        data = _unescaped(text.removeprefix(" ").encode())
        if kind == "last":
            out += b"0\r\n\r\n"
        elif kind == "chunk":
            out += b"%x\r\n%b\r\n" % (len(data), data)
        else:
            out += data
    if _LENGTH in out:
        head, end, body = out.partition(b"\r\n\r\n")
        out = head.replace(_LENGTH, b"%d" % len(body)) + end + body
    return out


def _unescaped(text: bytes) -> bytes:
    """A line ends with CRLF unless a backslash ends it."""
    ends = b"" if text.endswith(b"\\") and not text.endswith(b"\\\\") else b"\r\n"
    text = text if ends else text[:-1]
    text = _ESCAPE.sub(lambda m: _SIMPLE.get(m[1]) or bytes([int(m[1][1:], 16)]), text)
    return _REPEATED.sub(lambda m: m[1] * int(m[2]), text) + ends


def written(data: bytes) -> list[str]:
    """These bytes as lines of a vector."""
    lines: list[str] = []
    for part in data.split(b"\r\n"):
        text = part.replace(b"\\", b"\\\\").replace(b"\r", b"\\r").replace(b"\n", b"\\n").replace(b"\t", b"\\t")
        text = re.sub(rb"[\x00-\x1f\x7f-\xff]", lambda m: b"\\x%02x" % m[0][0], text)
        text = re.sub(rb"([^{}\\])\1{99,}", lambda m: b"{%b*%d}" % (m[1], len(m[0])), text)
        # A line for each event of a stream, and where an answer follows another.
        frames = re.split(r"(?<=\\n\\n)|(?<=.)(?=HTTP/1\.1 \d)", text.decode())
        lines += [f"| {frame}\\" for frame in frames[:-1]]
        lines.append(f"| {frames[-1]}".rstrip())
    last = lines.pop()
    return [*lines, last + "\\"] if last != "|" else lines


def normal(data: bytes) -> bytes:
    """The same without what differs from run to run; a body in chunks as its content, and `{end}` for its end."""
    for pattern, instead in _VARIABLE:
        data = pattern.sub(instead, data)
    out = b""
    while (head := _CHUNKED_HEAD.search(data)) is not None:
        content, data = _unchunked(data[head.end() :])
        out += head.string[: head.end()] + content
    return out + data


def _unchunked(data: bytes) -> tuple[bytes, bytes]:
    content = b""
    while (size := re.match(rb"([0-9a-f]+)\r\n", data)) is not None:
        length = int(size[1], 16)
        if not length and data.startswith(b"0\r\n\r\n"):
            return content + b"{end}", data[5:]
        if len(data) < size.end() + length + 2:
            break
        content += data[size.end() : size.end() + length]
        data = data[size.end() + length + 2 :]
    return content + data, b""


@dataclass
class Step:
    """`who` does `what`: `caller sends`, `llm gets`, `caller is closed`, ... with these lines."""

    said: str
    lines: list[str] = field(default_factory=list)


@dataclass
class Vector:
    """One file: a sentence that says what it shows, what happens, and what is said of it in the end."""

    name: str
    about: str
    steps: list[Step]

    @classmethod
    def read(cls, path: Path) -> Self:
        """See the README for the format."""
        about, _, text = path.read_text("utf-8").partition("\n\n")
        steps: list[Step] = []
        for line in text.splitlines():
            if re.match(r"(chunk|last)?\|", line):
                steps[-1].lines.append(line)
            elif line.strip():
                steps.append(Step(line.strip()))
        return cls(path.stem, about, steps)

    def write(self, path: Path) -> None:
        """As it was read, with what was recorded."""
        parts = [self.about, *("\n".join([step.said, *step.lines]) for step in self.steps)]
        path.write_text("\n\n".join(parts) + "\n", "utf-8")


def all_vectors() -> list[Vector]:
    """Every one, by name."""
    return [Vector.read(path) for path in sorted(FOLDER.glob("*.txt"))]


class End:
    """One end of a connection, and all that came there; `seen` is how much of it, made `normal`, was compared."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.came = b""
        self.seen = 0
        self.is_over = False
        self.is_done = asyncio.Event()  # may its next request be read?

    async def more(self, wait_s: float) -> bool:
        """Has anything come within that time?"""
        try:
            async with asyncio.timeout(None if wait_s == math.inf else wait_s):
                data = await self.reader.read(1 << 20)
        except TimeoutError:
            return False
        except ConnectionError:
            data = b""
        self.came += data
        self.is_over = not data
        return bool(data)

    def unseen(self) -> bytes:
        """What came and was not compared yet."""
        return normal(self.came)[self.seen :]

    async def send(self, data: bytes) -> None:
        """Write it. Whether the other side takes it is seen by what it does."""
        self.writer.write(data)
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()

    def end(self, how: str) -> None:
        """`closes`: in good order; `resets`; `stops sending`."""
        if how == "resets":
            self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.writer.transport.abort()
        elif how == "stops sending":
            self.writer.write_eof()
        else:
            self.writer.close()


class Llm:
    """The LLM server of the vectors: lists two models, and leaves each POST to the vector that runs."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[End] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None] | None] = set()

    async def serve(self, port: int = 0) -> asyncio.Server:
        """Listen on the loopback."""
        return await asyncio.start_server(self._take, "127.0.0.1", port, limit=1 << 26)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        end = End(reader, writer)
        with contextlib.closing(writer):
            await self._listen(end)

    async def _listen(self, end: End) -> None:
        self._tasks.add(asyncio.current_task())
        while await end.more(math.inf):
            if (probe := _PROBE.fullmatch(end.came)) is not None:
                end.came = b""
                await end.send(LISTING if b"/models" in (probe[1] or b"") else NOT_THERE)
                continue
            self.asked.put_nowait(end)
            await end.is_done.wait()
            end.is_done.clear()
            end.came, end.seen = b"", 0

    def forget(self) -> None:
        """A vector is over: none of its connections is used again."""
        for task in self._tasks:
            if task is not None:
                task.cancel()
        self._tasks.clear()
        while not self.asked.empty():
            self.asked.get_nowait()


class Mismatch(AssertionError):
    """Other bytes came than the vector says."""


class Run:
    """One vector against one gateway; with `records` what comes is written into the vector instead of compared."""

    def __init__(self, vector: Vector, host: str, port: int, llm: Llm, *, records: bool = False) -> None:
        self._vector = vector
        self._where = (host, port)
        self._llm = llm
        self._records = records
        self._caller: End | None = None
        self._server: End | None = None
        self.outcomes: list[str] = []

    async def run(self) -> None:
        """All of its steps. Raises `Mismatch`."""
        try:
            for step in self._vector.steps:
                await self._step(step)
            if self._caller is not None and not self._caller.is_over and await self._caller.more(0.01):
                raise Mismatch(f"{self._vector.name}: more came to the caller: {self._caller.came!r}")
        finally:
            if self._caller is not None:
                self._caller.writer.close()
            self._llm.forget()

    async def _step(self, step: Step) -> None:
        who, _, what = step.said.partition(" ")
        if who == "outcome":
            self.outcomes.append(what)
            return
        end = await self._end(who, what)
        if what == "sends":
            await end.send(read_bytes(step.lines))
        elif what == "gets":
            await self._compare(step, end)
        elif what == "is closed":
            while not end.is_over and await end.more(PATIENCE_S):
                pass
            if end.unseen() or not end.is_over:
                raise Mismatch(f"{self._vector.name}: {step.said}: {end.unseen()!r}")
        else:
            end.end(what)
            if who == "llm":
                self._server = None

    async def _end(self, who: str, what: str) -> End:
        if who == "caller":
            if self._caller is None:
                self._caller = End(*await asyncio.open_connection(*self._where, limit=1 << 26))
            return self._caller
        if self._server is None or (what == "gets" and not self._server.unseen()):
            if self._server is not None:
                self._server.is_done.set()
            async with asyncio.timeout(PATIENCE_S):
                self._server = await self._llm.asked.get()
        return self._server

    async def _compare(self, step: Step, end: End) -> None:
        expected = read_bytes(step.lines)
        while not end.is_over and (self._records or len(end.unseen()) < len(expected)):
            if not await end.more(QUIET_S if self._records else PATIENCE_S):
                break
        came = end.unseen()
        end.seen += len(came)
        if self._records:
            step.lines = written(came)
        elif came != expected:
            raise Mismatch(f"{self._vector.name}: {step.said}\n  came:     {came!r}\n  expected: {expected!r}")


async def _main() -> int:
    parser = argparse.ArgumentParser(description="Run the vectors against a gateway.")
    parser.add_argument("--gateway", required=True, help="host:port at which it serves HTTP")
    parser.add_argument("--llm", type=int, required=True, help="port at which it looks for its LLM server")
    options = parser.parse_args()
    host, _, port = options.gateway.rpartition(":")
    llm, failed = Llm(), 0
    async with await llm.serve(options.llm):
        for vector in all_vectors():
            try:
                await Run(vector, host or "127.0.0.1", int(port), llm).run()
            except (Mismatch, TimeoutError) as exc:
                failed += 1
                sys.stdout.write(f"{vector.name}: {exc}\n")
        sys.stdout.write(f"{len(all_vectors()) - failed} of {len(all_vectors())} as they should be\n")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
