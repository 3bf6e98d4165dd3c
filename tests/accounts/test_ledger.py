"""Sums that last: what was observed is in the file, once, however the disk and the process behave."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from masa_node.accounts import ledger as ledger_module
from masa_node.accounts.ledger import DAYS_KEPT, FILE_NAME, MIGRATIONS, Ledger, read_usage
from masa_node.accounts.report import By, UsageQuery, Used, day_text
from masa_node.accounts.usage import DAY_S
from masa_node.chat.errors import ConfigurationError
from masa_node.storage import database as database_module
from masa_node.storage.database import Database, StoreFailed
from tests.fakes.llm_server import until as until_within
from tests.fakes.outcomes import outcome

ALL = UsageQuery(by=())
NOON_UNIX_NS = (20_000 * DAY_S + 43_200) * 10**9


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "WRITE_EVERY_S", 0.0)
    monkeypatch.setattr(ledger_module, "REOPEN_EVERY_S", 0.0)


def requests_in(masa_dir: Path) -> int:
    return sum(line.requests for line in read_usage(masa_dir, ALL))


async def until(is_so: Callable[[], bool]) -> None:
    await until_within(is_so, within_s=20.0)


async def written(ledger: Ledger) -> None:
    """Run it until it has written what waits."""
    running = asyncio.ensure_future(ledger.run())
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.usefixtures("quick")
async def test_what_was_observed_can_be_read_by_another_process_while_the_node_runs(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / FILE_NAME)
    running = asyncio.ensure_future(ledger.run())
    for _ in range(3):
        ledger.observe(outcome())
    await until(lambda: requests_in(tmp_path) == 3)
    ledger.observe(outcome())
    await until(lambda: requests_in(tmp_path) == 4)
    running.cancel()


async def test_a_report_has_what_is_not_written_yet_and_counts_it_once(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / FILE_NAME)
    ledger.observe(outcome())
    for _ in range(2):
        assert [line.requests for line in await ledger.report(ALL)] == [1]
    assert requests_in(tmp_path) == 0
    await written(ledger)
    assert requests_in(tmp_path) == 1


@pytest.mark.parametrize("is_kept", [True, False])
async def test_looking_prices_up_holds_up_neither_the_loop_nor_the_ledger(tmp_path: Path, *, is_kept: bool) -> None:
    """It takes seconds where names of models are made up, and a node whose MASA_DIR is broken has no thread for it."""
    (tmp_path / "a file").touch()
    ledger = Ledger((tmp_path if is_kept else tmp_path / "a file") / FILE_NAME)
    ledger.observe(outcome())
    looked_up, may_go_on = threading.Event(), threading.Event()
    was_freed: list[bool] = []

    def price(used: Used) -> float:
        looked_up.set()
        was_freed.append(may_go_on.wait(20))
        return float(used.requests)

    asked = [asyncio.ensure_future(ledger.report(ALL, price)) for _ in range(2)]
    await until(looked_up.is_set)
    assert [line.requests for line in await ledger.report(ALL)] == [1]
    may_go_on.set()
    assert [line.cost_usd for report in asked for line in await report] == [1.0, 1.0]
    assert was_freed == [True, True]
    await written(ledger)


async def test_what_waits_is_written_when_the_node_ends(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / FILE_NAME)
    ledger.observe(outcome())
    await written(ledger)
    assert requests_in(tmp_path) == 1


async def test_a_disk_that_hangs_does_not_keep_the_node_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go_on = threading.Event()
    monkeypatch.setattr(ledger_module, "LAST_WRITE_S", 0.01)
    monkeypatch.setattr(database_module, "CLOSE_S", 0.01)
    monkeypatch.setattr(ledger_module, "_add", lambda *_: may_go_on.wait(60))
    ledger = Ledger(tmp_path / FILE_NAME)
    ledger.observe(outcome())
    try:
        with capture_logs() as lines:
            await written(ledger)
    finally:
        may_go_on.set()
    assert "usage is not saved" in lines[0]["event"]


async def test_a_node_that_nobody_asks_makes_no_file(tmp_path: Path) -> None:
    await written(Ledger(tmp_path / FILE_NAME))
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240
    assert read_usage(tmp_path, ALL) == []


async def test_a_second_run_adds_to_the_first(tmp_path: Path) -> None:
    for _ in range(2):
        ledger = Ledger(tmp_path / FILE_NAME)
        ledger.observe(outcome(ended_at_unix_ns=NOON_UNIX_NS))
        await written(ledger)
    (line,) = read_usage(tmp_path, UsageQuery(by=(By.DAY,)))
    assert (line.day, line.requests, line.input_tokens) == ("2024-10-04", 2, 14)


async def days_after_requests_on(masa_dir: Path, *days: int) -> list[int]:
    """Those that the ledger has then, the newest first, each as so many days after the first."""
    for day in days:
        ledger = Ledger(masa_dir / FILE_NAME)
        ledger.observe(outcome(ended_at_unix_ns=NOON_UNIX_NS + day * DAY_S * 10**9))
        await written(ledger)
    first = date.fromisoformat(day_text(NOON_UNIX_NS // 10**9 // DAY_S))
    lines = read_usage(masa_dir, UsageQuery(by=(By.DAY,)))
    return [(date.fromisoformat(line.day or "") - first).days for line in lines]


async def test_days_beyond_those_kept_go(tmp_path: Path) -> None:
    last = DAYS_KEPT + 1
    assert await days_after_requests_on(tmp_path, 0, 1, last, last + 1) == [last + 1, last, 1]


async def test_a_clock_that_is_wrong_for_a_day_takes_nothing_away(tmp_path: Path) -> None:
    """A battery that is empty, a bad answer of a time server: years ahead or back, until somebody sets it right."""
    ahead, back = 5 * DAYS_KEPT, -5 * DAYS_KEPT
    assert await days_after_requests_on(tmp_path, 0, 1, ahead, back, 2) == [ahead, 2, 1, 0]


async def test_models_beyond_the_bound_are_summed_together_under_their_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "MAX_ACCOUNTS", 3)
    for first in (0, 10, 20):
        ledger = Ledger(tmp_path / FILE_NAME)
        for number in range(first, first + 10):
            ledger.observe(outcome(model=f"m{number}", key="alice"))
        assert len(ledger._waiting) <= 4
        await written(ledger)
    lines = read_usage(tmp_path, UsageQuery(by=(By.KEY, By.MODEL)))
    assert {line.key for line in lines} == {"alice"}
    assert len(lines) <= 5
    assert sum(line.requests for line in lines) == 30


@pytest.mark.usefixtures("quick")
async def test_at_whatever_step_of_a_write_a_request_ends_it_is_written_by_the_next(tmp_path: Path) -> None:
    ledger, count = Ledger(tmp_path / FILE_NAME), 0
    running = asyncio.ensure_future(ledger.run())
    for steps in range(12):
        for _ in range(2):
            ledger.observe(outcome())
            count += 1
            for _ in range(steps):
                await asyncio.sleep(0)
        await until(lambda: requests_in(tmp_path) == count)  # noqa: B023 - called at once
    running.cancel()


# ---- disks that fail ----


@pytest.mark.usefixtures("quick")
async def test_what_cannot_be_written_waits_until_it_can(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    ledger = Ledger(tmp_path / FILE_NAME)
    with capture_logs() as lines:
        running = asyncio.ensure_future(ledger.run())
        ledger.observe(outcome())
        await until(lambda: bool(lines))
        assert [line.requests for line in await ledger.report(ALL)] == [1]
        (tmp_path / FILE_NAME).rmdir()
        await until(lambda: any(line["event"] == "usage is saved again" for line in lines))
        ledger.observe(outcome())
        await until(lambda: requests_in(tmp_path) == 2)
        running.cancel()
    assert [line["event"] for line in lines] == ["what is written here will not be saved", "usage is saved again"]


@pytest.mark.usefixtures("quick")
async def test_a_write_that_fails_is_tried_again_whole_and_reported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "BUSY_S", 0.01)
    ledger = Ledger(tmp_path / FILE_NAME)
    await ledger.report(ALL)  # which makes the file
    with capture_logs() as lines:
        with closing(sqlite3.connect(tmp_path / FILE_NAME)) as other:
            other.execute("BEGIN IMMEDIATE")
            running = asyncio.ensure_future(ledger.run())
            ledger.observe(outcome())
            await until(lambda: bool(lines))
            ledger.observe(outcome())
            ledger.observe(outcome(model="another"))
        await until(lambda: requests_in(tmp_path) == 3)
        running.cancel()
    assert [line["event"] for line in lines] == ["usage is not saved for now"]


async def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    await (await Database.open(tmp_path / FILE_NAME, (*MIGRATIONS, "CREATE TABLE more (x)"))).close()
    ledger = Ledger(tmp_path / FILE_NAME)
    ledger.observe(outcome())
    with capture_logs() as lines:
        await written(ledger)
    assert "newer masa-node" in lines[0]["why"]
    with pytest.raises(ConfigurationError, match="newer"):
        read_usage(tmp_path, ALL)


def test_a_file_that_is_no_ledger_cannot_be_read_and_stays(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"x" * 5_000)
    with pytest.raises(StoreFailed, match=r"usage\.sqlite3"):
        read_usage(tmp_path, ALL)
    assert (tmp_path / FILE_NAME).read_bytes() == b"x" * 5_000


async def test_counting_needs_no_more_memory_however_much_is_counted(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / FILE_NAME)
    one = outcome()
    for _ in range(100_000):
        ledger.observe(one)
    assert len(ledger._waiting) == 1
