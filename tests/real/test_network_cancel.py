"""Nobody works for nothing: those who lost a race, and all when the caller has gone, are stopped wherever they are."""

import itertools
import time
from collections.abc import Callable

import pytest
from calling import HELLO, LONG, answered, asked
from meeting import Trio, attempts, wait_until
from node_process import Node

Measured = Callable[[str, float, float], None]
FREED_WITHIN_S = 5.0  # at once; this machine has other work
CANCELLED_WITHIN_S = 3.0  # 0.1 on a quiet LAN; this machine has other work. The slow one needs several
PROMPT_WITHIN_S = 60.0  # llama.cpp looks for its caller when the prompt is done (llama.cpp issue 24496)
STREAM = {"stream": True}


@pytest.fixture(autouse=True)
def _all_idle(trio: Trio) -> None:
    for server in (*trio.left.servers.values(), *trio.right.servers.values()):
        server.seconds_until(busy_slots=0, within_s=PROMPT_WITHIN_S)
    for each in (trio.left, trio.right):
        wait_until(lambda each=each: not each.servers["slow"].callers(), PROMPT_WITHIN_S)  # no kept one either


@pytest.mark.parametrize("round_", range(3))
def test_the_llm_of_the_loser_stops_while_that_of_the_winner_goes_on(
    trio: Trio, measured: Measured, round_: int
) -> None:
    with answered(trio.requester, "endless", STREAM) as answer:
        loser = trio.other(answer.headers["X-Masa-Served-By"])
        took_s = loser.servers["endless"].seconds_until(busy_slots=0, within_s=FREED_WITHIN_S)
        assert trio.other(loser.node_id).servers["endless"].busy_slots() == 1
        assert attempts(answer.headers["X-Masa-Attempts"])[loser.node_id] == "cancelled"
        for _ in range(5):
            assert answer.read1()
    measured("the loser's slot is idle after the win", took_s, FREED_WITHIN_S)


def test_the_connection_of_the_slow_loser_is_gone_soon_after_the_win(trio: Trio, measured: Measured) -> None:
    slow = trio.right.servers["slow"]
    with answered(trio.requester, "late", {"messages": LONG * 2, "stream": True}) as answer:
        won_at_s = time.monotonic()
        assert answer.headers["X-Masa-Served-By"] == trio.left.node_id
        assert attempts(answer.headers["X-Masa-Attempts"])[trio.right.node_id] == "cancelled"
        wait_until(lambda: not slow.callers(), CANCELLED_WITHIN_S)
        took_s = time.monotonic() - won_at_s
        assert answer.read1()
    measured("nobody waits any more for the slow loser after the win", took_s, CANCELLED_WITHIN_S)


def test_a_caller_who_hangs_up_in_the_stream_stops_all(trio: Trio, measured: Measured) -> None:
    with answered(trio.requester, "endless", STREAM) as answer:
        for _ in range(20):
            assert answer.read1()
        winner = trio.supplier(answer.headers["X-Masa-Served-By"])
        assert winner.servers["endless"].busy_slots() == 1
    took_s = winner.servers["endless"].seconds_until(busy_slots=0, within_s=FREED_WITHIN_S)
    assert trio.other(winner.node_id).servers["endless"].busy_slots() == 0
    measured("the winner's slot is idle after the caller hung up", took_s, FREED_WITHIN_S)


@pytest.mark.parametrize("is_stream", [True, False])
def test_a_caller_who_hangs_up_before_the_first_piece_stops_both(
    trio: Trio, measured: Measured, *, is_stream: bool
) -> None:
    servers = [each.servers["slow"] for each in (trio.left, trio.right)]
    with asked(trio.requester, "tardy", {"messages": LONG * 2, "stream": is_stream, "max_tokens": 20}):
        for server in servers:
            server.seconds_until(busy_slots=1, within_s=20)
    took_s = wait_until(lambda: not any(server.callers() for server in servers), CANCELLED_WITHIN_S)
    measured("both peers' LLMs are left after the caller", took_s, CANCELLED_WITHIN_S)
    for server in servers:
        server.seconds_until(busy_slots=0, within_s=PROMPT_WITHIN_S)


def test_twenty_races_leave_nothing_at_work(trio: Trio) -> None:
    servers = [each.servers["endless"] for each in (trio.left, trio.right)]
    for number in range(20):
        with answered(trio.requester, "endless", {"messages": HELLO, "stream": True}) as answer:
            for _ in itertools.repeat(None, number % 3):
                answer.read1()
    for server in servers:
        server.seconds_until(busy_slots=0, within_s=FREED_WITHIN_S)
    for node in (trio.requester, trio.left.node, trio.right.node):
        wait_until(lambda node=node: at_work(node) == (0, 0, 0), FREED_WITHIN_S)


def at_work(node: Node) -> tuple[int, int, int]:
    view = node.get("/api/v1/node")
    return view["running"], view["waiting"], view["peers_running"]
