"""Nothing is executed, loaded or deserialised that came from outside; and what is shipped is what is here.

LiteLLM CVE-2026-42203 and CVE-2026-40217 (templates and code from requests), hivemind (pickle), LiteLLM on PyPI in
March 2026 (a payload in a `.pth` file).
"""

import ast
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PACKAGE = PROJECT / "src" / "masa_node"
MODULES = sorted(PACKAGE.rglob("*.py"))
STARTS_PROGRAMS = {
    *("create_subprocess_exec", "create_subprocess_shell", "subprocess_exec", "subprocess_shell"),
    *("fork", "forkpty", "posix_spawn", "posix_spawnp", "startfile"),
    *(f"{verb}{how}" for verb in ("exec", "spawn") for how in ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")),
}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "import_module", "system", "popen"} | STARTS_PROGRAMS
FORBIDDEN_MODULES = {
    *("pickle", "marshal", "shelve", "dill", "cloudpickle", "yaml", "jinja2", "mako", "string.Template"),
    *("subprocess", "importlib", "runpy", "code", "codeop", "ctypes", "pty", "multiprocessing"),
}

ALLOWED = {
    "network/transport/iroh/patches/byte_copy.py": {"ctypes"},  # copies bytes into a buffer of the transport's library
    "network/transport/iroh/patches/wake_ups.py": {"ctypes"},  # keeps a callback that the library may still call
    "network/transport/iroh/direct.py": {"ctypes", "importlib"},  # polls the library's futures, which are Rust's
    "staking/contract/artifacts.py": {"importlib"},  # reads two files of the package (`importlib.resources`)
    "node/libraries.py": {"importlib"},  # reads versions (`importlib.metadata`)
    # The owner's own LLM (`up --llm`): what is fetched is pinned by hash, what is started is this package.
    "upstreams/embedded/fetch.py": {"importlib", "subprocess"},
    "upstreams/embedded/program.py": {"importlib"},
}
ALLOWED_CALLS = {
    "cli/relay.py": {"execv"},  # `masa-node relay` becomes iroh-relay, a constant name, found by its owner
    "devnet/anvil.py": {"subprocess_exec"},  # `masa-node devnet` starts anvil, found by its owner
    "upstreams/embedded/process.py": {"subprocess_exec"},
    "upstreams/embedded/program.py": {"import_module"},  # of one name, which is a constant
    "network/transport/iroh/direct.py": {"import_module"},  # the same
}


def imported(tree: ast.AST) -> Iterator[str]:
    for at in ast.walk(tree):
        if isinstance(at, ast.Import):
            yield from (name.name for name in at.names)
        elif isinstance(at, ast.ImportFrom) and at.module:
            yield from (at.module, *(f"{at.module}.{name.name}" for name in at.names))


def called(tree: ast.AST) -> Iterator[str]:
    for at in ast.walk(tree):
        if isinstance(at, ast.Call):
            match at.func:
                case ast.Attribute(attr="system", value=ast.Name(id="platform")):
                    pass  # the name of the operating system
                case ast.Name(id=name) | ast.Attribute(attr=name):
                    if not (name == "compile" and isinstance(at.func, ast.Attribute)):  # `re.compile`
                        yield name


@pytest.mark.parametrize("module", MODULES, ids=[str(path.relative_to(PACKAGE)) for path in MODULES])
def test_no_module_executes_or_loads_anything(module: Path) -> None:
    tree = ast.parse(module.read_text("utf-8"))
    name = str(module.relative_to(PACKAGE))
    assert (FORBIDDEN_CALLS - ALLOWED_CALLS.get(name, set())).isdisjoint(called(tree))
    allowed = ALLOWED.get(name, set())
    assert (FORBIDDEN_MODULES - allowed).isdisjoint(imported(tree))


def test_every_dependency_is_pinned_by_hash() -> None:
    files = sorted((PROJECT / "requirements").glob("*.txt"))
    assert files
    for file in files:
        text = re.sub(r"\\\n", " ", file.read_text("utf-8"))
        lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        loose = [
            line for line in lines if not re.fullmatch(r"[A-Za-z0-9._\[\]-]+==\S+ .*--hash=sha256:[0-9a-f]{64}.*", line)
        ]
        assert not loose, f"{file.name}: {loose}"


def test_the_wheel_holds_exactly_the_packages_files(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(build, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        others = {name.partition(".dist-info/")[2] for name in archive.namelist()} - {""}
    kept = {path.relative_to(PACKAGE.parent).as_posix() for path in PACKAGE.rglob("*") if path.is_file()}
    assert names == {name for name in kept if "__pycache__" not in name}
    assert not [name for name in names if name.endswith((".pth", ".so", ".pyc"))]
    assert others <= {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
