"""No way of installing that a newer release of anything can break: what is installed is what the lock says."""

import base64
import hashlib
import re
import shlex
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
SCRIPTS = [ROOT / "Makefile", ROOT / ".ci" / "run", *(ROOT / "tools").rglob("*.sh")]
NEWEST_ON_PURPOSE = "--upgrade pip"  # CI looks whether the newest pip installs the same


def variable(name: str) -> str:
    """What a variable of the Makefile is set to, others in it filled in."""
    found = re.search(rf"^{name} :?= (.*)$", MAKEFILE, re.MULTILINE)
    assert found, name
    return re.sub(r"\$\((\w+)\)", lambda inner: variable(inner[1]), found[1])


def wheel(folder: Path, name: str, version: str, *needs: str) -> str:
    """Make an empty package and give its line in a lock."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nProvides-Extra: more\n"
    files = {
        f"{name}.py": f"version = {version!r}\n",
        f"{info}/METADATA": metadata + "".join(f"Requires-Dist: {need}\n" for need in needs),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    hashed = ((path, base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())) for path, text in files.items())
    files[f"{info}/RECORD"] = "".join(f"{path},sha256={digest.decode().rstrip('=')},\n" for path, digest in hashed)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inside, text in files.items():
            archive.writestr(inside, text)
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the pip that this Python brings."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=True)
    return folder / "bin" / "python"


def test_a_newer_release_of_what_is_asked_for_with_an_extra_changes_nothing(tmp_path: Path, python: Path) -> None:
    lock = wheel(tmp_path, "covers", "1.0", 'tomls; extra == "more"')
    lock += wheel(tmp_path, "tomls", "1.0") + wheel(tmp_path, "pytests", "1.0", "covers[more]>=1.0")
    for newer in ("covers", "tomls", "pytests"):
        wheel(tmp_path, newer, "2.0", *(['tomls; extra == "more"'] if newer == "covers" else []))
    requirements = tmp_path / "test.txt"
    requirements.write_text(lock)
    options = shlex.split(variable("INSTALL"))[1:]
    only_here = ["--no-index", "--find-links", str(tmp_path)]
    installed = subprocess.run(
        [python, *options, *only_here, "-r", requirements], capture_output=True, text=True, check=False
    )
    assert installed.returncode == 0, installed.stderr
    versions = "import covers, tomls, pytests; print(covers.version, tomls.version, pytests.version)"
    assert (
        subprocess.run([python, "-c", versions], capture_output=True, text=True, check=True).stdout == "1.0 1.0 1.0\n"
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_nothing_is_installed_by_resolving(script: Path) -> None:
    commands = [line.strip() for line in script.read_text().replace("\\\n", " ").splitlines()]
    installing = [
        line for line in commands if re.search(r"(pip|\(PIP\)) install|^INSTALL :=", line) and "echo" not in line
    ]
    assert [
        line
        for line in installing
        if NEWEST_ON_PURPOSE not in line
        and not ("--no-deps" in line and ("--require-hashes" in line or "--no-index" in line))
    ] == []


def test_every_line_of_the_locks_is_one_version_with_hashes() -> None:
    for lock in (ROOT / "requirements").glob("*.txt"):
        pinned = [line for line in lock.read_text().splitlines() if line and not line.startswith((" ", "#"))]
        assert pinned
        assert [line for line in pinned if not re.match(r"[\w.\-]+(\[[\w,\-]+\])?==\S+( ; .*)? \\$", line)] == [], (
            lock.name
        )


def test_building_needs_eight_packages_at_most() -> None:
    lock = (ROOT / "requirements" / "build.txt").read_text()
    assert 0 < len(re.findall(r"^[\w.\-]+==", lock, re.MULTILINE)) <= 8
    built = re.search(r"^dist:(.*?)##.*?\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert built
    assert built[1].split() == ["$(VENV)/.build"]


def test_the_wheel_holds_the_packages_files_and_nothing_else(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [built] = tmp_path.glob("*.whl")
    inside = {name for name in zipfile.ZipFile(built).namelist() if ".dist-info/" not in name}
    source = ROOT / "src"
    ignored = ("__pycache__", ".pyc")
    assert inside == {
        str(path.relative_to(source))
        for path in (source / "masa_node").rglob("*")
        if path.is_file() and not any(part in str(path) for part in ignored)
    }
