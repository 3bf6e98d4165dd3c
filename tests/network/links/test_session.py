"""What ends a session: faults of its timer, and of writes that had to wait."""

import asyncio
from typing import Any

import pytest

from masa_node.chat.errors import StreamReset
from masa_node.network.links.frames import FrameKind
from masa_node.network.links.heartbeat import QUIET_S
from masa_node.network.transport.interfaces import NodeId, Path, Stream
from tests.network.links.test_links import running, two
from tests.virtual_time import until, virtual_time


@virtual_time
async def test_a_bug_in_its_timer_ends_the_link() -> None:
    """Else nobody would ever notice that the peer is gone."""
    logged: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context))

    def broken() -> Path:
        raise RuntimeError("a bug")

    _, ada, bob = two()
    async with running(ada, bob):
        session = await ada.connect(bob)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(session.link, "path", broken)
            await asyncio.sleep(2 * QUIET_S)
        assert ada.gone == ["something went wrong inside this node"]
        assert not ada.links.sessions
    assert [str(context["exception"]) for context in logged] == ["a bug"]


@virtual_time
async def test_what_was_just_begun_is_carried_out_when_a_write_that_waited_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A peer that takes nothing of the control stream, and gives it up, must not keep what its requests hold here."""
    began, ended = list[str](), list[str]()

    async def serve() -> None:
        began.append("a request")
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("a request")

    groups: list[asyncio.TaskGroup] = []

    def serve_stream(_peer: NodeId, _stream: Stream, group: asyncio.TaskGroup) -> None:
        groups.append(group)

    _, ada, bob = two()
    monkeypatch.setattr(bob, "serve_stream", serve_stream)
    async with running(ada, bob):
        session = await ada.connect(bob)
        asked = await session.mux.open()
        await asked.send(FrameKind.BODY, b"ask")
        await until(lambda: bool(groups))
        theirs, fails = bob.links.sessions[ada.id], asyncio.get_running_loop().create_future()
        monkeypatch.setattr(theirs._control, "write_now", lambda _: fails)
        theirs.send_gossip(b"news")
        await asyncio.sleep(0.01)
        fails.set_exception(StreamReset("the peer gave the stream up."))
        for _ in range(2):
            await asyncio.sleep(0)
            groups[0].create_task(serve())
        await until(lambda: bool(bob.gone))
    assert bob.gone == ["the peer gave the stream up."]
    assert began == ended == ["a request"] * 2
