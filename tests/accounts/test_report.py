"""What a report tells apart, and in which order."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import msgspec
import pytest

from masa_node.accounts import report
from masa_node.accounts.ledger import MIGRATIONS, _add
from masa_node.accounts.report import By, UsageLine, UsageQuery, Used, day_text, days_of, groups_of, lines_of
from masa_node.accounts.usage import DAY_S, Account, Sums, account_of
from masa_node.chat.outcome import Outcome
from tests.fakes.outcomes import by_peer, outcome

P, Q = "p" * 64, "q" * 64
OUTCOMES: tuple[tuple[int, Outcome], ...] = (
    (1, outcome(key="alice")),
    (1, outcome(key="alice", model="n", output_tokens=None)),
    (1, outcome(key="alice", error="x")),
    (2, outcome(key="bob", input_tokens=None, output_tokens=None, first_piece_s=None)),
    (2, outcome(requester=P)),
    (2, by_peer(Q, key="bob")),
    (2, by_peer(P, key="alice")),
)


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(MIGRATIONS[0])
        accounts: dict[Account, Sums] = {}
        for day, each in OUTCOMES:
            ended = msgspec.structs.replace(each, ended_at_unix_ns=day * DAY_S * 10**9)
            accounts.setdefault(account_of(ended), Sums()).add(each)
        _add(connection, accounts)
        yield connection


def told(lines: list[UsageLine], *names: str) -> list[tuple[object, ...]]:
    return [(*(getattr(line, name) for name in names), line.requests) for line in lines]


def test_by_key(connection: sqlite3.Connection) -> None:
    lines = lines_of(connection, UsageQuery((By.KEY,)))
    assert told(lines, "key", "errors") == [("alice", 1, 4), ("bob", 0, 2), ("", 0, 1)]


def test_by_day_from_the_newest(connection: sqlite3.Connection) -> None:
    lines = lines_of(connection, UsageQuery((By.DAY,)))
    assert told(lines, "day") == [("1970-01-03", 4), ("1970-01-02", 3)]
    assert day_text(2) == "1970-01-03"


def test_by_peer_both_directions_stand_beside_each_other(connection: sqlite3.Connection) -> None:
    lines = lines_of(connection, UsageQuery((By.PEER,)))
    assert told(lines, "peer", "use") == [("", "own", 4), (P, "ours", 1), (P, "theirs", 1), (Q, "ours", 1)]


def test_by_several(connection: sqlite3.Connection) -> None:
    lines = lines_of(connection, UsageQuery((By.MODEL, By.KEY, By.MODEL)))
    assert ("n", "alice", 1) in told(lines, "model", "key")
    assert sum(line.requests for line in lines) == len(OUTCOMES)


def test_by_provider(connection: sqlite3.Connection) -> None:
    assert ("llm", 5) in told(lines_of(connection, UsageQuery((By.PROVIDER,))), "provider")


def test_by_nothing_all_is_one_line(connection: sqlite3.Connection) -> None:
    (line,) = lines_of(connection, UsageQuery(()))
    assert (line.requests, line.input_unknown, line.output_unknown) == (7, 1, 2)


def test_of_nothing_there_is_no_line(connection: sqlite3.Connection) -> None:
    assert lines_of(connection, UsageQuery((), since_day=9)) == []


def test_since_a_day_and_of_one_key(connection: sqlite3.Connection) -> None:
    lines = lines_of(connection, UsageQuery((By.MODEL,), since_day=2, key="alice"))
    assert told(lines, "model") == [("m", 1)]


def test_what_no_llm_said_is_null_and_never_nought(connection: sqlite3.Connection) -> None:
    lines = lines_of(connection, UsageQuery((By.PROVIDER,), key="bob"))
    (line,) = (each for each in lines if each.provider == "llm")
    assert (line.input_tokens, line.output_tokens, line.first_piece_ms) == (None, None, None)
    assert (line.input_unknown, line.output_unknown) == (1, 1)


def test_the_first_piece_is_a_mean(connection: sqlite3.Connection) -> None:
    (line,) = lines_of(connection, UsageQuery((By.MODEL,), key="alice", since_day=2))
    assert line.first_piece_ms == 25.6


def test_how_far_back_counts_today() -> None:
    assert [days_of(text) for text in ("1d", "7D", " 2w ")] == [1, 7, 14]


@pytest.mark.parametrize("text", ["", "0d", "7", "7h", "401d", "-1d", "1.5d", "9999w"])
def test_another_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not valid"):
        days_of(text)


@pytest.mark.parametrize("text", ["", "keys", "key;model", "key,cost"])
def test_another_group_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not valid"):
        groups_of(text)


# ---- costs ----


def price(used: Used) -> float | None:
    """A dollar an output token, of the own LLM and for its model "m" alone."""
    return float(used.output_tokens) if (used.model, used.provider, used.is_peer) == ("m", "llm", False) else None


def costs(connection: sqlite3.Connection, *by: By) -> dict[object, tuple[object, object]]:
    lines = lines_of(connection, UsageQuery(by), price)
    return {getattr(line, by[0]) if by else None: (line.cost_usd, line.cost_unknown) for line in lines}


def test_each_line_has_its_cost_and_the_requests_that_come_on_top(connection: sqlite3.Connection) -> None:
    assert costs(connection, By.KEY) == {
        "alice": (10.0, 2),  # one of another model, and one that a peer answered
        "bob": (0.0, 2),  # one without tokens, and one that a peer answered
        "": (5.0, 0),
    }
    assert costs(connection, By.MODEL) == {"m": (15.0, 3), "n": (None, 1)}
    assert costs(connection) == {None: (15.0, 4)}


def test_by_peer_both_directions_have_costs_of_their_own(connection: sqlite3.Connection) -> None:
    lines = lines_of(connection, UsageQuery((By.PEER,)), price)
    found = {(line.peer, line.use): (line.cost_usd, line.cost_unknown) for line in lines}
    assert found == {("", "own"): (10.0, 2), (P, "ours"): (None, 1), (P, "theirs"): (5.0, 0), (Q, "ours"): (None, 1)}


def test_what_nobody_answered_costs_nothing(connection: sqlite3.Connection) -> None:
    _add(connection, {Account(3, "carol", "", "m", "", is_peer=False): Sums(requests=2, errors=2)})
    assert costs(connection, By.KEY)["carol"] == (0.0, 0)


def test_what_is_beyond_the_bound_has_no_price(connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "MAX_PRICED", 1)
    assert costs(connection, By.KEY) == {"alice": (10.0, 2), "bob": (None, 2), "": (None, 1)}


def test_without_prices_no_line_says_anything_of_costs(connection: sqlite3.Connection) -> None:
    assert b"cost" not in msgspec.json.encode(lines_of(connection, UsageQuery((By.KEY,))))
