"""An HTTP proxy that opens tunnels (CONNECT) to made-up host names, or does what its script says instead."""

import asyncio
import contextlib

from tests.fakes.llm_server import FakeLlm, HungUp, Line, Script


class FakeProxy(FakeLlm):
    """`hosts` says on which port of this machine a `host:port` is; `script` is played instead of opening a tunnel.

    `connects` are the heads of the requests for tunnels, as they came.
    """

    def __init__(self, hosts: dict[str, int] | None = None, script: Script = ()) -> None:
        super().__init__()
        self.hosts = hosts or {}
        self.script = script
        self.connects: list[bytes] = []
        self._tunnels: list[asyncio.StreamWriter] = []

    def setting(self, user: str = "") -> str:
        """This proxy as HTTPS_PROXY names it."""
        return f"http://{user}{'@' if user else ''}127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Break every tunnel."""
        for writer in self._tunnels:
            writer.transport.abort()

    async def _talk(self, line: Line) -> None:
        head = await line.reader.readuntil(b"\r\n\r\n")
        self.connects.append(head)
        for step in self.script:
            await step(line)
        if self.script:
            raise HungUp
        target = head.split(b" ", 2)[1].decode()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.hosts[target])
        await line.write(b"HTTP/1.1 200 Connection established\r\nProxy-Agent: fake\r\n\r\n")
        self._tunnels += [writer, line.writer]
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_carry(line.reader, writer))
                group.create_task(_carry(reader, line.writer))
        finally:
            writer.transport.abort()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """From one side to the other, the end included."""
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
