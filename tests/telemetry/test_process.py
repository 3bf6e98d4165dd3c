"""What the system says of this process, under the names and with the values of Prometheus' own client."""

import os
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from masa_node.telemetry.process import process_lines
from tests.telemetry.reference_metrics import samples_of


def ours(proc: Path = Path("/proc")) -> bytes:
    return "".join(process_lines(proc)).encode()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
def test_names_kinds_and_values_are_those_of_the_client() -> None:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    before, own, after = (samples_of(text) for text in (generate_latest(registry), ours(), generate_latest(registry)))
    assert list(own) == list(before)
    exact = {key for key in own if key[0] in {"process_start_time_seconds", "process_max_fds", "python_info"}}
    assert {key: own[key] for key in exact} == {key: before[key] for key in exact}
    (cpu,) = (key for key in own if key[0] == "process_cpu_seconds_total")
    assert before[cpu] <= own[cpu] <= after[cpu]
    heads = [line for line in generate_latest(registry).decode().splitlines() if line.startswith("#")]
    assert [line for line in ours().decode().splitlines() if line.startswith("#")] == heads


def test_the_numbers_are_read_where_the_system_has_them(tmp_path: Path) -> None:
    (tmp_path / "self" / "fd").mkdir(parents=True)
    for name in "012":
        (tmp_path / "self" / "fd" / name).touch()
    fields = [str(n) for n in range(3, 53)]  # each says which of proc(5)'s it is
    (tmp_path / "self" / "stat").write_text(f"1 (a) b) {' '.join(fields)}\n")
    (tmp_path / "self" / "limits").write_text(
        "Limit  Soft  Hard  Units\nMax open files            64     128     files\n"
    )
    (tmp_path / "stat").write_text("cpu 1 2 3\nbtime 1000\nprocesses 5\n")
    found = {name: value for (name, _), value in samples_of(ours(tmp_path)).items()}
    ticks = os.sysconf("SC_CLK_TCK")
    assert found == {
        "process_virtual_memory_bytes": 23,
        "process_resident_memory_bytes": 24 * os.sysconf("SC_PAGE_SIZE"),
        "process_start_time_seconds": 1000 + 22 / ticks,
        "process_cpu_seconds_total": 14 / ticks + 15 / ticks,
        "process_open_fds": 3,
        "process_max_fds": 64,
        "python_info": 1,
    }


def test_a_system_that_tells_nothing_leaves_what_python_knows(tmp_path: Path) -> None:
    assert [name for name, _ in samples_of(ours(tmp_path))] == ["python_info"]
