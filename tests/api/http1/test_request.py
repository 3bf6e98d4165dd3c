"""A request while it arrives: its body, and a caller that leaves at any point of it."""

import asyncio
from collections.abc import Callable

import pytest

from masa_node.api.http1.request import ClientDisconnected, Head, HttpRequest
from masa_node.chat.errors import BodyTooLarge


def coming(wanted: Callable[[], None] = lambda: None) -> HttpRequest:
    return HttpRequest(Head("POST", b"/a%2Fb?c", ()), None, wanted)


def test_a_path_is_decoded_once_and_kept_as_it_came() -> None:
    head = Head("GET", b"/a%252Fb/%C3%A9?x=%20?y", ())
    assert (head.path, head.raw_path, head.query) == ("/a%2Fb/é", b"/a%252Fb/%C3%A9", b"x=%20?y")


def reading(request: HttpRequest) -> tuple[list[bytes], asyncio.Task[None]]:
    """What it gives, and the task that it is read in."""
    given: list[bytes] = []
    return given, asyncio.create_task(request.read_into(given.append))


async def test_pieces_are_given_as_they_come_until_the_body_is_whole() -> None:
    request = coming()
    request.feed(b"a")
    request.feed(b"b")
    assert request.unread_bytes == 2
    given, task = reading(request)
    await asyncio.sleep(0)
    assert (given, request.unread_bytes) == ([b"ab"], 0)
    request.feed(b"c")
    request.feed(b"d")
    assert (given, request.unread_bytes) == ([b"ab", b"c", b"d"], 0)
    await asyncio.sleep(0)
    assert not task.done()
    request.complete()
    await task
    assert given == [b"ab", b"c", b"d"]


async def test_a_body_that_is_whole_is_given_at_once() -> None:
    request = coming()
    request.feed(b"a")
    request.complete()
    given, task = reading(request)
    await task
    assert given == [b"a"]


async def test_more_is_wanted_only_while_it_is_waited_for() -> None:
    wanted: list[bool] = []
    request = coming(lambda: wanted.append(request.is_waited_for))
    request.feed(b"a")
    assert wanted == []
    _, task = reading(request)
    await asyncio.sleep(0)
    assert wanted == [True]
    request.complete()
    await task
    assert not request.is_waited_for


async def test_whoever_refuses_a_piece_is_given_no_more_and_says_why() -> None:
    request = coming()
    given: list[bytes] = []

    def refuse(piece: bytes) -> None:
        given.append(piece)
        raise BodyTooLarge("too large")

    task = asyncio.create_task(request.read_into(refuse))
    await asyncio.sleep(0)
    request.feed(b"a")
    request.feed(b"b")
    assert (request.unread_bytes, request.is_waited_for) == (1, False)
    request.complete()
    with pytest.raises(BodyTooLarge):
        await task
    assert given == [b"a"]


async def test_who_leaves_while_more_is_waited_for_is_gone() -> None:
    request = coming()
    _, task = reading(request)
    await asyncio.sleep(0)
    request.lose()
    with pytest.raises(ClientDisconnected):
        await task


async def test_who_has_left_is_gone_however_much_is_here() -> None:
    request = coming()
    request.feed(b"a")
    request.complete()
    request.lose()
    with pytest.raises(ClientDisconnected):
        await request.read_into(lambda _: None)
    with pytest.raises(ClientDisconnected):
        request.take()


async def test_a_reader_that_is_cancelled_may_be_followed_by_another() -> None:
    request = coming()
    given, task = reading(request)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    request.feed(b"a")
    request.complete()
    assert given == []
    given, task = reading(request)
    await task
    assert given == [b"a"]


async def test_a_task_that_asks_to_be_cancelled_is_at_once_if_the_caller_has_left() -> None:
    request = coming()

    async def answer() -> None:
        request.cancel_when_gone()
        await asyncio.Event().wait()

    request.lose()
    task = asyncio.create_task(answer())
    await asyncio.wait([task])
    assert task.cancelled()


async def test_a_task_that_does_not_ask_for_it_is_left_alone() -> None:
    request = coming()

    async def answer() -> str:
        await asyncio.sleep(0)
        return "done"

    task = asyncio.create_task(answer())
    await asyncio.sleep(0)
    request.lose()
    assert await task == "done"


def test_a_body_can_be_looked_at_before_it_is_taken() -> None:
    request = HttpRequest(Head("POST", b"/", ()), 4, lambda: None)
    request.feed(b"ab")
    assert request.body() is None
    request.feed(b"cd")
    request.complete()
    assert request.body() == request.body() == b"abcd"
    assert request.take() == b"abcd"
    assert request.body() is None
