"""An answer that fails leaves nothing to the garbage collector: no error is its own cause, or kept as it was raised."""

import asyncio
import gc
import weakref
from typing import cast

import pytest

from masa_node.chat.errors import LinkLost, ProviderError, StreamReset
from masa_node.network.links.frames import Frame, FrameKind, FrameStream, header_payload
from masa_node.network.requests.frames import AnswerHead
from masa_node.network.requests.response_reader import ResponseReader
from tests.network.requests.request_world import MODEL, ask


class Stream:
    """Of which this can be read, or this error is raised."""

    def __init__(self, read: list[Frame] | ProviderError) -> None:
        self._read = read

    async def receive(self) -> list[Frame]:
        if isinstance(self._read, ProviderError):
            raise self._read
        return self._read

    def receive_now(self) -> list[Frame] | None:
        return None if isinstance(self._read, ProviderError) else self._read

    def abort(self) -> None:
        pass


async def _head(reader: ResponseReader) -> None:
    with pytest.raises(ProviderError):
        await reader.head()


async def _head_by_calls(reader: ResponseReader) -> None:
    assert reader.take_head() is None
    assert reader.is_odd
    await _head(reader)


@pytest.mark.parametrize("fails", [_head, _head_by_calls])
@pytest.mark.parametrize("read", [StreamReset("given up"), LinkLost("gone"), [(FrameKind.END, b"{}")]])
async def test_no_circle_is_left(read: list[Frame] | ProviderError, fails: object) -> None:
    gc.disable()
    try:
        stream = Stream(read)
        gone = weakref.ref(stream)
        reader = ResponseReader(cast("FrameStream", stream), ask(), "a peer")
        await fails(reader)  # type: ignore[operator]
        if isinstance(read, ProviderError):
            assert read.__cause__ is None
            read.__traceback__ = None  # ours: the list of examples keeps it
        del reader, stream
        await asyncio.sleep(0)
        assert gone() is None
    finally:
        gc.enable()


HEAD: Frame = (FrameKind.HEAD, header_payload(FrameKind.HEAD, AnswerHead(200, MODEL, "openai", is_stream=True)))


@pytest.mark.parametrize("read", [StreamReset("given up"), [HEAD]], ids=["closed", "begun"])
async def test_whoever_is_told_of_signs_is_let_go(read: list[Frame] | ProviderError) -> None:
    class Hears:
        reader: ResponseReader

        def sign(self) -> None:
            pass

    gc.disable()
    try:
        hears = Hears()
        gone = weakref.ref(hears)
        hears.reader = ResponseReader(cast("FrameStream", Stream(read)), ask(), "a peer")
        hears.reader.hear(hears.sign)
        if hears.reader.take_head() is None:
            hears.reader.close()
        del hears
        assert gone() is None
    finally:
        gc.enable()
