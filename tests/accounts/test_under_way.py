"""Requests that are answered now: seen, and ended by the owner."""

import asyncio

import pytest

from masa_node.accounts.events import Events, frame
from masa_node.accounts.under_way import Entry, UnderWay
from masa_node.chat.journal_errors import EndedByOwner
from masa_node.chat.outcome import CALLER_GONE
from masa_node.chat.request import Endpoint, Request, RequestId
from tests.fakes.outcomes import outcome


def asked(name: str = "r", key: str = "owner", peer: str | None = None) -> Request:
    return Request(
        request_id=RequestId(name),
        endpoint=Endpoint.OPENAI_CHAT,
        model="m",
        wants_stream=True,
        body=b"{}",
        headers=(),
        first_piece_deadline_s=0.0,
        idle_timeout_s=1.0,
        key=key,
        requester=peer,
    )


class Answering:
    """A task that answers one request, for ever; `end` is how it came to its end."""

    def __init__(self, under_way: UnderWay, request: Request) -> None:
        self.end = ""
        self.error: str | None = None
        self.status = 0
        self.task = asyncio.ensure_future(self._answer(under_way, request))

    async def _answer(self, under_way: UnderWay, request: Request) -> None:
        entry = under_way.add(request)
        try:
            try:
                await asyncio.Event().wait()
            finally:
                key = request.key if request.requester is None else ""
                gone = outcome(request_id=request.request_id, key=key, error=CALLER_GONE, status=499)
                told = under_way.as_ended(gone)
                self.error, self.status = told.error, told.status
        except asyncio.CancelledError:
            if entry.why_ended() is None:
                self.end = "left"
                raise
            self.end = "told"
        finally:
            under_way.remove(entry)


async def test_those_under_way_are_listed_until_they_end() -> None:
    it = UnderWay(lambda: 100.0)
    first, second = Answering(it, asked("a")), Answering(it, asked("b", "alice"))
    await asyncio.sleep(0)
    assert [(each.request_id, each.key, each.running_s) for each in it.requests()] == [
        ("a", "owner", 0.0),
        ("b", "alice", 0.0),
    ]
    assert [each.request_id for each in it.requests("alice")] == ["b"]
    first.task.cancel()
    second.task.cancel()
    await asyncio.wait([first.task, second.task])
    assert it.requests() == []


async def test_one_that_is_ended_goes_on_to_say_so_and_the_outcome_tells_the_truth() -> None:
    it = UnderWay()
    ended, other = Answering(it, asked("a")), Answering(it, asked("b"))
    await asyncio.sleep(0)
    assert it.end("a") == 1
    await ended.task
    assert (ended.end, ended.error, ended.status) == ("told", EndedByOwner.code, 403)
    other.task.cancel()
    await asyncio.wait([other.task])
    assert (other.end, other.error, other.status) == ("left", CALLER_GONE, 499)


async def test_an_answer_that_had_begun_keeps_the_status_that_its_caller_has() -> None:
    it = UnderWay()
    it.add(asked("a"), asyncio.ensure_future(asyncio.sleep(0)))
    it.end("a")
    told = it.as_ended(outcome(request_id="a", error=CALLER_GONE, status=200))
    assert (told.error, told.status) == (EndedByOwner.code, 200)


async def test_those_that_the_node_cuts_when_it_stops_have_not_left() -> None:
    it = UnderWay()
    for each in "ab":
        it.add(asked(each), asyncio.ensure_future(asyncio.sleep(0)))
    it.end("a")
    it.stop()
    gone = [outcome(request_id=each, error=CALLER_GONE, status=status) for each in "ab" for status in (499, 200)]
    ends = [(told.error, told.status) for told in map(it.as_ended, gone)]
    assert ends == [(EndedByOwner.code, 403), (EndedByOwner.code, 200), ("stopping", 503), ("stopping", 200)]
    assert it.as_ended(outcome(request_id="b", error="stalled")).error == "stalled"
    assert it.as_ended(outcome(request_id="b")).error is None


async def test_one_that_begins_while_the_node_cuts_the_others_is_told_too() -> None:
    it = UnderWay()
    it.stop()
    late = Answering(it, asked("late"))
    await late.task
    assert (late.end, late.error, late.status) == ("told", "stopping", 503)
    gone = it.add(asked("gone"), asyncio.ensure_future(asyncio.sleep(0)))
    it.remove(gone)
    await asyncio.sleep(0)
    assert gone.ended_by is None


async def test_where_the_caller_has_left_too_nobody_is_told() -> None:
    it = UnderWay()
    ended = Answering(it, asked("a"))
    await asyncio.sleep(0)
    it.end("a")
    ended.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ended.task
    assert ended.end == "left"


async def test_only_those_of_ones_own_key_are_ended() -> None:
    it = UnderWay()
    ended = Answering(it, asked("a", "alice"))
    await asyncio.sleep(0)
    assert it.end("a", "bob") == 0
    assert it.end("b") == 0
    assert it.end("a", "alice") == 1
    assert it.end("a", "alice") == 1  # it is on its way out
    await ended.task
    assert it.end("a", "alice") == 0


async def test_a_peers_is_listed_and_ended_by_whoever_may_all_and_by_no_key() -> None:
    it = UnderWay()
    theirs = Answering(it, asked("a", peer="bob"))
    await asyncio.sleep(0)
    assert [(each.request_id, each.key, each.peer) for each in it.requests()] == [("a", "", "bob")]
    assert (it.requests("owner"), it.end("a", "owner"), it.holds("a"), it.holds("b")) == ([], 0, True, False)
    assert it.end("a") == 1
    await theirs.task
    assert (theirs.end, theirs.error) == ("told", EndedByOwner.code)


async def test_two_with_the_same_id_are_both_ended() -> None:
    it = UnderWay()
    both = [Answering(it, asked("a")) for _ in range(2)]
    await asyncio.sleep(0)
    assert it.end("a") == 2
    await asyncio.gather(*(each.task for each in both))


async def test_nothing_is_left_of_those_that_have_ended() -> None:
    it = UnderWay()
    for _ in range(1_000):
        it.remove(it.add(asked()))
    assert it.requests() == []
    assert it.as_ended(outcome(error=CALLER_GONE)).error == CALLER_GONE


def test_an_entry_without_a_task_cannot_be_ended() -> None:
    assert Entry(asked(), None, 0.0).why_ended() is None


async def test_one_that_begins_is_told_as_it_is_listed() -> None:
    events = Events()
    under_way, looking_on = UnderWay(lambda: 1_800_000_000.1234, events), events.subscribe(None)
    under_way.add(asked("r"))
    (listed,) = under_way.requests()
    assert looking_on.take() == frame("began", listed)


async def test_of_a_peers_that_begins_the_owner_alone_is_told() -> None:
    events = Events()
    under_way, looking_on, guest = UnderWay(events=events), events.subscribe(None), events.subscribe("owner-to-be")
    under_way.add(asked(peer="bob"))
    assert b'"peer":"bob"' in looking_on.take()
    assert guest.take() == b""
