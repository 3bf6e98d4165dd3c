from types import SimpleNamespace
from typing import Any

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


def config_of(plugin: object, verbose: int = 0) -> Any:  # noqa: ANN401 - stands for a worker's
    manager = SimpleNamespace(get_plugins=lambda: {plugin})
    option = SimpleNamespace(verbose=verbose)
    return SimpleNamespace(pluginmanager=manager, option=option, failures_db=StatusDB())


def told_by(verbose: int = 0) -> list[str]:
    interactor = Interactor()
    tell_less(config_of(interactor, verbose))
    for when in ("setup", "call", "teardown"):
        interactor.sendevent("testreport", data=report(when))
    for event in ("logstart", "logfinish", "runtest_protocol_complete", "workerfinished"):
        interactor.sendevent(event)
    interactor.sendevent("testreport", data=report("setup", "failed"))
    interactor.sendevent("testreport", data=report("setup", "skipped"))
    interactor.sendevent("testreport", data=report("teardown", "rerun"))
    interactor.sendevent("testreport", data=report("teardown", duration=WORTH_TELLING_S))
    return interactor.told


def test_of_a_test_that_passes_its_end_is_told_and_of_all_else_everything() -> None:
    assert told_by() == [
        "testreport call passed 0.001",
        "runtest_protocol_complete",
        "workerfinished",
        "testreport setup failed 0.001",
        "testreport setup skipped 0.001",
        "testreport teardown rerun 0.001",
        "testreport teardown passed 0.005",
    ]


def test_where_much_is_printed_everything_is_told() -> None:
    assert len(told_by(verbose=1)) == 11


def test_nobody_is_asked_how_often_a_worker_died() -> None:
    config = config_of(Interactor())
    config.failures_db = asking = SocketDB()
    tell_less(config)
    assert type(config.failures_db) is StatusDB
    assert asking.sock.fileno() == -1
