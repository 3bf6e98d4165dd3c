"""An embedded LLM's process, as the node sees it: started, loaded, ended. `program.py` is what runs in it."""

import asyncio
import re
import sys
from typing import cast

import msgspec

from masa_node.dialects.fields import read
from masa_node.upstreams.embedded.program import EmbeddedModel, Listening

MAX_KEPT_BYTES = 16 * 1024  # of what it says: its address, or why the model cannot be loaded
END_WITHIN_S = 5.0  # after a kill: only a process stuck in the kernel takes longer
MAX_SHOWN_CHARS = 300
_STDIN, _STDERR = 0, 2
_ERROR_LINE = re.compile(r"^[0-9.]+ E (?:\w+: )?(.+)$", re.MULTILINE)  # of llama.cpp's log
_EXCEPTION = re.compile(r"^(\w+Error: .+)\s*\Z", re.MULTILINE)
_LISTENING = msgspec.json.Decoder(Listening)


class EmbeddedProcess(asyncio.SubprocessProtocol):
    """A running one; `start` makes it. It ends with this process, even if that is killed.

    Finds the address in what the process prints, and keeps the end of its log.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._address: asyncio.Future[str] = loop.create_future()
        self._gone: asyncio.Future[str] = loop.create_future()
        self._printed = b""
        self._log = b""

    @classmethod
    async def start(cls, options: EmbeddedModel) -> "EmbeddedProcess":
        """Start it; its model is not loaded yet. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        _, process = await loop.subprocess_exec(
            cls, sys.executable, "-m", "masa_node.upstreams.embedded.program",
            start_new_session=True,  # Ctrl+C is for the node, which lets answers end
        )  # fmt: skip
        process.tell(msgspec.json.encode(options) + b"\n")
        return process

    async def loaded(self) -> str:
        """Its URL, as soon as the model can be asked; "" if it has ended before."""
        return await asyncio.shield(self._address)

    async def ended(self) -> str:
        """Returns when it is gone, with the reason in words."""
        return await asyncio.shield(self._gone)

    async def end(self) -> None:
        """Kill it, and wait for that; when cancelled, it is gone soon anyway."""
        if self._transport.get_returncode() is None:
            self._transport.kill()
        try:
            async with asyncio.timeout(END_WITHIN_S):
                await self.ended()
        except TimeoutError:
            return

    def tell(self, line: bytes) -> None:
        """Write this to its standard input."""
        its_input = cast("asyncio.WriteTransport | None", self._transport.get_pipe_transport(_STDIN))
        if its_input is not None and not its_input.is_closing():  # it has ended at once; `gone` says so
            its_input.write(line)

    # ---- what asyncio tells ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.SubprocessProtocol`."""
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes | str) -> None:
        """See `asyncio.SubprocessProtocol`."""
        if not isinstance(data, bytes):
            return
        if fd == _STDERR:
            self._log = (self._log + data)[-MAX_KEPT_BYTES:]
        elif not self._address.done():
            *lines, self._printed = (self._printed + data)[-MAX_KEPT_BYTES:].split(b"\n")
            found = next((heard.address for heard in (read(line, _LISTENING) for line in lines) if heard), None)
            if found is not None:
                self._address.set_result(found)
                self._log = b""  # it was about loading

    def process_exited(self) -> None:
        """See `asyncio.SubprocessProtocol`."""
        if (its_input := self._transport.get_pipe_transport(_STDIN)) is not None:
            its_input.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio names it
        """It has ended, and all that it has written was read."""
        if not self._address.done():
            self._address.set_result("")
        self._gone.set_result(self._why())
        self._transport.close()

    def _why(self) -> str:
        code = self._transport.get_returncode()
        how = f"it was ended by signal {-code}" if code is not None and code < 0 else f"it ended with exit code {code}"
        log = self._log.decode("utf-8", "replace")
        # Python's last words are the exception: a library that is not here, another release of llama.cpp.
        said = _ERROR_LINE.search(log) or (_EXCEPTION.search(log) if code == 1 else None)
        return f"{how} ({said[1][:MAX_SHOWN_CHARS]})" if said else how
