"""`masa-node relay`: starts an installed iroh-relay with a sound configuration, or says how to install one."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import msgspec

from masa_node.chat.errors import ConfigurationError

PROGRAM = "iroh-relay"
INSTALL = "cargo install iroh-relay --features server"
PLAIN_PORT = 3340  # iroh-relay's own, without TLS
# Each node of a network sends a few kB/s, and megabytes while an answer of pictures passes. A stranger gets no more.
BYTES_PER_S_A_CLIENT = 8 * 1024 * 1024
CONNECTIONS_PER_S = 50.0

_HOST = re.compile(r"(?=.{4,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}", re.IGNORECASE)


class WantedRelay(msgspec.Struct, frozen=True):
    """`host` is its public name, "" for plain HTTP. With `cert` and `key` those files are used, else Let's Encrypt.

    `email` is where Let's Encrypt writes to. With `token` only nodes that have it as RELAY_TOKEN are served.
    """

    host: str = ""
    email: str = ""
    cert: Path | None = None
    key: Path | None = None
    token: str = ""


def configuration(wanted: WantedRelay, folder: Path) -> str:
    """relay.toml. Raises `ConfigurationError` for what cannot work."""
    lines = ["enable_relay = true", "enable_metrics = false"]
    if not wanted.host:
        lines += [f'http_bind_addr = "[::]:{PLAIN_PORT}"', "enable_quic_addr_discovery = false"]
    else:
        lines += ['http_bind_addr = "[::]:80"', "enable_quic_addr_discovery = true"]
    if wanted.token:
        lines.append(f"access.shared_token = [{_quoted(wanted.token)}]")
    lines += [
        "",
        "[limits]",
        f"accept_conn_limit = {CONNECTIONS_PER_S}",
        f"accept_conn_burst = {int(CONNECTIONS_PER_S)}",
    ]
    lines += ["", "[limits.client.rx]", f"bytes_per_second = {BYTES_PER_S_A_CLIENT}"]
    if wanted.host:
        lines += ["", "[tls]", *_tls(wanted, folder)]
    return "\n".join(lines) + "\n"


def start(wanted: WantedRelay, folder: Path) -> None:
    """Write the configuration and become iroh-relay. Raises `ConfigurationError`; returns where none is installed."""
    text = configuration(wanted, folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "relay.toml"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:  # the token is in it
        file.write(text)
    program = shutil.which(PROGRAM) or shutil.which(str(Path.home() / ".cargo" / "bin" / PROGRAM))
    if program is None:
        raise ConfigurationError(
            f"{PROGRAM} is not installed. Run: {INSTALL} (with Rust's cargo, ten minutes), then this again. "
            f"Its configuration is ready: {path}"
        )
    _tell(wanted)
    sys.stderr.flush()
    os.execv(program, [program, "--config-path", str(path)])  # noqa: S606 - found on the owner's own PATH


def _tls(wanted: WantedRelay, folder: Path) -> list[str]:
    if not _HOST.fullmatch(wanted.host):
        raise ConfigurationError(f"{wanted.host!r} is not a public host name such as relay.example.org.")
    if (wanted.cert is None) is not (wanted.key is None):
        raise ConfigurationError("--cert and --key go together.")
    if wanted.cert is not None and wanted.key is not None:
        for path in (wanted.cert, wanted.key):
            if not path.is_file():
                raise ConfigurationError(f"There is no file {path}.")
        files = [f"manual_cert_path = {_quoted(wanted.cert.absolute())}"]
        files.append(f"manual_key_path = {_quoted(wanted.key.absolute())}")
        return ['cert_mode = "Reloading"', *files]
    if "@" not in wanted.email:
        raise ConfigurationError("Let's Encrypt wants an address: --email you@example.org. Or give --cert and --key.")
    names = [f"hostname = {_quoted(wanted.host)}", f"contact = {_quoted(wanted.email)}"]
    return ['cert_mode = "LetsEncrypt"', *names, f"cert_dir = {_quoted(folder)}"]


def _quoted(value: str | Path) -> str:
    return json.dumps(str(value), ensure_ascii=False)  # what JSON writes so, TOML reads so


def _tell(wanted: WantedRelay) -> None:
    url = f"https://{wanted.host}" if wanted.host else f"http://THIS-MACHINE:{PLAIN_PORT}"
    print(f"On a node: masa-node invite --relay {url}", file=sys.stderr)
    if wanted.host:
        print("Open to everybody: TCP 80 and 443, UDP 7842.", file=sys.stderr)
    else:
        print("Plain HTTP carries packets, but never helps to a direct link.", file=sys.stderr)
