"""An embedded LLM's process, as the node sees it: started, loaded, ended. `program.py` is what runs in it."""

import asyncio
import re
import sys
from typing import cast

import msgspec

from masa_node.dialects.fields import read
from masa_node.upstreams.embedded.program import EmbeddedOptions, Listening

MAX_KEPT_BYTES = 16 * 1024  # of what it says: its address, or why the model cannot be loaded
END_WITHIN_S = 5.0  # after a kill: only a process stuck in the kernel takes longer
MAX_SHOWN_CHARS = 300
_STDIN, _STDERR = 0, 2
_ERROR_LINE = re.compile(r"^[0-9.]+ E (?:\w+: )?(.+)$", re.MULTILINE)  # of llama.cpp's log
_LISTENING = msgspec.json.Decoder(Listening)


class EmbeddedProcess:
    """A running one; `start` makes it. It ends with this process, even if that is killed."""

    def __init__(self, child: "_Child") -> None:
        self._child = child

    @classmethod
    async def start(cls, options: EmbeddedOptions) -> "EmbeddedProcess":
        """Start it; its model is not loaded yet. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        _, child = await loop.subprocess_exec(
            _Child, sys.executable, "-m", "masa_node.upstreams.embedded.program",
            start_new_session=True,  # Ctrl+C is for the node, which lets answers end
        )  # fmt: skip
        child.tell(msgspec.json.encode(options) + b"\n")
        return cls(child)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._child.pid

    async def loaded(self) -> str:
        """Its URL, as soon as the model can be asked; "" if it has ended before."""
        return await asyncio.shield(self._child.address)

    async def ended(self) -> str:
        """Returns when it is gone, with the reason in words."""
        return await asyncio.shield(self._child.gone)

    async def end(self) -> None:
        """Kill it, and wait for that; when cancelled, it is gone soon anyway."""
        self._child.kill()
        try:
            async with asyncio.timeout(END_WITHIN_S):
                await self.ended()
        except TimeoutError:
            return


class _Child(asyncio.SubprocessProtocol):
    """Finds the address in what the process prints, and keeps the end of its log."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.address: asyncio.Future[str] = loop.create_future()
        self.gone: asyncio.Future[str] = loop.create_future()
        self._printed = b""
        self._log = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)

    @property
    def pid(self) -> int:
        return self._transport.get_pid()

    def tell(self, line: bytes) -> None:
        its_input = cast("asyncio.WriteTransport | None", self._transport.get_pipe_transport(_STDIN))
        if its_input is not None and not its_input.is_closing():  # it has ended at once; `gone` says so
            its_input.write(line)

    def pipe_data_received(self, fd: int, data: bytes | str) -> None:
        if not isinstance(data, bytes):
            return
        if fd == _STDERR:
            self._log = (self._log + data)[-MAX_KEPT_BYTES:]
        elif not self.address.done():
            *lines, self._printed = (self._printed + data)[-MAX_KEPT_BYTES:].split(b"\n")
            found = next((heard.address for heard in (read(line, _LISTENING) for line in lines) if heard), None)
            if found is not None:
                self.address.set_result(found)
                self._log = b""  # it was about loading

    def process_exited(self) -> None:
        if (its_input := self._transport.get_pipe_transport(_STDIN)) is not None:
            its_input.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio names it
        """It has ended, and all that it has written was read."""
        if not self.address.done():
            self.address.set_result("")
        self.gone.set_result(self._why())
        self._transport.close()

    def kill(self) -> None:
        if self._transport.get_returncode() is None:
            self._transport.kill()

    def _why(self) -> str:
        code = self._transport.get_returncode()
        how = f"it was ended by signal {-code}" if code is not None and code < 0 else f"it ended with exit code {code}"
        said = _ERROR_LINE.search(self._log.decode("utf-8", "replace"))
        return f"{how} ({said[1][:MAX_SHOWN_CHARS]})" if said else how
