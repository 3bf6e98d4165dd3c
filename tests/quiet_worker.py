"""What workers tell the process that started them: of each test its end, instead of six things.

It reads all that they tell, and took a millisecond of a core for each of twenty thousand tests; where failed ones are
run again, still more.
"""

from collections.abc import Callable
from typing import Any

import pytest
from pytest_rerunfailures import SocketDB, StatusDB

WORTH_TELLING_S = 0.005  # of what a test stands on; less makes no difference in what a directory took
_BEGIN_AND_END = ("logstart", "logfinish")  # of a test; `pytest -v` alone prints something then


def tell_less(config: pytest.Config) -> None:
    """In a worker. Where much is to be printed, only that is left out of which nothing is."""
    _count_no_crashes(config)
    if config.option.verbose > 0:
        return
    for plugin in config.pluginmanager.get_plugins():
        if hasattr(plugin, "sendevent"):  # xdist's
            plugin.sendevent = _only_what_counts(plugin.sendevent)


def _count_no_crashes(config: pytest.Config) -> None:
    """Workers that die end the run (Makefile), and are asked for by nobody: byte by byte, twice for each test."""
    counts = getattr(config, "failures_db", None)
    if isinstance(counts, SocketDB):
        counts.sock.close()
        config.failures_db = StatusDB()  # type: ignore[attr-defined] - pytest-rerunfailures' own, without workers


def _only_what_counts(tell: Callable[..., None]) -> Callable[..., None]:
    def tell_some(event: str, **about: Any) -> None:  # noqa: ANN401 - xdist's own
        if event not in _BEGIN_AND_END and not (event == "testreport" and _is_usual(about["data"])):
            tell(event, **about)

    return tell_some


def _is_usual(report: dict[str, Any]) -> bool:
    """Is it of a quick and successful begin or end, of which nothing is printed or counted?"""
    return report["when"] != "call" and report["outcome"] == "passed" and report["duration"] < WORTH_TELLING_S
