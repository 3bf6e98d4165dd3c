import re
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from openai import OpenAI

from masa_node.chat.errors import ConfigurationError
from masa_node.node import libraries
from masa_node.node.libraries import BOUNDS, Bounds, check_libraries
from tests.api.serving import SOURCES, ServingNode

ROOT = Path(__file__).parents[2]
LOWEST = ROOT / ".cache" / "lowest"  # `make .cache/lowest/.made`


def installed_beside(folder: Path, library: str, version: str) -> Path:
    """A folder that, first on the path, makes a library look like another release."""
    about = folder / f"{library}-{version}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {library}\nVersion: {version}\n")
    return folder


def test_the_wheel_states_the_bounds_that_a_start_checks() -> None:
    stated: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {str(bounds) for bounds in BOUNDS} <= set(stated)


def test_both_ends_of_the_bounds_are_what_is_tested() -> None:
    newest = (ROOT / "requirements" / "run.txt").read_text()
    lowest = (ROOT / "requirements" / "lowest.txt").read_text()
    for bounds in BOUNDS:
        tested = re.findall(rf"^{bounds.library}==(\S+)", newest + lowest, re.MULTILINE)
        releases = sorted(tuple(map(int, version.split("."))) for version in tested)
        assert releases[0][:2] == bounds.lowest
        assert (releases[-1][0], releases[-1][1] + 1) == bounds.beyond


@pytest.mark.parametrize("version", ["0.7", "0.7.0", "0.9.9", "0.8.0.post1", "0.9.0+local.9"])
def test_a_release_within_the_bounds_is_admitted(version: str) -> None:
    assert Bounds("httptools", (0, 7), (0, 10)).admit(version)


@pytest.mark.parametrize("version", ["0.3", "0.6.9", "0.10", "0.10.0rc1", "1.0", "", "unknown"])
def test_any_other_is_not(version: str) -> None:
    assert not Bounds("httptools", (0, 7), (0, 10)).admit(version)


def test_what_is_installed_here_passes() -> None:
    check_libraries()


@pytest.mark.parametrize("library", [bounds.library for bounds in BOUNDS])
@pytest.mark.parametrize("command", ["up", "demo"])
def test_a_start_with_another_release_says_so_in_one_sentence(tmp_path: Path, library: str, command: str) -> None:
    first = installed_beside(tmp_path / "first", library, "0.1.0")
    done = subprocess.run(
        [sys.executable, "-m", "masa_node", command],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{first}:{SOURCES}", "MASA_DIR": str(tmp_path), "PORT": "0"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"masa-node: {library} 0.1.0 is installed")
    assert f"pip install '{library}>=" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_library_without_such_a_folder_is_found_as_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, version in [("httptools", "0.8"), ("iroh", "9.0")]:
        about = tmp_path / f"{name}-{version}.egg-info"
        about.mkdir()
        (about / "PKG-INFO").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    folders = [folder for folder in sys.path if not list(Path(folder).glob("iroh-*.dist-info"))]
    monkeypatch.setattr(sys, "path", [str(tmp_path), *folders])
    with pytest.raises(ConfigurationError, match=r"iroh 9\.0 is installed"):
        check_libraries()


def test_the_sentence_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "_installed", lambda library: "9.0" if library == "iroh" else "0.8")
    with pytest.raises(ConfigurationError, match=r"iroh 9\.0 is installed.*'iroh>=1\.2,<1\.3'"):
        check_libraries()


def test_the_oldest_allowed_releases_answer_posts_and_streams_and_refuse_what_is_no_http(tmp_path: Path) -> None:
    assert (LOWEST / "httptools").is_dir(), "run `make test`, which installs them, or `make .cache/lowest/.made`"
    with ServingNode(tmp_path, {"PYTHONPATH": f"{LOWEST}:{SOURCES}"}) as node:
        with OpenAI(base_url=f"{node.address}/v1", api_key="unused", max_retries=0) as client:
            hello: list[dict[str, str]] = [{"role": "user", "content": "Hello"}]
            for _ in range(2):  # the second one over the kept connection
                whole = client.chat.completions.create(model="masa-demo", messages=hello)  # type: ignore[arg-type]
                assert whole.choices[0].finish_reason == "stop"
            stream = client.chat.completions.create(model="masa-demo", messages=hello, stream=True)  # type: ignore[arg-type,call-overload]
            assert [chunk.choices[0].finish_reason for chunk in stream][-1] == "stop"
        with socket.create_connection(("127.0.0.1", node.port), 10) as sock:
            sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n")
            sock.sendall(b"Content-Length: 3\r\n\r\n{}")
            assert sock.recv(12) == b"HTTP/1.1 400"
