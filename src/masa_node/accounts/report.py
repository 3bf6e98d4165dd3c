"""Questions about the ledger, and their answers: sums by what the reader wants to tell apart."""

import re
import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from masa_node.accounts.usage import DAY_S

MAX_LINES = 10_000  # of one answer; those with the most requests
MAX_DAYS = 400  # as long as the ledger keeps them
_DAYS = {"d": 1, "w": 7}
MAX_PRICED = 20_000  # parts of one answer: a second or two of work; the rest has no price
_PRICED_DAYS = 30  # so long one price holds: a sum for each day of a year would be many
_COST_DIGITS = 6  # of a dollar


class By(StrEnum):
    """What a report tells apart."""

    DAY = "day"
    KEY = "key"
    MODEL = "model"
    PROVIDER = "provider"
    PEER = "peer"


# Of `peer`: which way it went. A peer's request never goes on to another peer, so that each is one of these.
_PEER = "CASE WHEN requester <> '' THEN requester WHEN is_peer THEN provider ELSE '' END"
_USE = "CASE WHEN requester <> '' THEN 'theirs' WHEN is_peer THEN 'ours' ELSE 'own' END"
_COLUMNS: dict[By, tuple[str, ...]] = {
    By.DAY: ("day",),
    By.KEY: ("key",),
    By.MODEL: ("model",),
    By.PROVIDER: ("provider",),
    By.PEER: (f"{_PEER} AS peer", f"{_USE} AS use"),
}


class UsageQuery(msgspec.Struct, frozen=True):
    """`since_day` is the first day that counts, in days since 1970 (UTC). `key`: only what was asked by this one."""

    by: tuple[By, ...] = (By.KEY, By.MODEL)
    since_day: int = 0
    key: str | None = None


class Used(NamedTuple):
    """What one LLM server (or peer) did with one model, up to this day. `unknown`: requests without all tokens."""

    day: int
    model: str
    provider: str
    is_peer: bool
    requests: int
    unknown: int
    input_tokens: int
    output_tokens: int


Price = Callable[[Used], float | None]  # in US dollars; None: there is no price for it
Group = tuple[object, ...]  # what the lines tell apart, of one line


class _Cost:
    """Of one line."""

    def __init__(self) -> None:
        self.known_usd: float | None = None
        self.known_requests = 0

    def add(self, used: Used, price: Price) -> None:
        """What nobody answered costs nothing."""
        usd = price(used) if used.provider else 0.0
        if usd is not None:
            self.known_usd = (self.known_usd or 0.0) + usd
            self.known_requests += used.requests - used.unknown

    def fields(self, requests: int) -> dict[str, object]:
        """As a line of so many requests has them."""
        usd = None if self.known_usd is None else round(self.known_usd, _COST_DIGITS)
        return {"cost_usd": usd, "cost_unknown": requests - self.known_requests}


class UsageLine(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The sums of one group; what was not asked to be told apart is None, and left out.

    `use` says which way it went: `ours` (this node used the peer), `theirs` (the peer used this node), `own`. Tokens
    are null where no LLM said how many; `input_unknown` and `output_unknown` are the requests without. `first_piece_ms`
    is the mean, `seconds` is the time that all of them took. `cost_usd` is there where it was asked for: null where
    there is no price; `cost_unknown` are the requests that come on top of it.
    """

    day: str | None = None
    key: str | None = None
    model: str | None = None
    provider: str | None = None
    peer: str | None = None
    use: str | None = None
    requests: int
    errors: int
    cancelled: int
    input_tokens: int | None
    output_tokens: int | None
    input_unknown: int
    output_unknown: int
    first_piece_ms: float | None
    seconds: float
    cost_usd: float | UnsetType | None = UNSET
    cost_unknown: int | UnsetType = UNSET


_SUMS = (
    "sum(requests), sum(errors), sum(cancelled), sum(input_tokens), sum(output_tokens), sum(input_unknown),"
    " sum(output_unknown), sum(first_pieces), sum(first_piece_s), sum(total_s)"
)
_USED = (
    "max(day), model, provider, is_peer, sum(requests), sum(max(input_unknown, output_unknown)), sum(input_tokens),"
    " sum(output_tokens)"
)


class Found(NamedTuple):
    """What the ledger holds of an answer: its lines, the group of each, and what was used in which group."""

    lines: list[UsageLine]
    groups: list[Group]
    used: list[tuple[Group, Used]]


def lines_of(connection: sqlite3.Connection, query: UsageQuery, price: Price | None = None) -> list[UsageLine]:
    """The answer, at most MAX_LINES: by day from the newest, else those with the most requests first.

    With `price` each line has its cost.
    """
    found = found_in(connection, query, has_costs=price is not None)
    return found.lines if price is None else priced(found, price)


def found_in(connection: sqlite3.Connection, query: UsageQuery, *, has_costs: bool) -> Found:
    """The same in two parts, the first of which takes the ledger, and the second most of the time."""
    by = tuple(dict.fromkeys(query.by))
    columns = [column for each in by for column in _COLUMNS[each]]
    names = [column.rpartition(" AS ")[2] for column in columns]
    order = ", ".join([*(["day DESC"] if By.DAY in by else []), "sum(requests) DESC", *names])
    rows = _selected(connection, query, [*columns, _SUMS], [*names] or ["NULL"], f"ORDER BY {order} LIMIT {MAX_LINES}")
    groups = [tuple(row[: len(names)]) for row in rows]
    used = _used(connection, query, columns, names) if has_costs else []
    return Found([_line(names, row) for row in rows], groups, used)


def priced(found: Found, price: Price) -> list[UsageLine]:
    """The lines with their costs: a second or two of work where much was found."""
    costs: dict[Group, _Cost] = {}
    for group, used in found.used:
        costs.setdefault(group, _Cost()).add(used, price)
    return [
        msgspec.structs.replace(line, **costs.get(group, _Cost()).fields(line.requests))
        for line, group in zip(found.lines, found.groups, strict=True)
    ]


def _selected(
    connection: sqlite3.Connection, query: UsageQuery, columns: Sequence[str], groups: Sequence[str], rest: str = ""
) -> Sequence[Sequence[Any]]:
    of_key = " AND key = ?" if query.key is not None else ""
    sql = (
        f"SELECT {', '.join(columns)} FROM usage WHERE day >= ?{of_key}"  # noqa: S608 - all are constants
        f" GROUP BY {', '.join(groups)} {rest}"
    )
    values = (query.since_day,) if query.key is None else (query.since_day, query.key)
    return connection.execute(sql, values).fetchall()


def _used(
    connection: sqlite3.Connection, query: UsageQuery, columns: Sequence[str], names: Sequence[str]
) -> list[tuple[Group, Used]]:
    """By group: prices are those of a model at a vendor, whatever the lines tell apart. MAX_PRICED parts."""
    parts = [*names, "model", "provider", "is_peer", f"day / {_PRICED_DAYS}"]
    most = f"ORDER BY sum(requests) DESC LIMIT {MAX_PRICED}"
    rows = _selected(connection, query, [*columns, _USED], parts, most)
    return [(tuple(row[: len(names)]), Used(*row[len(names) :])) for row in rows]


def _line(names: Sequence[str], row: Sequence[Any]) -> UsageLine:
    groups = dict(zip(names, row, strict=False))
    if "day" in groups:
        groups["day"] = day_text(int(str(groups["day"])))
    requests, errors, cancelled, tokens_in, tokens_out, no_in, no_out, pieces, piece_s, total_s = row[len(names) :]
    fields = {
        "requests": requests,
        "errors": errors,
        "cancelled": cancelled,
        "input_tokens": tokens_in if tokens_in or not no_in else None,
        "output_tokens": tokens_out if tokens_out or not no_out else None,
        "input_unknown": no_in,
        "output_unknown": no_out,
        "first_piece_ms": round(1000 * float(str(piece_s)) / int(str(pieces)), 1) if pieces else None,
        "seconds": round(float(str(total_s)), 3),
    }
    return msgspec.convert({**fields, **groups}, UsageLine)


def groups_of(text: str) -> tuple[By, ...]:
    """What people want to be told apart: `key,model`. Raises `ValueError`."""
    words = [part.strip() for part in text.lower().split(",") if part.strip()]
    if not words or any(word not in set(By) for word in words):
        raise ValueError(f"{text[:80]!r} is not valid. It may be: {', '.join(By)}, comma-separated")
    return tuple(By(word) for word in words)


def days_of(text: str) -> int:
    """How many days, today included: `7d`, `4w`. Raises `ValueError`."""
    match = re.fullmatch(r"([0-9]{1,4})([dw])", text.strip().lower())
    days = int(match[1]) * _DAYS[match[2]] if match else 0
    if not 1 <= days <= MAX_DAYS:
        raise ValueError(f"{text[:80]!r} is not valid. Write 1d, 7d or 4w; {MAX_DAYS}d is the limit")
    return days


def day_text(day: int) -> str:
    """As people write it."""
    return datetime.fromtimestamp(day * DAY_S, UTC).strftime("%Y-%m-%d")
