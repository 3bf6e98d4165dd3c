"""The node's identity: the secret key in MASA_DIR/node.key, made at the first run. It holds no money.

All of it is blocking file work: call it in a thread, or before the loop runs.
"""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from masa_node.chat.errors import ConfigurationError

KEY_FILE = "node.key"
SECRET_BYTES = 32  # an ed25519 secret key (RFC 8032)
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
# A link is not followed, a pipe does not hold the start up.
_READ_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_NEW_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)


def load_secret(masa_dir: Path) -> bytes:
    """The secret key of the node that lives in this folder, SECRET_BYTES long.

    The first run makes it. When several nodes start at once in a new folder, all get the same one, and a crash at any
    moment leaves a whole key or none. Raises `ConfigurationError` when the file is not fit to be trusted.
    """
    path = masa_dir / KEY_FILE
    try:
        if not os.path.lexists(path):
            _create(path)
        return _read(path)
    except OSError as exc:
        raise ConfigurationError(
            f"The node's key {path} cannot be read or made: {exc.strerror or exc}. "
            "MASA_DIR must be a folder that this user may write to."
        ) from exc


def _create(path: Path) -> None:
    """Write it aside, then give it its name, unless another process was first."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = path.with_name(f".{KEY_FILE}.{secrets.token_hex(8)}")
    try:
        _write(aside, secrets.token_bytes(SECRET_BYTES))
        with suppress(FileExistsError):
            os.link(aside, path)  # unlike a rename it never replaces what is there
    finally:
        aside.unlink(missing_ok=True)
    _flush_folder(path.parent)


def _write(path: Path, secret: bytes) -> None:
    file = os.open(path, _NEW_FLAGS, 0o600)
    with open(file, "wb", closefd=True) as out:  # noqa: PTH123 - there is no Path for a descriptor
        if os.name != "nt":
            os.fchmod(file, 0o600)  # whatever the umask
        out.write(secret)
        out.flush()
        os.fsync(file)


def _flush_folder(folder: Path) -> None:
    """The name itself is on the disk only after this."""
    if os.name == "nt":  # where a folder cannot be opened, and names are written through
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _read(path: Path) -> bytes:
    if path.is_symlink():
        raise ConfigurationError(f"{path} is a symbolic link. Put the key itself there.")
    opened = os.open(path, _READ_FLAGS)
    with open(opened, "rb", closefd=True) as file:  # noqa: PTH123 - the checks are about what was opened
        _check(path, os.fstat(opened))
        secret = file.read(SECRET_BYTES + 1)
    if len(secret) != SECRET_BYTES:
        raise ConfigurationError(
            f"{path} does not hold a key of {SECRET_BYTES} bytes. Put the right file back, or move it away: "
            "the node then makes a new key, and its peers know it as another node."
        )
    return secret


def _check(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ConfigurationError(f"{path} is not a file. Move it away, and the node makes a key.")
    if os.name == "nt":  # which has neither owners by number nor these modes
        return
    if found.st_uid != os.geteuid():
        raise ConfigurationError(
            f"{path} belongs to another user. Run the node as its owner, or set MASA_DIR to a folder of your own."
        )
    if found.st_mode & _OTHERS:
        raise ConfigurationError(
            f"Others may read {path} (mode {stat.S_IMODE(found.st_mode):04o}). Run: chmod 600 {path}"
        )
