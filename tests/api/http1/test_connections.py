"""What the connections of one server share: the date, and an end in good order."""

import asyncio
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.api.http1 import connections as module
from masa_node.api.http1.connections import Connections, http_date
from masa_node.api.http1.reply import Reply
from masa_node.api.http1.request import HttpRequest
from tests.api.http1.fake_line import FakeLine
from tests.api.raw_http import get, post
from tests.virtual_time import settle, virtual_time


@given(st.integers(0, 253_402_300_799))
def test_the_date_is_as_http_writes_it(at_unix_s: int) -> None:
    written = http_date(at_unix_s).decode()
    assert len(written) == len("Sun, 06 Nov 1994 08:49:37 GMT")
    assert parsedate_to_datetime(written).timestamp() == at_unix_s


def test_a_day_that_the_rfc_names() -> None:
    assert http_date(784_111_777) == b"Sun, 06 Nov 1994 08:49:37 GMT"


async def unused(request: HttpRequest, reply: Reply) -> None:
    raise AssertionError


@virtual_time
async def test_the_date_is_made_once_a_second_and_only_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[float] = []
    begin_s, loop = 784_111_777.25, asyncio.get_running_loop()
    came_s = loop.time()

    def counted(at_unix_s: float) -> bytes:
        made.append(at_unix_s)
        return http_date(at_unix_s)

    monkeypatch.setattr(module, "http_date", counted)
    monkeypatch.setattr(module.time, "time", lambda: begin_s + loop.time() - came_s)
    connections = Connections(unused, 75, b"x: y\r\n")
    assert made == []
    for after_s, second, count in ((0.0, 37, 1), (0.74, 37, 1), (0.02, 38, 2), (5.0, 43, 3)):
        await asyncio.sleep(after_s)
        lines = connections.standard_lines()
        assert lines.startswith(b"date: Sun, 06 Nov 1994 08:49:%d GMT\r\nx: y\r\n" % second)
        assert len(made) == count


# ---- the end, in each state that a connection can be in ----


async def hanging(request: HttpRequest, reply: Reply) -> None:
    """Answers when it is told to by the last byte of the body."""
    await request.read_into(lambda _: None)
    if request.head.path == "/stream":
        await reply.begin(200, [])
        await reply.piece(b"begun")
    await Going.on.wait()
    if reply.has_begun:
        await reply.end()
    else:
        await reply.whole(200, [], b"done")


class Going:
    """Set when answers may end."""

    on: asyncio.Event


STATES = {
    "silent": (),
    "half a head": (get(b"/")[:-2],),
    "half a body": (post(b"ab")[:-1],),
    "answering": (get(b"/"),),
    "streaming": (get(b"/stream"),),
    "two asked in advance": (get(b"/stream") + get(b"/") * 2,),
    "refused": (b"\x00",),
}


@pytest.mark.parametrize("state", STATES)
@virtual_time
async def test_it_ends_in_good_order(state: str) -> None:
    Going.on = asyncio.Event()
    line = FakeLine(hanging)
    line.send(*STATES[state])
    await settle()
    line.connections.stop()
    await settle()
    gone = asyncio.create_task(line.connections.all_gone())
    if state in ("silent", "half a head"):
        assert line.transport.is_closing()
    elif state == "refused":
        assert line.transport.has_ended
    else:
        assert not line.transport.is_closing()
        if state == "half a body":
            line.send(b"b")
        Going.on.set()
        await line.settled()
        assert line.transport.is_closing()
        answers = line.answered.split(b"HTTP/1.1 200 OK\r\n")[1:]
        assert len(answers) == (3 if state == "two asked in advance" else 1)
        assert (b"connection: close" in answers[-1]) is (state != "streaming")
        assert all(b"connection: close" not in answer for answer in answers[:-1])
    await settle()
    assert not gone.done()
    line.leave()
    await settle()
    assert gone.done()


@virtual_time
async def test_who_comes_while_it_stops_is_not_taken() -> None:
    connections = Connections(unused, 75)
    connections.stop()
    line = FakeLine(unused, connections=connections)
    assert line.transport.is_closing()
    line.leave()
    await connections.all_gone()


@pytest.mark.parametrize("state", ["half a body", "answering", "streaming", "two asked in advance"])
@virtual_time
async def test_what_is_cut_at_the_end_says_so_or_does_not_look_whole(state: str) -> None:
    Going.on = asyncio.Event()
    line = FakeLine(hanging)
    line.send(*STATES[state])
    await settle()
    for task in list(line.connections.tasks):
        task.cancel()
    await line.settled()
    if "stream" in state or "two" in state:
        assert line.answered.endswith(b"begun\r\n")
    else:
        assert line.answered.startswith(b"HTTP/1.1 503 ")
    assert line.transport.is_closing() or line.transport.has_ended  # the latter while more of a body may come
    line.leave()
    await line.connections.all_gone()
