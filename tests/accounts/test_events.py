"""Events, and those that look on: each gets what it may see, nobody waits for another, and nothing grows."""

import asyncio
import json
from functools import partial

import pytest

from masa_node.accounts.events import (
    KEPT_FOR_OWNERS,
    MAX_OF_A_KEY,
    MAX_PIECE_BYTES,
    MAX_SUBSCRIBERS,
    MAX_WAITING,
    Events,
    frame,
)
from masa_node.chat.errors import Overloaded


def read(data: bytes) -> list[tuple[str, object]]:
    frames = data.decode().split("\n\n")
    assert frames.pop() == ""
    lines = [frame.split("\n") for frame in frames]
    return [(name.removeprefix("event: "), json.loads(value.removeprefix("data: "))) for name, value in lines]


async def test_an_event_goes_to_all_that_may_see_it() -> None:
    events = Events()
    owner, alice, bob = (events.subscribe(key) for key in (None, "alice", "bob"))
    events.tell("began", lambda: 1, "alice")
    events.tell("ended", lambda: 2, "")  # a peer's
    events.tell("changed", lambda: 3)
    assert read(owner.take()) == [("began", 1), ("ended", 2), ("changed", 3)]
    assert read(alice.take()) == [("began", 1), ("changed", 3)]
    assert read(bob.take()) == [("changed", 3)]
    assert owner.take() == b""


async def test_it_is_made_once_for_all_and_not_before_it_is_taken() -> None:
    made: list[int] = []

    def make() -> object:
        made.append(1)
        return {"number": 1}

    events = Events()
    looking_on = [events.subscribe(None) for _ in range(3)]
    events.tell("ended", make)
    assert made == []
    assert {each.take() for each in looking_on} == {frame("ended", {"number": 1})}
    assert made == [1]


async def test_nothing_is_made_for_nobody() -> None:
    events = Events()
    assert not events.is_heard
    events.tell("ended", object)  # which no JSON can hold
    subscriber = events.subscribe(None)
    assert events.is_heard
    events.leave(subscriber)
    events.leave(subscriber)
    assert not events.is_heard


async def test_the_seventeenth_is_refused_until_one_leaves() -> None:
    events = Events()
    looking_on = [events.subscribe(None) for _ in range(MAX_SUBSCRIBERS)]
    with pytest.raises(Overloaded, match="16 pages"):
        events.subscribe(None)
    events.leave(looking_on[3])
    events.subscribe("alice")


async def test_no_key_takes_all_places_nor_do_all_keys_together() -> None:
    events = Events()
    hers = [events.subscribe("alice") for _ in range(MAX_OF_A_KEY)]
    with pytest.raises(Overloaded, match="4 pages look on with this key"):
        events.subscribe("alice")
    for number in range(MAX_SUBSCRIBERS - KEPT_FOR_OWNERS - MAX_OF_A_KEY):
        events.subscribe(f"key-{number}")
    with pytest.raises(Overloaded, match="keys that have names"):
        events.subscribe("bob")
    for _ in range(KEPT_FOR_OWNERS):
        events.subscribe(None)
    with pytest.raises(Overloaded, match="16 pages"):
        events.subscribe(None)
    events.leave(hers[0])
    events.subscribe("alice")


async def test_one_that_does_not_read_loses_the_oldest_and_is_told_how_many() -> None:
    events = Events()
    slow, fast = events.subscribe(None), events.subscribe(None)
    for number in range(MAX_WAITING + 7):
        events.tell("ended", partial(int, number))
        assert read(fast.take()) == [("ended", number)]
    got = read(slow.take())
    assert got[0] == ("dropped", {"events": 7})
    assert [value for _, value in got[1:]] == [*range(7, MAX_WAITING + 7)]
    assert slow.take() == b""


async def test_what_is_given_at_once_is_bounded_and_nothing_is_lost_by_that() -> None:
    events = Events()
    subscriber = events.subscribe(None)
    text = "x" * (MAX_PIECE_BYTES // 3)
    for _ in range(10):
        events.tell("ended", lambda: text)
    pieces = []
    while data := subscriber.take():
        pieces.append(data)
    assert b"".join(pieces) == frame("ended", text) * 10
    assert max(map(len, pieces)) < MAX_PIECE_BYTES + 2 * len(text)


async def test_news_comes_with_an_event_and_with_the_end() -> None:
    events = Events()
    subscriber = events.subscribe(None)
    waiting = asyncio.create_task(subscriber.news())
    await asyncio.sleep(0)
    assert not waiting.done()
    events.tell("changed", dict)
    await waiting
    subscriber.take()
    waiting = asyncio.create_task(subscriber.news())
    await asyncio.sleep(0)
    assert not waiting.done()
    events.end()
    await waiting
    assert subscriber.is_over
    assert events.subscribe(None).is_over, "also for one that comes too late"


def test_what_changed_is_told_to_everybody() -> None:
    events = Events()
    looking_on = [events.subscribe(None), events.subscribe("alice")]
    events.tell_changed("peers")
    assert [read(each.take()) for each in looking_on] == [[("changed", {"what": "peers"})]] * 2


def test_a_frame_is_one_event_whatever_its_text_is() -> None:
    assert read(frame("ended", "a\n\nevent: x\r\ndata: y")) == [("ended", "a\n\nevent: x\r\ndata: y")]
