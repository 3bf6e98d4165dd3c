"""`make bench RIVALS=1`: what is pinned, how it is set up, and the table that comes of it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from string import Template

import pytest

from bench.figures import Figures
from bench.machine.environment import NotInstallable, environment
from bench.rivals.gateways import GATEWAYS, LOCKS, SETTINGS, Gateway, install
from bench.rivals.lock import fits, locked
from bench.rivals.table import BEGIN, END, Entry, table, write
from tests.docs.pages import ROOT

ABOUT = {"cpu": "A CPU", "cores": "2", "kernel": "6.1", "python": "3.11.2 (PGO on)", "run": "A run"}


def figures(**of: dict[str, float]) -> Figures:
    made = Figures()
    for key, values in of.items():
        for name, value in values.items():
            made.add(key, name, value)
    return made


def test_a_row_for_each_that_was_measured_and_a_note_for_each_that_was_not() -> None:
    entries = [
        Entry("nginx", "1.22.1", "C"),
        Entry("slow", "2.0", "Python", is_rewriting=True, has_few_streams=True),
        Entry("gone", "", "Rust", why_not="no wheel for this machine"),
        Entry("masa", "0.1.0", "Python"),
    ]
    measured = figures(
        requests={"nginx": 30_000.0, "slow": 60.0, "masa": 8_000.0},
        cpu_request={"nginx": 34.0, "slow": 13_000.0, "masa": 130.0},
    )
    measured.floors.add(("requests", "nginx"))
    measured.failures.append("slow, model=json: 3 failed\nand more")
    lines = table(measured, entries, ABOUT).splitlines()
    assert (lines[0], lines[-1]) == (BEGIN, END)
    rows = [line for line in lines if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1
    assert [row.split("|")[1].strip() for row in rows[2:]] == [
        "nginx 1.22.1 (C)",
        "slow 2.0 (Python)",
        "**masa 0.1.0 (Python)**",
    ]
    assert rows[2].startswith("| nginx 1.22.1 (C) | >30 000 | 34.0 | - |")
    assert rows[4].endswith("| 3.82 x |")
    notes = "\n".join(line for line in lines if line.startswith("- "))
    assert "gone is missing: no wheel for this machine." in notes
    assert "slow rewrites answers" in notes
    assert "slow is not asked for 1 000 streams" in notes
    assert "slow, model=json: 3 failed" in notes


def test_the_table_takes_the_place_between_its_markers_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nbehind\n")
    write(f"{BEGIN}\nnew\n{END}", page)
    assert page.read_text() == f"before\n{BEGIN}\nnew\n{END}\nbehind\n"
    page.write_text("no place")
    with pytest.raises(ValueError, match="no place for the table"):
        write("new", page)


@pytest.mark.parametrize(
    "command",
    [
        ("bench.rivals", "--page", "no/such/page.md"),
        ("bench.rivals", "--page", "README.md"),
        ("bench", "--json", "no/such/folder.json"),
    ],
)
def test_what_cannot_be_written_is_told_before_anything_is_measured(command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert re.search("no/such|no place for the table", done.stderr)
    assert "Traceback" not in done.stderr


def test_the_page_has_a_place_for_the_table() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")
    assert page.count(BEGIN) == page.count(END) == 1


@pytest.mark.parametrize("source", sorted(LOCKS.glob("*.in")), ids=lambda path: path.stem)
def test_everything_is_pinned_with_hashes_and_what_was_wanted_is_among_it(source: Path) -> None:
    pins = re.findall(
        r"^(\S+==\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})*)$", source.with_suffix(".txt").read_text(), re.MULTILINE
    )
    assert all(hashes for _, hashes in pins)
    assert re.sub(r"\[.*\]", "", source.read_text().strip()) in [pin for pin, _ in pins]
    assert source.stem in [gateway.name for gateway in GATEWAYS]


def test_only_wheels_that_linux_can_use_are_locked() -> None:
    package = {
        "name": "some",
        "version": "1.0",
        "wheels": [
            {"url": f"https://x/{name}", "hashes": {"sha256": name}}
            for name in (
                "some-1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
                "some-1.0-cp311-cp311-macosx_11_0_arm64.whl",
                "some-1.0-cp39-cp39-manylinux_2_17_x86_64.whl",
                "some-1.0-cp311-cp311-musllinux_1_2_x86_64.whl",
            )
        ],
    }
    assert locked(package) == f"some==1.0 \\\n    --hash=sha256:{package['wheels'][0]['hashes']['sha256']}\n"
    assert fits("a-1-py3-none-any.whl")
    assert fits("a-1-py2.py3-none-any.whl")
    assert fits("a-1-cp39-abi3-manylinux_2_28_aarch64.whl")
    assert not fits("a-1-cp311-cp312-manylinux_2_17_x86_64.whl")


@pytest.mark.parametrize("gateway", GATEWAYS[1:], ids=lambda gateway: gateway.name)
def test_the_settings_of_each_name_only_what_is_filled_in(gateway: Gateway) -> None:
    files = [file for file in SETTINGS.iterdir() if file.stem.removesuffix("-model") == gateway.name]
    assert SETTINGS / f"{gateway.name}.args" in files
    filled_in = dict.fromkeys(("folder", "settings", "port", "other_port", "llm_port", "model"), "1")
    for file in files:
        assert "$" not in Template(file.read_text()).substitute(filled_in)


def test_what_cannot_be_installed_says_so_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(NotInstallable, match="apt install nothing"):
        install(Gateway("nothing", "C", "no-such-program", "apt install nothing"), sys.executable, tmp_path)
    requirements = tmp_path / "lock.txt"
    requirements.write_text("some==1.0\n")  # no hash
    with pytest.raises(NotInstallable) as told:
        environment(sys.executable, tmp_path / "made", requirements)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "made" / ".made").exists()


def test_haproxy_in_the_same_battery() -> None:
    if shutil.which("cc") is None or shutil.which("haproxy", path="/usr/sbin:/usr/bin") is None:
        pytest.skip("no C compiler or no haproxy: what is compared with is not needed to work here")
    skipped = [part for gateway in GATEWAYS if gateway.name != "haproxy" for part in ("--skip", gateway.name)]
    command = [sys.executable, "-m", "bench.rivals", "--quick", "--only", "bodies", *skipped]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^\| haproxy \d+\.\d+\.\d+ \(C\) \| - \| - \| >?\d", done.stdout, re.MULTILINE)
    assert re.search(r"^\| \*\*masa \S+ \(Python\)\*\* \| - \| - \| >?\d", done.stdout, re.MULTILINE)
