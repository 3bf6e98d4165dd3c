"""The ring of the last requests: what is found in it, in which order, and that it stays as small as it is."""

import asyncio
import sys

import msgspec
import pytest

from masa_node.accounts import journal as journals
from masa_node.accounts.journal import MAX_ATTEMPTS, PAGE_BYTES, Journal, Race, RaceQuery
from masa_node.chat.outcome import Attempt
from masa_node.chat.request import Endpoint, RaceMode, RequestId
from tests.fakes.outcomes import outcome

NOW = 1_800_000_000
NOW_NS = NOW * 10**9


def journal(size: int = 1_000) -> Journal:
    return Journal(size)


def ids(it: Journal, query: RaceQuery | None = None) -> list[str]:
    return [race.request_id for race in it.races(query or RaceQuery())]


def feed(it: Journal, *names: str, **changes: object) -> None:
    for name in names:
        it.observe(outcome(request_id=RequestId(name), **changes))


def test_a_race_tells_who_was_asked_when_and_how_each_ended() -> None:
    it = journal()
    attempts = (
        Attempt("fast", "unreachable", 0.0, 0.25, is_local=False),
        Attempt("slow", "cancelled", 0.001, 0.5, is_local=False),
        Attempt("winner", "won", 0.0005, 0.5, is_local=False),
    )
    won = outcome(attempts=attempts, served_by="winner", race=RaceMode.ALL, hedges=1, first_piece_s=0.5)
    it.observe(msgspec.structs.replace(won, ended_at_unix_ns=NOW_NS))
    (race,) = it.races(RaceQuery())
    assert [(each.provider, each.result, each.asked_ms, each.ended_ms) for each in race.attempts] == [
        ("fast", "unreachable", 0.0, 250.0),
        ("winner", "won", 0.5, 500.0),
        ("slow", "cancelled", 1.0, 500.0),
    ]
    assert (race.served_by, race.race, race.hedges, race.first_piece_ms) == ("winner", RaceMode.ALL, 1, 500.0)
    assert race.came_at_unix_s == NOW - 1.5


def test_the_newest_come_first_and_the_oldest_go() -> None:
    it = journal(3)
    feed(it, "a", "b", "c", "d")
    assert ids(it) == ["d", "c", "b"]


def test_pages_lead_through_all_of_it_without_a_gap() -> None:
    it = journal()
    feed(it, *(str(number) for number in range(10)))
    found: list[str] = []
    before = None
    while page := it.races(RaceQuery(limit=3, before=before)):
        found += [race.request_id for race in page]
        before = page[-1].number
        feed(it, "newer")
    assert found == [str(number) for number in reversed(range(10))]


def test_pages_go_on_where_they_were_when_the_oldest_have_gone() -> None:
    it = journal(3)
    feed(it, "a", "b", "c", "d", "e")
    assert [ids(it, RaceQuery(before=number)) for number in (99, 6, 5, 4, 3, 1)] == [
        ["e", "d", "c"],
        ["e", "d", "c"],
        ["d", "c"],
        ["c"],
        [],
        [],
    ]


def test_filters() -> None:
    it = journal()
    feed(it, "good")
    feed(it, "bad", error="stalled")
    feed(it, "other", model="n")
    feed(it, "alices", key="alice")
    assert ids(it, RaceQuery(failed=True)) == ["bad"]
    assert ids(it, RaceQuery(failed=False, model="m")) == ["alices", "good"]
    assert ids(it, RaceQuery(model="n")) == ["other"]
    assert ids(it, RaceQuery(key="alice")) == ["alices"]


def test_a_filter_is_no_search_for_a_part_of_a_text() -> None:
    it = journal()
    feed(it, "alice", model="m-large", key="bob")
    feed(it, "other", model="alice", key="bob")
    assert ids(it, RaceQuery(key="alice")) == ids(it, RaceQuery(model="m")) == []
    assert (it.race("al"), it.race("bob")) == (None, None)


def test_hardly_any_is_read_that_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []
    decode = journals._decode
    monkeypatch.setattr(journals, "_decode", lambda kept: read.append(kept) or decode(kept))
    it = journal()
    feed(it, *(str(number) for number in range(100)))
    feed(it, "bad", error="stalled", model="n", key="alice")
    feed(it, *(str(number) for number in range(100)))
    queries = (
        RaceQuery(failed=True), RaceQuery(model="n"), RaceQuery(key="alice"), RaceQuery(request_id="bad"),
        RaceQuery(1, before=102),
    )  # fmt: skip
    for query in queries:
        assert ids(it, query) == ["bad"]
    assert len(read) == len(queries)


def test_one_is_found_by_its_id_and_only_by_those_that_may_see_it() -> None:
    it = journal()
    feed(it, "x", key="alice", status=200)
    feed(it, "x", key="bob", status=404)
    found = (it.race("x"), it.race("x", "alice"), it.race("x", "carol"), it.race("y"))
    assert [race.status if race is not None else None for race in found] == [404, 200, None, None]


def test_an_outcome_comes_back_as_it_was() -> None:
    it = journal()
    for endpoint in Endpoint:
        for rule in (None, *RaceMode):
            one = outcome(endpoint=endpoint, race=rule, model="\N{SNOWMAN}", requester="f" * 64, input_tokens=2**53)
            it.observe(one)
            ((_, (_, found)),) = [*it._found(RaceQuery(1))][:1]
            assert found == one


def test_however_long_all_are_they_take_no_more_than_they_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "MAX_BYTES", 10_000)
    it = journal(1_000)
    feed(it, *(str(number) for number in range(500)))
    assert sum(map(len, it._ring)) <= 10_000 < sum(map(len, it._ring)) + 2 * len(it._ring[-1])
    assert ids(it, RaceQuery(1)) == ["499"]
    many = tuple(Attempt(f"{number:064x}", "unreachable", number, number) for number in range(MAX_ATTEMPTS))
    it.observe(outcome(request_id=RequestId("long"), attempts=many))
    assert sum(map(len, it._ring)) <= 10_000
    assert ids(it, RaceQuery(2)) == ["long", "499"]


def test_a_journal_of_no_size_keeps_none() -> None:
    it = journal(0)
    feed(it, "a")
    assert ids(it) == []


async def test_a_page_ends_where_its_races_take_too_much_and_leads_on() -> None:
    """A thousand races with 64 attempts each took 110 ms, and 9 MB for whoever asked for them and did not read."""
    it = journal()
    many = tuple(Attempt(f"{number:064x}", "cancelled", 0.0, 0.5, is_local=False) for number in range(MAX_ATTEMPTS))
    feed(it, *map(str, range(200)), attempts=many)
    found: list[Race] = []
    before = None
    while not found or before is not None:
        page, before = await it.page(RaceQuery(limit=1_000, before=before))
        assert len(msgspec.json.encode(page)) < 4 * PAGE_BYTES
        found += page
    assert [race.request_id for race in found] == [str(number) for number in reversed(range(200))]


async def test_between_two_pages_others_have_their_turn() -> None:
    """800 at once held up everything for 23 s."""
    it = journal()
    feed(it, "a")
    pages = [asyncio.create_task(it.page(RaceQuery())) for _ in range(4)]
    done: list[int] = []
    while len(done) < 20:
        await asyncio.sleep(0)
        done.append(sum(page.done() for page in pages))
    assert set(done) == {0, 1, 2, 3, 4}


async def test_a_thousand_usual_races_are_a_page() -> None:
    it = journal()
    feed(it, *map(str, range(1_000)))
    assert [len((await it.page(RaceQuery(limit=limit)))[0]) for limit in (1_000, 999)] == [1_000, 999]


def test_of_a_race_with_thousands_of_attempts_some_are_kept_and_the_winner() -> None:
    it = journal()
    many = tuple(Attempt(f"{number:064x}", "unreachable", number, number, is_local=False) for number in range(3_000))
    it.observe(outcome(attempts=(*many, Attempt("winner", "won", 9_999.0, 9_999.0)), model="m" * 9_000))
    (race,) = it.races(RaceQuery())
    assert (len(race.attempts), race.attempts[-1].provider) == (MAX_ATTEMPTS, "winner")
    assert len(it._ring[0]) < 16_000
    assert len(msgspec.json.encode(race)) < 16_000


def test_a_race_goes_out_as_json_that_says_all_of_it() -> None:
    it = journal()
    feed(it, "a", input_tokens=None)
    fields = msgspec.json.decode(msgspec.json.encode(it.races(RaceQuery())[0]))
    assert (fields["request_id"], fields["endpoint"], fields["input_tokens"]) == ("a", "openai.chat", None)
    assert fields["attempts"] == [
        {"provider": "first", "local": True, "result": "unreachable", "asked_ms": 0.0, "ended_ms": 10.0},
        {"provider": "llm", "local": True, "result": "won", "asked_ms": 10.0, "ended_ms": 20.0},
    ]


@pytest.mark.parametrize("many", [10_000, 200_000])
def test_memory_is_flat_however_many_there_were(many: int) -> None:
    it = journal(100)
    one = outcome()
    for _ in range(many):
        it.observe(one)
    assert len(it.races(RaceQuery(limit=1_000))) == 100
    assert sum(map(sys.getsizeof, it._ring)) < 100 * 400
