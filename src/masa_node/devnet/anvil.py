"""A local chain for the devnet and for tests: anvil, Foundry's Ethereum development node, as a child on loopback."""

import asyncio
import platform
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from masa_node.chat.errors import ConfigurationError

DEV_CHAIN_ID = 31337  # anvil's own default
HOW_TO_GET_IT = "Install it with `npm install @foundry-rs/anvil`, or set ANVIL to the path of one."

START_WITHIN_S = 10.0  # it takes 0.1 s; a loaded machine takes longer
_END_WITHIN_S = 5.0  # after a kill: only a process stuck in the kernel takes longer
_MAX_OUTPUT_BYTES = 64 * 1024  # its greeting is 2.5 KB
_SHOWN_CHARACTERS = 300
_KEPT_STATES = 1000  # blocks that can be read back to: `finalized` is 64 behind. Without it, memory and files grow

_LISTENING = re.compile(rb"^Listening on 127\.0\.0\.1:(\d+)\r?\n", re.MULTILINE)
_SYSTEMS = {"Linux": "linux", "Darwin": "darwin"}
_MACHINES = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "arm64": "arm64"}

# Our end of its input closes when this process ends, however it ends; then the watcher kills the whole group.
_WITH_ITS_PARENT = """
exec 3<&0
"$@" </dev/null 3<&- &
anvil=$!
{ read -r _ <&3; kill -9 0; } >/dev/null 2>&1 &
watcher=$!
exec 3<&-
wait "$anvil"
status=$?
kill -9 "$watcher"
exit "$status"
"""


def find_anvil(environ: Mapping[str, str], folder: Path) -> Path:
    """The program: `ANVIL`, else on the PATH, else in `node_modules` of this folder or one above it.

    Raises `ConfigurationError`.
    """
    path = environ.get("PATH", "")
    if named := environ.get("ANVIL"):
        found = shutil.which(named, path=path)
        if found is None:
            raise ConfigurationError(f"ANVIL is {named!r}, which is not a program that can be run. {HOW_TO_GET_IT}")
        return _program(Path(found))
    here = folder.absolute()
    folders = [str(each / "node_modules" / ".bin") for each in (here, *here.parents)]
    found = shutil.which("anvil", path=path) or next(
        filter(None, (shutil.which("anvil", path=p) for p in folders)), None
    )
    if found is None:
        raise ConfigurationError(f"There is no anvil on this machine, and a local chain needs it. {HOW_TO_GET_IT}")
    return _program(Path(found))


def _program(found: Path) -> Path:
    """What npm calls `anvil` is a script that starts the program beside it; without the script it starts faster."""
    package = found.resolve().parent
    system, machine = _SYSTEMS.get(platform.system()), _MACHINES.get(platform.machine())
    program = package.with_name(f"anvil-{system}-{machine}") / "bin" / "anvil"
    return program if package.name == "anvil" and program.is_file() else found


class Anvil:
    """One chain of its own, empty at first, on a port that the system chose. `async with` starts and ends it.

    It ends with this process, even if that is killed. Nothing of it is kept. `block_time_s`: how often there is a
    block without a transaction, so that the head stays young; transactions are mined at once. None: no such blocks.
    """

    def __init__(self, program: Path, chain_id: int = DEV_CHAIN_ID, block_time_s: int | None = 1) -> None:
        self.url = ""
        self._command = [str(program), "--host", "127.0.0.1", "--port", "0", "--color", "never"]
        self._command += ["--chain-id", str(chain_id), "--prune-history", str(_KEPT_STATES)]
        if block_time_s is not None:
            self._command += ["--block-time", str(block_time_s), "--mixed-mining"]
        self._child: _Child | None = None

    async def __aenter__(self) -> Self:
        """Returns when it answers at `url`. Raises `ConfigurationError` when it does not start."""
        loop = asyncio.get_running_loop()
        try:
            _, self._child = await loop.subprocess_exec(
                _Child, "/bin/sh", "-c", _WITH_ITS_PARENT, "anvil", *self._command,
                stderr=asyncio.subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        except OSError as exc:
            raise ConfigurationError(f"anvil cannot be started: {exc}") from exc
        try:
            async with asyncio.timeout(START_WITHIN_S):
                self.url = f"http://127.0.0.1:{await self._child.port}"
        except TimeoutError as exc:
            await self._child.end()
            raise ConfigurationError(f"anvil was not ready within {START_WITHIN_S:.0f} s.") from exc
        except BaseException:
            await self._child.end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child is not None:
            await self._child.end()

    async def ended(self) -> None:
        """Returns when the chain is gone, by itself or because somebody else ended it."""
        if self._child is not None:
            await asyncio.shield(self._child.gone)


class _Child(asyncio.SubprocessProtocol):
    """Reads the port from anvil's own words, so that no other process can be taken for it; the rest is dropped."""

    def __init__(self) -> None:
        self.port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._said = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes | str) -> None:  # noqa: ARG002 - asyncio names it
        if self.port.done() or not isinstance(data, bytes):
            return
        self._said = (self._said + data)[-_MAX_OUTPUT_BYTES:]
        if listening := _LISTENING.search(self._said):
            self.port.set_result(int(listening[1]))
            self._said.clear()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the same
        """It has ended, and so has everything that could write to its output."""
        if not self.port.done():
            last = self._said.decode("utf-8", "replace").strip().rpartition("\n")[2]
            why = last[:_SHOWN_CHARACTERS] or "without a word. Is the program that was found anvil (see ANVIL)?"
            self.port.set_exception(ConfigurationError(f"anvil ended at once: {why}"))
        self.gone.set_result(None)

    async def end(self) -> None:
        """Close its input, which ends it, and wait for that; when cancelled, it ends anyway."""
        if (its_input := self._transport.get_pipe_transport(0)) is not None:
            its_input.close()
        try:
            async with asyncio.timeout(_END_WITHIN_S):
                await asyncio.shield(self.gone)
        except TimeoutError:
            pass  # it was killed, and cannot be waited for any longer
        finally:
            self._transport.close()
