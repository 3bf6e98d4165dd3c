"""An answer that fails leaves nothing to the garbage collector; what is taken as it comes counts as what is read."""

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import cast

import pytest

from masa_node.chat.errors import LinkLost, ProviderError, StreamReset
from masa_node.network.links.frames import Frame, FrameKind, FrameStream, header_payload
from masa_node.network.requests.frames import AnswerEnd, AnswerHead
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


# ---- pieces that are offered as they come ----

PIECE = FrameKind.PIECE


class Usual:
    """Takes what is "usual"."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    def take(self, data: bytes) -> bytes:
        return data

    def take_frames(self, data: bytes) -> bool:
        if data != b"usual":
            return False
        self.taken.append(data)
        return True


class Offers(Stream):
    """It offers what a test says comes, and keeps the rest."""

    def __init__(self) -> None:
        super().__init__([])
        self.waiting: list[Frame] = [HEAD]
        self._take: Callable[[bytes], bool] | None = None

    def listen(self, came: Callable[[], None] | None, take: Callable[[bytes], bool] | None = None) -> None:
        del came
        self._take = take

    def receive_now(self) -> list[Frame] | None:
        waiting, self.waiting = self.waiting, []
        return waiting

    def come(self, kind: FrameKind, payload: bytes) -> None:
        if not (self._take is not None and kind is PIECE and not self.waiting and self._take(payload)):
            self.waiting.append((kind, payload))


def offered() -> tuple[ResponseReader, Offers, Usual]:
    stream, usual = Offers(), Usual()
    reader = ResponseReader(cast("FrameStream", stream), ask(), "a peer")
    assert reader.take_head() is reader
    reader.listen(lambda: None, usual)
    return reader, stream, usual


def end(frames: int, size: int) -> Frame:
    return FrameKind.END, header_payload(FrameKind.END, AnswerEnd(frames, size))


async def test_what_was_taken_as_it_came_counts_at_the_end() -> None:
    reader, stream, usual = offered()
    for piece in (b"usual", b"odd", b"usual", b"usual"):
        stream.come(PIECE, piece)
    assert usual.taken == [b"usual"]
    assert reader.take_now() == b"oddusualusual"
    stream.come(PIECE, b"usual")
    stream.come(*end(5, 23))
    assert reader.take_now() == b""
    assert not reader.is_odd
    assert usual.taken == [b"usual"] * 2


@pytest.mark.parametrize("counts", [(2, 5), (1, 6), (0, 0)])
async def test_a_wrong_count_of_it_is_a_fault(counts: tuple[int, int]) -> None:
    reader, stream, _ = offered()
    stream.come(PIECE, b"usual")
    stream.come(*end(*counts))
    assert reader.take_now() == b""
    assert reader.is_odd


async def test_nothing_is_taken_behind_the_end_or_a_fault() -> None:
    for last in (end(1, 5), (FrameKind.HEAD, b"")):
        reader, stream, usual = offered()
        stream.come(PIECE, b"usual")
        stream.come(*last)
        assert reader.take_now() == b""
        stream.come(PIECE, b"usual")
        assert len(usual.taken) == 1
        assert stream.waiting


async def test_nothing_is_taken_before_what_was_put_back_or_once_nobody_listens() -> None:
    reader, stream, usual = offered()
    reader.put_back(b"first")
    stream.come(PIECE, b"usual")
    assert reader.take_now() == b"firstusual"
    reader.listen(None)
    stream.come(PIECE, b"usual")
    assert reader.take_now() == b"usual"
    assert not usual.taken
