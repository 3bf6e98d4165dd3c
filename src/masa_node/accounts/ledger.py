"""The ledger: what each key, peer, model and provider came to on each day, kept in MASA_DIR/usage.sqlite3.

A file of its own, not the network's: that one is watched for changes once a second, and this one is there without a
network, too. Nothing here raises: what cannot be written now stays in memory, bounded, and is written later.
"""

import asyncio
import sqlite3
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog
from msgspec.structs import astuple

from masa_node.accounts.report import Found, Price, UsageLine, UsageQuery, found_in, lines_of, priced
from masa_node.accounts.usage import Account, Sums, account_of
from masa_node.chat.errors import ConfigurationError
from masa_node.chat.outcome import Outcome
from masa_node.storage.database import Database, StoreFailed, reading

FILE_NAME = "usage.sqlite3"
WRITE_EVERY_S = 1.0  # a process that is killed loses no more than this
REOPEN_EVERY_S = 5.0
LAST_WRITE_S = 5.0  # when the node ends; the file is closed then, which is bounded, too
DAYS_KEPT = 400  # a year, and the month that it is compared with
MAX_ACCOUNTS = 10_000  # a day: names of models may be any where a server has no list; the rest is summed as "(other)"

_V1 = """
CREATE TABLE usage (
    day INTEGER NOT NULL, key TEXT NOT NULL, requester TEXT NOT NULL, model TEXT NOT NULL, provider TEXT NOT NULL,
    is_peer INTEGER NOT NULL, requests INTEGER NOT NULL, errors INTEGER NOT NULL, cancelled INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, input_unknown INTEGER NOT NULL,
    output_unknown INTEGER NOT NULL, first_pieces INTEGER NOT NULL, first_piece_s REAL NOT NULL, total_s REAL NOT NULL,
    PRIMARY KEY (day, key, requester, model, provider, is_peer)
) WITHOUT ROWID
"""
MIGRATIONS = (_V1,)
_COLUMNS, _FIELDS = Account.__struct_fields__, tuple(Sums.__slots__)
_UPSERT = (
    f"INSERT INTO usage VALUES ({', '.join('?' * (len(_COLUMNS) + len(_FIELDS)))})"  # noqa: S608 - constants
    f" ON CONFLICT DO UPDATE SET {', '.join(f'{name} = {name} + excluded.{name}' for name in _FIELDS)}"
)
_IS_THERE = f"SELECT 1 FROM usage WHERE {' AND '.join(f'{name} = ?' for name in _COLUMNS)}"  # noqa: S608 - the same
# Counted from the newest day but one: a clock that is years ahead for a day takes nothing away.
_FORGET = "DELETE FROM usage WHERE day < (SELECT max(day) FROM usage WHERE day < (SELECT max(day) FROM usage)) - ?"

log = structlog.get_logger()


class Ledger:
    """`run` it in a task; `observe` takes each outcome, and costs no I/O."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: dict[Account, Sums] = {}
        self._has_more = asyncio.Event()
        self._opening = asyncio.Lock()
        self._pricing_turn = asyncio.Lock()
        self._pricing = ThreadPoolExecutor(1, "prices")  # of its own: neither a write nor the loop waits for it
        self._database: Database | None = None
        self._reopen_at_s = 0.0
        self._is_failing = False

    def observe(self, outcome: Outcome) -> None:
        """Count one request, on the day on which it ended."""
        account = account_of(outcome)
        sums = self._waiting.get(account)
        if sums is None:
            sums = self._new(account)
            self._has_more.set()
        sums.add(outcome)

    async def run(self) -> None:
        """Write what was counted, once in WRITE_EVERY_S at most, until cancelled; the rest is written then, too."""
        try:
            while True:
                await self._has_more.wait()
                await asyncio.sleep(WRITE_EVERY_S)
                self._has_more.clear()
                await self._write()
        finally:
            await asyncio.shield(self._finish())

    async def report(self, query: UsageQuery, price: Price | None = None) -> list[UsageLine]:
        """What was counted, up to now, with `price` what it cost. That is called in a thread. Raises `StoreFailed`."""
        if price is None:
            return (await self._found(query, has_costs=False)).lines
        async with self._pricing_turn:  # one at a time: what is found may be large
            found = await self._found(query, has_costs=True)
            return await asyncio.wrap_future(self._pricing.submit(priced, found, price))

    async def _found(self, query: UsageQuery, *, has_costs: bool) -> Found:
        database = await self._opened()
        waiting = dict(self._waiting)

        def job(connection: sqlite3.Connection) -> Found:
            connection.execute("SAVEPOINT report")
            _add(connection, waiting)  # seen here, and written in its own time
            found = found_in(connection, query, has_costs=has_costs)
            connection.execute("ROLLBACK TO report")
            return found

        return await database.write(job)

    def _new(self, account: Account) -> Sums:
        if len(self._waiting) >= MAX_ACCOUNTS:
            account = account.folded()
        return self._waiting.setdefault(account, Sums())

    async def _finish(self) -> None:
        try:
            async with asyncio.timeout(LAST_WRITE_S):
                await self._write()
        except TimeoutError:
            log.warning("the disk does not answer: usage is not saved", after_s=LAST_WRITE_S)
        if self._database is not None:
            await self._database.close()
        self._pricing.shutdown(wait=False, cancel_futures=True)

    async def _write(self) -> None:
        """What fails stays where it is, and is tried again with what comes next."""
        if not self._waiting:
            return
        writing: dict[Account, Sums] = {}
        try:
            database = await self._opened()
            if not database.is_kept and not await self._reopened(database):
                self._has_more.set()
                return
            writing, self._waiting = self._waiting, {}
            await database.write(lambda connection: _keep(connection, writing))
            self._is_failing = False
        except (StoreFailed, ConfigurationError) as exc:
            self._put_back(writing)
            self._has_more.set()
            if not self._is_failing:  # one line until it works again
                log.warning("usage is not saved for now", why=exc.message)
            self._is_failing = True

    def _put_back(self, sums: Mapping[Account, Sums]) -> None:
        for account, part in sums.items():
            (self._waiting.get(account) or self._new(account)).merge(part)

    async def _opened(self) -> Database:
        """The file is made when there is something to write: a node that nobody asks leaves none."""
        async with self._opening:
            if self._database is None:
                self._database = await Database.open(self._path, MIGRATIONS)
            return self._database

    async def _reopened(self, database: Database) -> bool:
        now_s = asyncio.get_running_loop().time()
        if now_s < self._reopen_at_s:
            return False
        self._reopen_at_s = now_s + REOPEN_EVERY_S
        is_open = await database.reopen()
        if is_open:
            log.warning("usage is saved again", path=str(self._path))
        return is_open


def read_usage(masa_dir: Path, query: UsageQuery, price: Price | None = None) -> list[UsageLine]:
    """As another process sees the ledger of a node that may be running: up to a second old. Blocking.

    There may be none yet. Raises `StoreFailed`; `ConfigurationError` when a newer version of the program wrote it.
    """
    with reading(masa_dir / FILE_NAME, MIGRATIONS) as connection:
        return lines_of(connection, query, price) if connection is not None else []


def _keep(connection: sqlite3.Connection, sums: Mapping[Account, Sums]) -> None:
    _add(connection, sums)
    connection.execute(_FORGET, (DAYS_KEPT,))


def _add(connection: sqlite3.Connection, sums: Mapping[Account, Sums]) -> None:
    counts: dict[int, int] = {}
    for account, part in sums.items():
        if connection.execute(_IS_THERE, astuple(account)).fetchone() is None:
            if account.day not in counts:
                found = connection.execute("SELECT count(*) FROM usage WHERE day = ?", (account.day,)).fetchone()
                counts[account.day] = int(found[0])
            if counts[account.day] >= MAX_ACCOUNTS:
                account = account.folded()  # noqa: PLW2901 - where this part goes
            counts[account.day] += 1
        connection.execute(_UPSERT, (*astuple(account), *(getattr(part, name) for name in _FIELDS)))
