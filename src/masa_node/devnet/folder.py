"""The folder of a devnet: what is in it, whose it is, and that only what a devnet made is ever removed from it.

All of it is blocking file work.
"""

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from masa_node.chat.errors import ConfigurationError
from masa_node.network.store import node_key, store
from masa_node.node.settings.docs import setting_docs
from masa_node.storage import lock
from masa_node.storage.lock import DirectoryInUse, NodeLock

NAMES = ("a", "b", "c")
MARK = ".masa-devnet"
_MARK_LINE = "Made by `masa-node devnet`. The keys in this folder are throwaway ones: never use them on a real chain.\n"
_DATABASE_FILES = tuple(f"{store.FILE_NAME}{suffix}" for suffix in ("", "-wal", "-shm"))
_CONFIG = "masa.toml"

# May be set otherwise where a node is started, to try what follows.
CHANGEABLE = ("DEMO", "LOG_LEVEL", "STAKE_CALLERS", "STAKE_PROVIDERS")


class DevnetFolder:
    """Use it with `with`: it is held then, so that no second devnet and none of its nodes runs in it meanwhile."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self.profile = self.path / "devnet.toml"

    def home(self, name: str) -> Path:
        """MASA_DIR of the node of this name."""
        return self.path / f"node-{name}"

    def start(self, name: str) -> Path:
        """The script that gives a command to this node."""
        return self.path / name

    def keystore(self, name: str) -> Path:
        """The key file of the wallet that is this node's owner."""
        return self.path / f"owner-{name}.json"

    def __enter__(self) -> Self:
        """Make it if need be. Raises `ConfigurationError` when it is somebody else's, or in use."""
        self._refuse_a_strangers()
        self._lock = self._take()
        try:
            self.write(self.path / MARK, _MARK_LINE.encode())
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def clear(self) -> None:
        """Remove what the devnet before this one made, by name, and nothing else.

        Raises `ConfigurationError`, with everything still there, when one of its nodes runs.
        """
        try:
            self._refuse_running_nodes()
            for file in self._made():
                file.unlink(missing_ok=True)
        except OSError as exc:
            raise self._unusable(exc) from exc

    def write(self, file: Path, content: bytes, mode: int = 0o600) -> None:
        """A file of the devnet that is not there yet. Raises `ConfigurationError`."""
        try:
            _write_new(file, content, mode)
        except OSError as exc:
            raise self._unusable(exc) from exc

    def write_start(self, name: str, values: Mapping[str, str]) -> None:
        """The script: settings that are not among these values are at their defaults, whatever the shell's are."""
        self.write(self.home(name) / _CONFIG, b"")
        given = {**values, "MASA_CONFIG": str(self.home(name) / _CONFIG)}
        script = _script([sys.executable, "-P", "-m", "masa_node"], given)  # -P: no modules from where it is started
        self.write(self.start(name), script.encode(), 0o700)

    def _take(self) -> NodeLock:
        try:
            return NodeLock.take(self.path, wait_s=0.0)
        except DirectoryInUse as exc:
            raise ConfigurationError(
                f"Another devnet{_pid(exc)} runs in {self.path}. Stop it, or give this one another folder with --dir."
            ) from exc
        except ConfigurationError as exc:  # it speaks of MASA_DIR, which this is not
            if isinstance(exc.__cause__, OSError):
                raise self._unusable(exc.__cause__) from exc
            raise

    def _made(self) -> list[Path]:
        files = [self.profile]
        for name in NAMES:
            files += [self.start(name), self.keystore(name)]
            files += [self.home(name) / file for file in (node_key.KEY_FILE, _CONFIG, *_DATABASE_FILES)]
        return files

    def _refuse_a_strangers(self) -> None:
        try:
            is_ours = not self.path.exists() or self._has_mark() or self._is_just_begun()
        except OSError as exc:
            raise self._unusable(exc) from exc
        if not is_ours:
            raise ConfigurationError(
                f"{self.path} holds files that no devnet made, so it is left alone. Name a new folder with --dir."
            )

    def _has_mark(self) -> bool:
        return self._mark() == _MARK_LINE

    def _is_just_begun(self) -> bool:
        """Empty; or left by a devnet that ended while it made its mark, as on a full disk."""
        others = {file.name for file in self.path.iterdir()} - {MARK, lock.FILE_NAME}
        return not others and _MARK_LINE.startswith(self._mark())

    def _mark(self) -> str:
        """What it says; "" without one."""
        mark = self.path / MARK
        if mark.is_symlink() or (mark.exists() and not mark.is_file()):
            return "no file"
        return mark.read_text(errors="replace") if mark.exists() else ""

    def _refuse_running_nodes(self) -> None:
        for name in NAMES:
            if self.home(name).is_symlink():
                raise ConfigurationError(f"{self.home(name)} is a link, which no devnet made. Remove it first.")
            try:
                NodeLock.take(self.home(name), wait_s=0.0).release()
            except DirectoryInUse as exc:
                raise ConfigurationError(
                    f"Node {name} of the last devnet still runs{_pid(exc)}. Stop it first."
                ) from exc

    def _unusable(self, exc: OSError) -> ConfigurationError:
        where = exc.filename or self.path
        return ConfigurationError(f"{where} cannot be used: {exc.strerror or exc}. Name another folder with --dir.")


def _pid(exc: DirectoryInUse) -> str:
    return f" (pid {exc.pid})" if exc.pid else ""


def _write_new(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Never through a link that somebody put there."""
    path.unlink(missing_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(file, "wb", closefd=True) as out:  # noqa: PTH123 - there is no Path for a descriptor
        out.write(content)


def _script(program: Sequence[str], values: Mapping[str, str]) -> str:
    """For `sh`. Every other setting is emptied, which counts as not set, and wins over a `.env` where it is started."""
    emptied = [doc.name for doc in setting_docs() if doc.name not in values and doc.name not in CHANGEABLE]
    lines = [
        "#!/bin/sh",
        f"# {_MARK_LINE.strip()}",
        *(f"{name}={shlex.quote(value)}" for name, value in values.items() if name not in CHANGEABLE),
        *(f': "${{{name}={values.get(name, "")}}}"' for name in CHANGEABLE),
        f"export {' '.join((*values, *(name for name in CHANGEABLE if name not in values)))}",
        "# Settings of another node are not for this one.",
        f"export {' '.join(f'{name}=' for name in emptied)}",
        f'exec {shlex.join(program)} "$@"',
    ]
    return "\n".join(lines) + "\n"
