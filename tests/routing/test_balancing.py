"""Own servers of one model share the work: in virtual time, and the order itself without requests."""

import asyncio
import contextlib
from collections import Counter

import msgspec
import pytest

from masa_node.chat.errors import ConnectionRefused
from masa_node.chat.request import Request
from masa_node.routing import balancing
from masa_node.routing.balancing import Balancer, conversation_of
from masa_node.routing.health import OPENS_AFTER, SLOW_START_S, HealthBook
from tests.routing.scripted import WHOLE, ScriptedPeer, ScriptedProvider, ScriptedStream, World, http_error
from tests.virtual_time import virtual_time

PARALLEL = 16
FAST_S, SLOW_S = 0.5, 2.0
NOW_S = 1_000.0


def server(name: str, *steps: object, priority: int = 0) -> ScriptedProvider:
    made = ScriptedProvider(name, *steps)  # type: ignore[arg-type]
    made.priority = priority
    return made


def world_of(*servers: ScriptedProvider) -> World:
    return World(servers, max_running=100, max_waiting=1_000)


def said(world: World, text: str) -> Request:
    return msgspec.structs.replace(world.ask(), body=turns(text))


def turns(*texts: str) -> bytes:
    roles = ("user", "assistant")
    messages = [{"role": roles[number % 2], "content": text} for number, text in enumerate(texts)]
    return msgspec.json.encode({"model": "tiny", "messages": messages, "stream": True})


async def asked_at_once(world: World, number: int, *, alike: bool = False) -> None:
    asks = [said(world, "the same" if alike else f"request {each}") for each in range(number)]
    await asyncio.gather(*(world.answer(ask) for ask in asks))


async def asked_by_workers(world: World, workers: int, requests: int) -> None:
    """Each worker asks again as soon as it has its answer."""

    async def work(worker: int) -> None:
        for number in range(requests // workers):
            await world.answer(said(world, f"{worker}: {number}"))

    await asyncio.gather(*(work(worker) for worker in range(workers)))


def shares(*servers: ScriptedProvider) -> list[float]:
    asked = [len(each.asked) for each in servers]
    return [each / sum(asked) for each in asked]


@pytest.mark.parametrize("alike", [False, True])
@virtual_time
async def test_two_equal_servers_share_parallel_requests(*, alike: bool) -> None:
    one, two = server("one", FAST_S, WHOLE), server("two", FAST_S, WHOLE)
    world = world_of(one, two)
    for _ in range(3):  # knowing nothing of them, then their latency, then where conversations are
        before = len(one.asked), len(two.asked)
        await asked_at_once(world, PARALLEL, alike=alike)
        assert abs(len(one.asked) - before[0] - PARALLEL / 2) <= 2
        assert abs(len(two.asked) - before[1] - PARALLEL / 2) <= 2


@virtual_time
async def test_a_stream_is_in_flight_until_its_end() -> None:
    one, two = server("one", ScriptedStream([])), server("two", ScriptedStream([]))
    world = world_of(one, two)
    async with contextlib.AsyncExitStack() as stack:
        for number in range(PARALLEL):  # the first piece is there, the rest is still to come
            await stack.enter_async_context(world.begun(said(world, str(number))))
        assert (len(one.asked), len(two.asked)) == (PARALLEL / 2, PARALLEL / 2)
    assert all(world.dispatcher.stats.health.of(each.name).running == 0 for each in (one, two))


@pytest.mark.untraced
@pytest.mark.parametrize("workers", [1, 2, 4, 16])
@pytest.mark.parametrize("slow_first", [False, True])
@virtual_time
async def test_a_server_four_times_slower_gets_less_than_three_tenths(workers: int, *, slow_first: bool) -> None:
    fast, slow = server("fast", FAST_S, WHOLE), server("slow", SLOW_S, WHOLE)
    world = world_of(*((slow, fast) if slow_first else (fast, slow)))
    await asked_by_workers(world, workers, 320)
    assert 0.0 < shares(fast, slow)[1] < 0.3


@virtual_time
async def test_a_slower_server_gets_less_of_a_burst_too_once_it_is_known() -> None:
    fast, slow = server("fast", FAST_S, WHOLE), server("slow", SLOW_S, WHOLE)
    world = world_of(fast, slow)
    for _ in range(20):
        await asked_at_once(world, PARALLEL)
    assert 0.1 < shares(fast, slow)[1] < 0.3


@virtual_time
async def test_requests_one_after_the_other_go_round() -> None:
    servers = [server(name, FAST_S, WHOLE) for name in "abc"]
    world = world_of(*servers)
    for number in range(9):
        await world.answer(said(world, str(number)))
    assert [len(each.asked) for each in servers] == [3, 3, 3]


@virtual_time
async def test_the_lowest_priority_number_has_all_the_work_while_it_is_well() -> None:
    first, second = server("first", FAST_S, WHOLE, priority=0), server("second", FAST_S, WHOLE, priority=1)
    world = world_of(second, first)
    await asked_at_once(world, PARALLEL)
    assert (len(first.asked), len(second.asked)) == (PARALLEL, 0)


@virtual_time
async def test_the_next_priority_takes_over_when_all_before_it_are_not_well() -> None:
    gone = [server(name, ConnectionRefused("gone")) for name in "ab"]
    spare = [server(name, FAST_S, WHOLE, priority=5) for name in "cd"]
    world = world_of(*gone, *spare)
    for number in range(20):
        await world.answer(said(world, str(number)))
    assert Counter(map(len, (each.asked for each in spare))) == {10: 2}
    tried = [len(each.asked) for each in gone]
    assert all(OPENS_AFTER <= each < 20 for each in tried)  # and one try after each pause


@virtual_time
async def test_a_conversation_stays_where_it_was() -> None:
    one, two = server("one", FAST_S, WHOLE), server("two", FAST_S, WHOLE)
    world = world_of(one, two)
    texts: list[str] = []
    for turn in range(5):
        texts += [f"question {turn}", f"answer {turn}"]
        await world.answer(msgspec.structs.replace(world.ask(), body=turns(*texts[:-1])))
        await world.answer(said(world, f"somebody else, {turn}"))
    tellers = [each for each in (one, two) if any(b"question 0" in ask.body for ask in each.asked)]
    assert tellers == [one]
    assert len(two.asked) > 0


@virtual_time
async def test_a_conversation_moves_when_the_breaker_of_its_server_opens_and_not_before() -> None:
    one, two = server("one", FAST_S, WHOLE), server("two", FAST_S, WHOLE)
    world = world_of(one, two)
    await world.answer(said(world, "the same"))
    one.steps = (http_error(500),)
    for _ in range(OPENS_AFTER + 2):
        await world.answer(said(world, "the same"))
    assert (len(one.asked), len(two.asked)) == (1 + OPENS_AFTER, OPENS_AFTER + 2)
    one.steps = (WHOLE,)
    await asyncio.sleep(100.0)
    await world.answer(said(world, "the same"))
    assert len(two.asked) == OPENS_AFTER + 3  # it is at home there now


@virtual_time
async def test_a_conversation_that_a_peer_answered_binds_no_server() -> None:
    own = [server(name, http_error(500)) for name in "ab"]
    world = World([*own, ScriptedPeer("peer", WHOLE)])
    await world.answer()
    await world.answer()
    assert world.outcomes[-1].served_by == "peer"


@virtual_time
async def test_one_server_alone_is_neither_ranked_nor_remembered() -> None:
    world = world_of(server("only", WHOLE))
    chosen = await world.dispatcher.common.candidates.choose(world.ask())
    assert [each.name for each in chosen.own] == ["only"]
    assert chosen.conversation is None
    await world.answer()
    assert world.dispatcher.common.candidates._balancer._server_of == {}


# ---- the order itself, without requests ----


def names(balancer: Balancer, servers: list[ScriptedProvider], conversation: int | None = None) -> str:
    return "".join(each.name for each in balancer.in_order(servers, conversation, NOW_S))


def test_a_conversation_moves_when_its_server_has_two_more_in_flight() -> None:
    book, servers = HealthBook(), [server(name) for name in "ab"]
    balancer = Balancer(book)
    balancer.answered_by(7, "a")
    book.of("a").running = 1
    assert names(balancer, servers, 7) == "ab"
    book.of("a").running = 2
    assert names(balancer, servers, 7) == "ba"


def test_a_conversation_leaves_a_server_that_is_not_well_or_of_a_later_priority() -> None:
    book, servers = HealthBook(), [server("a"), server("b")]
    balancer = Balancer(book)
    balancer.answered_by(7, "b")
    servers[1].priority = 1
    assert names(balancer, servers, 7) == "ab"
    servers[1].priority = 0
    assert names(balancer, servers, 7) == "ba"
    for _ in range(OPENS_AFTER):
        book.of("b").failed(NOW_S)
    assert names(balancer, servers, 7) == "ab"


def test_a_server_that_is_back_gets_its_share_gradually() -> None:
    book, servers = HealthBook(), [server(name) for name in "ab"]
    balancer = Balancer(book)
    back = book.of("a")
    for _ in range(OPENS_AFTER):
        back.failed(NOW_S)
    back.succeeded(NOW_S)
    shares_of_a = []
    for after_s in (0.0, SLOW_START_S / 2, SLOW_START_S):
        load = Counter({"a": 0, "b": 0})
        for _ in range(44):
            first = balancer.in_order(servers, None, NOW_S + after_s)[0].name
            load[first] += 1
            book.of(first).running += 1
        shares_of_a.append(load["a"])
        for each in servers:
            book.of(each.name).running = 0
    assert shares_of_a == [4, pytest.approx(44 / 3, abs=1), 22]


def test_one_failure_is_no_reason_for_a_slow_start() -> None:
    book = HealthBook()
    book.of("a").failed(NOW_S)
    book.of("a").succeeded(NOW_S)
    assert book.of("a").share(NOW_S) == 1.0


def test_only_the_latest_conversations_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balancing, "MAX_CONVERSATIONS", 2)
    balancer = Balancer(HealthBook())
    for conversation in (1, 2, 1, 3):
        balancer.answered_by(conversation, "a")
    assert list(balancer._server_of) == [1, 3]


# ---- what a conversation is known by ----


@pytest.mark.parametrize(
    ("first", "later"),
    [
        (turns("hi"), turns("hi", "hello", "and?")),
        (
            b'{"model":"m","messages":[{"role":"system","content":"be brief"},{"role":"user","content":"hi"}]}',
            b'{"messages":[{"role":"system","content":"be brief"},{"role":"user","content":"hi"}, {"a":1}]}',
        ),
        (
            b'{"messages": [ { "content": [ {"type": "text", "text": "hi"} ], "role": "user" } ], "model": "m"}',
            b'{"messages": [ { "content": [ {"type": "text", "text": "hi"} ], "role": "user" }, {"x": 1}]}',
        ),
        (
            b'{"model":"m","input":[{"role":"user","content":"hi"}],"stream":true}',
            b'{"model":"m","input":[{"role":"user","content":"hi"},{"type":"reasoning"}]}',
        ),
        (turns("hi {you}"), turns("hi {you}", "hello", "and?")),
        (turns("long " * 1_000), turns("long " * 1_000, "yes", "go on")),
    ],
)
def test_a_conversation_has_one_number_in_all_its_turns(first: bytes, later: bytes) -> None:
    assert conversation_of(first, "m") == conversation_of(later, "m")


def test_another_first_message_or_model_is_another_conversation() -> None:
    assert conversation_of(turns("hi"), "m") != conversation_of(turns("ho"), "m")
    assert conversation_of(turns("hi"), "m") != conversation_of(turns("hi"), "n")
