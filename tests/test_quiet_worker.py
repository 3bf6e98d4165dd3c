from typing import Any

import pytest
from pytest_rerunfailures import SocketDB, StatusDB

from tests.quiet_worker import WORTH_TELLING_S, tell_less


class Interactor:
    """Stands for xdist's."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def sendevent(self, name: str, **about: Any) -> None:  # noqa: ANN401 - xdist's own
        data = about.get("data", {})
        self.told.append(" ".join([name, *(str(value) for value in data.values())]))


def report(when: str, outcome: str = "passed", duration: float = 0.001) -> dict[str, Any]:
    return {"when": when, "outcome": outcome, "duration": duration}


def told_by(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch, verbose: int = 0) -> list[str]:
    interactor = Interactor()
    monkeypatch.setattr(pytestconfig.pluginmanager, "get_plugins", lambda: {interactor})
    monkeypatch.setattr(pytestconfig.option, "verbose", verbose)
    monkeypatch.setattr(pytestconfig, "failures_db", StatusDB())
    tell_less(pytestconfig)
    for when in ("setup", "call", "teardown"):
        interactor.sendevent("testreport", data=report(when))
    for event in ("logstart", "logfinish", "runtest_protocol_complete", "workerfinished"):
        interactor.sendevent(event)
    interactor.sendevent("testreport", data=report("setup", "failed"))
    interactor.sendevent("testreport", data=report("setup", "skipped"))
    interactor.sendevent("testreport", data=report("teardown", "rerun"))
    interactor.sendevent("testreport", data=report("teardown", duration=WORTH_TELLING_S))
    return interactor.told


def test_of_a_test_that_passes_its_end_is_told_and_of_all_else_everything(
    pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told_by(pytestconfig, monkeypatch) == [
        "testreport call passed 0.001",
        "runtest_protocol_complete",
        "workerfinished",
        "testreport setup failed 0.001",
        "testreport setup skipped 0.001",
        "testreport teardown rerun 0.001",
        "testreport teardown passed 0.005",
    ]


def test_where_much_is_printed_everything_is_told(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(told_by(pytestconfig, monkeypatch, verbose=1)) == 11


def test_nobody_is_asked_how_often_a_worker_died(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pytestconfig.pluginmanager, "get_plugins", set)
    asking = SocketDB()
    monkeypatch.setattr(pytestconfig, "failures_db", asking)
    tell_less(pytestconfig)
    assert type(pytestconfig.failures_db) is StatusDB  # type: ignore[attr-defined] - the plugin's
    assert asking.sock.fileno() == -1
