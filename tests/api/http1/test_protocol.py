"""One connection in every state that it can be in, without a socket and on a clock of its own."""

import asyncio
import gc
import weakref

import pytest
import uvloop

from masa_node.api.http1 import protocol as module
from masa_node.api.http1.crowd import ConnectionState, Crowd
from masa_node.api.http1.raw_responses import MAX_PIPELINED
from masa_node.api.http1.reply import PART_BYTES, Reply
from masa_node.api.http1.request import ClientDisconnected, HttpRequest
from tests.api.http1.fake_line import FakeLine
from tests.api.raw_http import LAST_CHUNK, chunk, get, head, post, post_chunked
from tests.virtual_time import now_s, settle, until, virtual_time

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
FOREVER_S = 10_000.0


class Script:
    """An application: `/echo` gives the body back, `/stream` pieces as they are put, `/early` a 401 at once, `/hang`
    nothing.
    """

    def __init__(self) -> None:
        self.pieces: asyncio.Queue[bytes] = asyncio.Queue()
        self.ended: list[str] = []
        self.given = 0

    async def __call__(self, request: HttpRequest, reply: Reply) -> None:
        request.is_admitted = True
        try:
            await self._answer(request, reply)
        except (ClientDisconnected, asyncio.CancelledError) as exc:
            self.ended.append(type(exc).__name__)
            if isinstance(exc, asyncio.CancelledError):
                raise
        else:
            self.ended.append("answered")

    async def _answer(self, request: HttpRequest, reply: Reply) -> None:
        match request.head.path:
            case "/early":
                await reply.whole(401, [], b"")
            case "/echo":
                pieces: list[bytes] = []
                await request.read_into(pieces.append)
                await reply.whole(200, [], b"".join(pieces))
            case "/stream":
                request.cancel_when_gone()
                await reply.begin(200, [])
                while piece := await self.pieces.get():
                    await reply.piece(piece)
                    self.given += 1
                await reply.end()
            case _:
                request.cancel_when_gone()
                await asyncio.Event().wait()


def echo(body: bytes = b"hello", headers: bytes = b"") -> bytes:
    return post(body, headers, target=b"/echo")


def answer(body: bytes = b"hello", more: bytes = b"") -> bytes:
    """As it is written, but for the headers that every answer has."""
    return b"%bcontent-length: %d\r\n%b\r\n%b" % (b"HTTP/1.1 200 OK\r\n", len(body), more, body)


def plain(line: FakeLine) -> bytes:
    return line.answered.replace(line.connections.standard_lines(), b"")


class AlwaysBusy:
    """A connection that is never disconnected."""

    state = ConnectionState.WORKED_ON
    since_s = 0.0

    def close_if_idle(self) -> None: ...

    def close(self) -> None: ...

    def abort(self) -> None: ...


@virtual_time
async def test_a_request_byte_by_byte_is_answered() -> None:
    line = FakeLine(Script())
    line.send(*(bytes([byte]) for byte in echo()))
    await line.settled()
    assert plain(line) == answer()


@virtual_time
async def test_one_answer_after_the_other_on_one_connection() -> None:
    line = FakeLine(Script())
    for n in range(3):
        line.send(echo(b"%d" % n))
        await line.settled()
    assert plain(line) == b"".join(answer(b"%d" % n) for n in range(3))


@virtual_time
async def test_what_is_asked_while_a_stream_runs_is_answered_after_it_in_order() -> None:
    script = Script()
    line = FakeLine(script)
    line.send(get(b"/stream"), echo(b"one") + echo(b"two")[:-1])
    script.pieces.put_nowait(b"a")
    await settle()
    assert line.answered.endswith(b"1\r\na\r\n")
    line.send(b"o", echo(b"three"))
    script.pieces.put_nowait(b"")
    await line.settled()
    stream = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
    assert plain(line) == stream + answer(b"one") + answer(b"two") + answer(b"three")


@virtual_time
async def test_a_caller_that_closes_its_end_gets_what_is_put_off_to_the_end_of_the_turn() -> None:
    first = FakeLine(Script())
    line = FakeLine(Script(), connections=first.connections)
    first.send(echo())
    line.send(echo())
    await asyncio.sleep(0)  # both have answered, in one turn
    assert line.answered == b""
    line.protocol.eof_received()
    line.transport.close()  # as the loop does then
    assert plain(line) == answer()


@virtual_time
async def test_more_in_advance_than_the_bound_end_the_connection() -> None:
    line = FakeLine(Script())
    line.send(get(b"/hang"), get(b"/hang") * MAX_PIPELINED)
    await settle()
    assert line.answered == b""
    line.send(get(b"/hang"))
    await line.settled()
    assert line.answered.startswith(b"HTTP/1.1 400 ")
    assert b"too_many_ahead" in line.answered  # it was called no HTTP
    assert line.transport.has_ended


# ---- too many connections ----


@virtual_time
async def test_who_finds_all_places_taken_is_told_so_and_let_go() -> None:
    """It was reset without a word. What it has asked already is in the system's buffers, and is not read."""
    first = FakeLine(Script())
    first.connections.crowd = Crowd(lambda: 1)
    first.connections.crowd.add(AlwaysBusy(), "127.0.0.1")
    line = FakeLine(Script(), connections=first.connections)
    assert line.answered.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1\r\n" in line.answered
    assert b"too_many_connections" in line.answered
    assert line.transport.is_closing()
    assert not line.transport.is_reset
    line.protocol.connection_lost(None)
    assert len(first.connections.crowd) == 1


# ---- the caller goes ----

POINTS = {
    "before a byte": ((), []),
    "in the head": ((echo()[:20],), []),
    "in the body": ((echo()[:-1],), ["ClientDisconnected"]),
    "before the answer": ((get(b"/hang"),), ["CancelledError"]),
    "within a stream": ((get(b"/stream"),), ["CancelledError"]),
    "with more asked in advance": ((get(b"/stream"), echo() * 3), ["CancelledError"]),
    "after the answer": ((echo(),), ["answered"]),
    "within the next head": ((echo(), echo()[:9]), ["answered"]),
    "while it is refused": ((b"\x00",), []),
    "while the rest of its body is dropped": ((post(b"xy", target=b"/early")[:-1],), ["answered"]),
}


@pytest.mark.parametrize("point", POINTS)
@virtual_time
async def test_a_caller_may_go_at_any_point(point: str) -> None:
    sent, ended = POINTS[point]
    script = Script()
    line = FakeLine(script)
    script.pieces.put_nowait(b"a")
    line.send(*sent)
    await settle()
    written = line.answered
    line.leave()
    await line.settled()
    assert script.ended == ended
    assert line.answered == written
    assert len(line.connections.crowd) == 0
    await line.connections.all_gone()


@virtual_time
async def test_whoever_writes_chunks_to_a_caller_is_told_at_once_that_there_is_an_end() -> None:
    """What answers is cancelled a turn later than its caller is refused, and what is written to is at its end."""
    script = Script()
    line = FakeLine(script)
    line.send(get(b"/stream"))
    script.pieces.put_nowait(b"a")
    await settle()
    writer = line.protocol.writer
    assert not writer.is_paused
    line.send(b"\x00")
    assert line.transport.has_ended
    assert writer.is_paused
    line.stop_reading()
    line.read_on()
    assert writer.is_paused, "to read on is not to begin again"
    await settle()
    assert script.ended == ["CancelledError"]


@virtual_time
async def test_a_caller_that_goes_while_it_does_not_read_ends_its_stream() -> None:
    script = Script()
    line = FakeLine(script)
    line.send(get(b"/stream"))
    script.pieces.put_nowait(b"a")
    await settle()
    line.stop_reading()
    script.pieces.put_nowait(b"b")
    await settle()
    line.leave()
    await line.settled()
    assert script.ended == ["CancelledError"]


@pytest.mark.parametrize("point", POINTS)
def test_nothing_of_a_connection_waits_for_a_collector(point: str) -> None:
    async def run() -> list[weakref.ref[object]]:
        script = Script()
        line = FakeLine(script)
        kept: list[weakref.ref[object]] = [weakref.ref(line.transport), weakref.ref(script)]
        script.pieces.put_nowait(b"a")
        line.send(*POINTS[point][0])
        await settle()
        line.leave()
        await line.settled()
        return kept

    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        with asyncio.Runner() as runner:
            kept = runner.run(run())
        assert before > 0
        assert [ref() for ref in kept] == [None, None]
    finally:
        gc.enable()


# ---- slowly ----


@pytest.mark.parametrize(
    ("sent", "status"),
    [((), b""), ((b"\r\n", b"\r\n"), b""), ((b"G",), b"408"), ((echo()[:40],), b"408")],
    ids=["silence", "blank lines", "a byte", "half a head"],
)
@virtual_time
async def test_a_head_that_does_not_come_is_waited_for_so_long(sent: tuple[bytes, ...], status: bytes) -> None:
    line = FakeLine(Script())
    line.send(*sent)
    await until(lambda: line.transport.is_closing() or line.transport.has_ended)
    assert now_s() == pytest.approx(module.HEAD_TIMEOUT_S, abs=0.1)
    assert line.answered[9:12] == status


@virtual_time
async def test_a_dripped_head_gets_no_more_time() -> None:
    line = FakeLine(Script())
    for byte in get(b"/echo", b"X: %b\r\n" % (b"y" * 100)):
        line.send(bytes([byte]))
        await asyncio.sleep(1)
        if line.answered:
            break
    assert now_s() == pytest.approx(module.HEAD_TIMEOUT_S, abs=1.1)


@virtual_time
async def test_the_next_head_has_as_long_from_its_first_byte() -> None:
    line = FakeLine(Script(), keep_alive_s=75)
    line.send(echo())
    await asyncio.sleep(60)
    line.send(b"P")
    began_s = now_s()
    await until(lambda: line.transport.has_ended)
    assert now_s() - began_s == pytest.approx(module.HEAD_TIMEOUT_S, abs=0.1)


@virtual_time
async def test_an_idle_connection_is_kept_so_long_and_blank_lines_do_not_lengthen_it() -> None:
    line = FakeLine(Script(), keep_alive_s=75)
    line.send(echo())
    await asyncio.sleep(50)
    line.send(b"\r\n")
    await until(line.transport.is_closing)
    assert now_s() == pytest.approx(75, abs=0.1)


@virtual_time
async def test_each_answer_lengthens_it_and_one_timer_does() -> None:
    line = FakeLine(Script(), keep_alive_s=75)
    loop = asyncio.get_running_loop()
    for _ in range(100):
        line.send(echo())
        await line.settled()
    assert len(loop._scheduled) <= 2  # type: ignore[attr-defined]
    await asyncio.sleep(74)
    assert not line.transport.is_closing()


@virtual_time
async def test_an_answer_takes_as_long_as_it_takes() -> None:
    script = Script()
    line = FakeLine(script, keep_alive_s=1)
    line.send(get(b"/stream"), echo()[:20])
    await asyncio.sleep(FOREVER_S)
    assert not line.transport.is_closing()
    script.pieces.put_nowait(b"")
    line.send(echo()[20:])
    await line.settled()
    assert plain(line).endswith(answer())


@virtual_time
async def test_a_body_is_waited_for_by_its_reader() -> None:
    line = FakeLine(Script())
    line.send(echo()[:-1])
    await asyncio.sleep(FOREVER_S)
    line.send(echo()[-1:])
    await line.settled()
    assert plain(line) == answer()


@virtual_time
async def test_a_caller_that_reads_slowly_slows_the_stream_and_nothing_is_lost() -> None:
    script = Script()
    line = FakeLine(script)
    line.send(get(b"/stream"))
    for _ in range(3):
        script.pieces.put_nowait(b"x")
    await settle()
    line.stop_reading()
    for piece in (b"y", b"y", b""):
        script.pieces.put_nowait(piece)
    await settle()
    assert script.given == 3
    assert line.protocol.state is ConnectionState.WORKED_ON
    await asyncio.sleep(module.FLUSH_STALL_S + 1)
    assert (script.given, line.protocol.state) == (3, ConnectionState.STALLED)
    line.read_on()
    await line.settled()
    assert plain(line).endswith(chunk(b"x") * 3 + chunk(b"y") * 2 + LAST_CHUNK)


async def is_cut_off_once_nothing_is_taken(line: FakeLine) -> None:
    """While it takes some, however little, it is waited for."""
    for left in (900, 800):
        await asyncio.sleep(module.FLUSH_STALL_S - 1)
        line.transport.unsent = left
    assert not line.transport.is_reset
    await asyncio.sleep(2 * module.FLUSH_STALL_S)
    assert line.transport.is_reset


@virtual_time
async def test_a_caller_that_takes_nothing_of_what_is_written_is_cut_off() -> None:
    line = FakeLine(Script())
    line.transport.unsent = 1_000
    line.send(echo(headers=b"Connection: close\r\n"))
    await line.settled()
    assert (line.transport.is_closing(), line.transport.is_reset) == (True, False)
    await is_cut_off_once_nothing_is_taken(line)


@pytest.mark.parametrize("path", [b"/echo", b"/stream"])
@virtual_time
async def test_a_caller_that_takes_nothing_is_not_waited_for_before_its_next_answer(path: bytes) -> None:
    script = Script()
    line = FakeLine(script)
    line.send(echo())
    await settle()
    line.stop_reading()
    line.transport.unsent = 1_000
    line.send(post(b"", target=path))
    await settle()
    await is_cut_off_once_nothing_is_taken(line)


@virtual_time
async def test_a_caller_that_takes_little_of_a_large_answer_is_cut_off_within_it() -> None:
    """The rest of it counts against the budget of all whole answers."""
    line = FakeLine(Script())
    body = bytes(3 * PART_BYTES)
    line.send(post(body, target=b"/echo"))
    while len(line.answered) <= PART_BYTES:  # noqa: ASYNC110 - it writes on in the next turn
        await asyncio.sleep(0)
    line.stop_reading()
    line.transport.unsent = 1_000
    await asyncio.sleep(module.FLUSH_STALL_S - 1)
    line.transport.unsent = 900
    assert (len(line.answered) < 2 * PART_BYTES, line.transport.is_reset) == (True, False)
    await asyncio.sleep(2)
    assert line.transport.is_reset
    line.leave()
    await line.settled()


# ---- bodies ----


@virtual_time
async def test_10_000_small_chunks_are_one_body() -> None:
    line = FakeLine(Script())
    raw = post_chunked(b"".join(chunk(b"%080d" % n) for n in range(10_000)) + LAST_CHUNK, target=b"/echo")
    for at in range(0, len(raw), 50_000):
        line.send(raw[at : at + 50_000])
        await settle(2)
    await line.settled()
    assert plain(line) == answer(b"".join(b"%080d" % n for n in range(10_000)))


@virtual_time
async def test_a_body_that_nobody_reads_stops_the_caller_until_somebody_does() -> None:
    script = Script()
    line = FakeLine(script)
    line.send(get(b"/stream"), head(b"POST", b"/echo", b"Content-Length: 200000\r\n"))
    line.send(b"x" * 60_000)
    assert line.transport.is_reading
    line.send(b"x" * 60_000)
    assert not line.transport.is_reading
    script.pieces.put_nowait(b"")
    await settle()
    assert line.transport.is_reading
    line.send(b"x" * 80_000)
    await line.settled()
    assert line.answered.endswith(b"x" * 200_000)


@virtual_time
async def test_the_body_is_asked_for_when_it_is_read_and_the_connection_ends_then() -> None:
    line = FakeLine(Script())
    raw = echo(headers=b"Expect: 100-continue\r\n")
    line.send(raw[:-5])
    await settle()
    assert line.answered == CONTINUE
    line.send(raw[-5:])
    await line.settled()
    assert plain(line) == CONTINUE + answer(more=b"connection: close\r\n")
    assert line.transport.is_closing()


@virtual_time
async def test_a_body_that_is_here_or_not_wanted_is_not_asked_for() -> None:
    for raw in (echo(headers=b"Expect: 100-continue\r\n"), head(b"POST", b"/early", b"Expect: 100-continue\r\n")):
        line = FakeLine(Script())
        line.send(raw)
        await line.settled()
        assert CONTINUE not in line.answered
        assert line.transport.is_closing() or line.transport.has_ended


@virtual_time
async def test_one_in_advance_is_asked_for_its_body_when_its_turn_comes() -> None:
    script = Script()
    line = FakeLine(script)
    line.send(get(b"/stream"), echo(headers=b"Expect: 100-continue\r\n")[:-5])
    await settle()
    assert CONTINUE not in line.answered
    script.pieces.put_nowait(b"")
    await settle()
    assert line.answered.endswith(LAST_CHUNK + CONTINUE)


@virtual_time
async def test_an_early_answer_can_be_read_while_the_body_still_comes() -> None:
    line = FakeLine(Script())
    line.send(head(b"POST", b"/early", b"Content-Length: 1000000\r\n"))
    await line.settled()
    assert line.answered.startswith(b"HTTP/1.1 401 ")
    assert (line.transport.has_ended, line.transport.is_closing()) == (True, False)
    assert line.protocol.state is ConnectionState.ANSWERED
    for _ in range(20):
        line.send(b"x" * 40_000)
        await asyncio.sleep(1)
    assert not line.transport.is_closing()
    await until(line.transport.is_closing)
    assert now_s() == pytest.approx(20 - 1 + module.LINGER_S, abs=0.2)


@virtual_time
async def test_what_is_dropped_is_bounded_in_bytes_and_in_time() -> None:
    line = FakeLine(Script())
    line.send(head(b"POST", b"/early", b"Content-Length: 1000000000000\r\n"))
    await line.settled()
    while not line.transport.is_closing():
        line.send(b"x")
        await asyncio.sleep(1)
    assert now_s() == pytest.approx(module.DROP_TIMEOUT_S, abs=1.1)
    line = FakeLine(Script())
    line.send(head(b"POST", b"/early", b"Content-Length: 1000000000000\r\n"))
    await line.settled()
    for _ in range(module.MAX_DROPPED_BYTES // (1 << 20)):
        line.send(b"x" * (1 << 20))
    assert not line.transport.is_closing()
    line.send(b"x")
    assert line.transport.is_closing()


# ---- what is unusual ----


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [(b"http://localhost/echo", b"localhost", 200), (b"http://other/echo", b"localhost", 400)],
)
@virtual_time
async def test_an_absolute_url_is_taken_for_this_host_only(target: bytes, host: bytes, status: int) -> None:
    line = FakeLine(Script())
    line.send(get(target, host=b"Host: %b\r\n" % host))
    await line.settled()
    assert line.answered.startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize("lines", [b"", b"Connection: keep-alive\r\n"])
@virtual_time
async def test_http_1_0_ends_with_the_connection(lines: bytes) -> None:
    script = Script()
    line = FakeLine(script)
    line.send(head(b"GET", b"/stream", lines, version=b"HTTP/1.0"))
    for piece in (b"a", b"b", b""):
        script.pieces.put_nowait(piece)
    await line.settled()
    assert plain(line) == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nab"
    assert (line.transport.is_closing(), line.transport.is_reset) == (True, False)


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
@virtual_time
async def test_a_cut_answer_does_not_look_whole(version: bytes) -> None:
    script = Script()
    line = FakeLine(script)
    line.send(head(b"GET", b"/stream", version=version))
    script.pieces.put_nowait(b"a")
    await settle()
    for task in list(line.connections.tasks):
        task.cancel()
    await line.settled()
    assert not line.answered.endswith(LAST_CHUNK)
    assert line.transport.is_closing()
    assert line.transport.is_reset is (version == b"HTTP/1.0")


@virtual_time
async def test_a_request_whose_task_is_cancelled_before_it_begins_is_answered_after_all() -> None:
    line = FakeLine(Script())
    line.send(echo())
    for task in list(line.connections.tasks):
        task.cancel()
    await line.settled()
    assert line.answered.startswith(b"HTTP/1.1 503 ")
    assert line.transport.is_closing()
    await settle()


@virtual_time
async def test_head_gets_a_length_and_no_body() -> None:
    line = FakeLine(Script())
    line.send(head(b"HEAD", b"/echo", b"Content-Length: 5\r\n") + b"hello" + echo(b"next"))
    await line.settled()
    assert plain(line) == answer()[:-5] + answer(b"next")


@virtual_time
async def test_bytes_that_are_no_request_cut_the_answer_before_them() -> None:
    script = Script()
    line = FakeLine(script)
    line.send(get(b"/stream"))
    script.pieces.put_nowait(b"a")
    await settle()
    line.send(b"\x00")
    await line.settled()
    assert script.ended == ["CancelledError"]
    assert line.answered.endswith(chunk(b"a"))
    assert line.transport.has_ended


@virtual_time
async def test_nothing_is_written_to_a_connection_that_is_being_closed() -> None:
    script = Script()
    line = FakeLine(script)
    line.send(get(b"/stream"))
    await settle()
    line.transport.abort()  # as the crowd does; that it is lost is said in the event loop's next turn
    script.pieces.put_nowait(b"a")
    await settle()
    assert line.answered == b""
    line.leave()
    await line.settled()


def test_a_deadline_that_is_due_at_once_may_be_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """On uvloop, where a timer of less than half a millisecond is none."""
    monkeypatch.setattr(module, "HEAD_TIMEOUT_S", 0.0001)
    monkeypatch.setattr(module, "LINGER_S", 0.0)

    async def hurried() -> None:
        line = FakeLine(Script())
        line.send(b"GET /echo", b"\0")
        await line.settled()
        assert line.answered.startswith(b"HTTP/1.1 400 ")
        line.leave()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(hurried())
