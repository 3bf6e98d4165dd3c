import asyncio
from collections.abc import Callable, Sequence

import pytest

from masa_node.chat.answer import Answer, StreamedAnswer, Usage, WholeAnswer
from masa_node.chat.errors import (
    BrokenAnswer,
    ErrorAnswer,
    ErrorInStream,
    LinkLost,
    NotAnAnswer,
    PeerBusy,
    PeerRefused,
    ProtocolFault,
    ProviderError,
    StreamReset,
)
from masa_node.chat.request import DIALECT_OF_ENDPOINT, DialectName, Endpoint, Request
from masa_node.dialects.tracking import StreamTracker
from masa_node.network.links.frames import FrameKind, FrameReader, frame, header_frame
from masa_node.network.links.mux import MUX_WINDOW_BYTES
from masa_node.network.requests.frames import AnswerEnd, AnswerHead, RequestFailure, request_frames
from masa_node.network.requests.response_writer import WHOLE_STALL_S
from masa_node.network.transport.interfaces import NodeId
from masa_node.routing.provider import Sign, no_sign
from tests.dialects.recorded import Body, error_bodies, streams, whole_answers
from tests.dialects.recorded import Stream as Recorded
from tests.network.requests.request_world import MODEL, Node, ask, take, world
from tests.network.said import SaidStream
from tests.virtual_time import now_s, settle, virtual_time

ENDPOINT_OF = {dialect: endpoint for endpoint, dialect in reversed(DIALECT_OF_ENDPOINT.items())} | {
    DialectName.OPENAI: Endpoint.OPENAI_CHAT,
    DialectName.OLLAMA: Endpoint.OLLAMA_CHAT,
}
CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
WHOLE = b'{"choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}]}'


def head(status: int = 200, model: str = MODEL, dialect: str = "openai", *, is_stream: bool = True) -> bytes:
    return header_frame(FrameKind.HEAD, AnswerHead(status, model, dialect, is_stream))


def piece(data: bytes) -> bytes:
    return frame(FrameKind.PIECE, data)


def end(*pieces: bytes) -> bytes:
    return header_frame(FrameKind.END, AnswerEnd(len(pieces), sum(map(len, pieces))))


GOOD = head() + piece(CHUNK) + piece(STOP + DONE) + end(CHUNK, STOP + DONE)


class Liar:
    """Reads the request, then writes these bytes, then finishes (or resets, or goes on saying nothing)."""

    def __init__(self, *said: bytes, then: str = "finish") -> None:
        self.said = said
        self.then = then
        self.heard = b""

    async def hear_request(self, stream: SaidStream) -> None:
        reader = FrameReader()
        while True:
            data = await stream.read()
            self.heard += data
            if any(kind is FrameKind.BODY for kind, _ in reader.feed(data)):
                return

    async def serve(self, peer: NodeId, stream: SaidStream) -> None:
        try:
            await self.hear_request(stream)
            for data in self.said:
                await stream.write(data)
            if self.then == "finish":
                await stream.finish()
            elif self.then == "reset":
                await asyncio.sleep(1)
                stream.abort()
            while data := await stream.read():
                self.heard += data
        except (StreamReset, LinkLost):
            pass
        finally:
            stream.abort()


class Says:
    """A provider that gives this stream, in these pieces, checked by nobody."""

    is_local = True
    is_trusted = True
    is_hosted = False
    priority = 0
    name = "llm"
    location = "llm (http://10.0.0.1:11434)"

    def __init__(self, dialect: DialectName, *pieces: bytes, usage: Usage | None = None) -> None:
        self._dialect = dialect
        self._pieces = pieces
        self._usage = usage or Usage()
        self.asked: list[Request] = []
        self.open = 0

    async def answer(self, asked: Request, sign: Sign = no_sign) -> Answer:
        self.asked.append(asked)
        self.open += 1
        left = list(self._pieces[1:])

        async def next_piece() -> bytes:
            return left.pop(0) if left else b""

        return StreamedAnswer(
            200, (("content-type", "text/event-stream"),), self._dialect, self._pieces[0], next_piece, self._close,
            lambda: 1, self._usage,
        )  # fmt: skip

    def _close(self) -> None:
        self.open -= 1


class Gives:
    """A provider that gives this whole answer, or raises this."""

    is_local = True
    is_trusted = True
    is_hosted = False
    priority = 0
    name = "llm"
    location = "llm (http://10.0.0.1:11434)"

    def __init__(self, given: Answer | ProviderError) -> None:
        self._given = given

    async def answer(self, asked: Request, sign: Sign = no_sign) -> Answer:
        if isinstance(self._given, ProviderError):
            raise self._given
        return self._given


def pieces_of(recorded: Recorded) -> list[bytes]:
    """The stream as an own LLM's answer would be given on: whole frames, the first valid piece in the first."""
    tracker = StreamTracker(recorded.dialect)
    out: list[bytes] = []
    begun = b""
    for data in recorded.frames:
        begun += tracker.feed(data)
        if tracker.started and begun:
            out.append(begun)
            begun = b""
    return out


# ---- what is whole comes whole ----


@pytest.mark.parametrize("recorded", streams(), ids=str)
@virtual_time
async def test_a_recorded_stream_comes_byte_for_byte(recorded: Recorded) -> None:
    node = Node((Says(recorded.dialect.name, *pieces_of(recorded), usage=recorded.usage),))
    async with world(node.serve) as here:
        got = await take(here.peer, ask(endpoint=ENDPOINT_OF[recorded.dialect.name]))
    assert got.error is None
    assert (got.body, got.answer and got.answer.usage) == (recorded.raw, recorded.usage)
    assert got.answer is not None
    assert got.answer.dialect is recorded.dialect.name
    assert (node.outcome.error, node.outcome.answer_bytes) == (None, len(recorded.raw))


@pytest.mark.parametrize("recorded", whole_answers(), ids=str)
@virtual_time
async def test_a_recorded_whole_answer_comes_byte_for_byte(recorded: Body) -> None:
    given = WholeAnswer(200, (("content-type", "application/json"),), recorded.raw, recorded.dialect.name)
    async with world(Node((Gives(given),)).serve) as here:
        asked = ask(b'{"model":"tiny","stream":false}', endpoint=ENDPOINT_OF[recorded.dialect.name], wants_stream=False)
        got = await take(here.peer, asked)
    assert (got.error, got.body) == (None, recorded.raw)


@pytest.mark.parametrize("recorded", error_bodies(), ids=str)
@virtual_time
async def test_an_error_of_the_llm_comes_as_it_gave_it(recorded: Body) -> None:
    headers = (("content-type", "application/json"), ("x-should-retry", "false"), ("x-ratelimit-limit", "1"))
    error = ErrorAnswer("it answered: boom", status=400, headers=headers, body=recorded.raw, is_json=True)
    async with world(Node((Gives(error),)).serve) as here:
        got = await take(here.peer, ask(endpoint=ENDPOINT_OF[recorded.dialect.name]))
    assert isinstance(got.error, ErrorAnswer)
    assert (got.error.status, got.error.body, got.error.is_json) == (400, recorded.raw, True)
    assert got.error.headers == headers[:2]


@virtual_time
async def test_an_error_that_is_no_json_keeps_its_status_and_when_to_ask_again() -> None:
    headers = (("retry-after-ms", "350"), ("x-should-retry", "true"))
    error = ErrorAnswer(
        "it answered 429: slow down", status=429, headers=(*headers, ("set-cookie", "a")), body=b"x", is_json=False
    )
    async with world(Node((Gives(error),)).serve) as here:
        got = await take(here.peer, ask())
    assert isinstance(got.error, ErrorAnswer)
    assert (got.error.status, got.error.headers) == (429, headers)
    assert "slow down" in got.error.message


@virtual_time
async def test_the_headers_that_a_stranger_tells_with_an_error_are_not_believed() -> None:
    told = (("retry-after", "5"), ("set-cookie", "a=b"), ("retry-after", "1\r\nset-cookie: a=b"))
    failure = RequestFailure("error_answer", "slow down", status=429, headers=told)
    async with world(Liar(header_frame(FrameKind.FAIL, failure)).serve) as here:
        got = await take(here.peer, ask())
    assert isinstance(got.error, ErrorAnswer)
    assert got.error.headers == (("retry-after", "5"),)


@virtual_time
async def test_a_piece_larger_than_a_frame_is_split_and_comes_whole() -> None:
    big = b'data: {"choices":[{"delta":{"content":"' + b"x" * 1_000_000 + b'"}}]}\n\n'
    async with world(Node((Says(DialectName.OPENAI, big, big + STOP + DONE),)).serve) as here:
        got = await take(here.peer, ask())
    assert (got.error, got.body) == (None, big + big + STOP + DONE)


@virtual_time
async def test_a_whole_answer_larger_than_the_window_comes_whole() -> None:
    body = b'{"choices":[{"index":0,"message":{"content":"' + b"x" * 3_000_000 + b'"},"finish_reason":"stop"}]}'
    async with world(Node((Gives(WholeAnswer(200, (), body, DialectName.OPENAI)),)).serve) as here:
        got = await take(here.peer, ask(b'{"model":"tiny"}', wants_stream=False))
    assert (got.error, got.body) == (None, body)


@virtual_time
async def test_a_long_body_reaches_the_llm_as_it_is() -> None:
    llm = Says(DialectName.OPENAI, CHUNK, STOP + DONE)
    body = b'{"model":"tiny","stream":true,"x":"' + bytes(range(97, 122)) * 30_000 + b'"}'
    async with world(Node((llm,)).serve) as here:
        got = await take(here.peer, ask(body))
    assert got.error is None
    assert llm.asked[0].body == body


# ---- what is cut is never whole ----


@pytest.mark.parametrize("then", ["finish", "reset"])
@pytest.mark.parametrize("recorded", streams()[::3], ids=str)
@virtual_time
async def test_no_cut_of_a_stream_is_a_clean_end(recorded: Recorded, then: str) -> None:
    said = head(dialect=recorded.dialect.name)
    said += b"".join(map(piece, recorded.frames)) + end(*recorded.frames)
    for at in sorted({0, 1, 3, *range(0, len(said), max(1, len(said) // 40)), len(said) - 1}):
        liar = Liar(said[:at], then=then)
        async with world(liar.serve, seed=at) as here:
            got = await take(here.peer, ask(endpoint=ENDPOINT_OF[recorded.dialect.name]))
        if got.body == recorded.raw and recorded.name != "transformers":
            assert got.error is None, at  # with its terminal frame the answer is whole, whatever becomes of END
            continue
        assert isinstance(got.error, BrokenAnswer | StreamReset), at
        assert recorded.raw.startswith(got.body)
        assert got.answer is None or isinstance(got.error, BrokenAnswer)


@virtual_time
async def test_a_link_that_is_lost_in_the_middle_breaks_the_answer() -> None:
    async with world(Liar(head() + piece(CHUNK), then="stall").serve) as here:
        answer = await here.peer.answer(ask())
        here.link.close("gone")
        assert isinstance(answer, StreamedAnswer)
        with pytest.raises(BrokenAnswer):
            await answer.next_piece()
        answer.close()


# ---- who lies is refused ----


def cases() -> Sequence[tuple[str, bytes, type[ProviderError], str]]:
    return [
        ("endless head", frame(FrameKind.HEAD, b"\xdf\x00\x00\xff\xff" + b"x" * 30_000), ProtocolFault, "malformed"),
        ("announced too long", b"\0\0\0\1\x12\xff\xff\xff" + b"x" * 100, LinkLost, "limit"),
        ("unknown kind", b"\0\0\0\1\x63\x00\x00\x00", LinkLost, "unknown kind"),
        ("wrong dialect", head(dialect="ollama") + piece(b'{"done":true}\n'), NotAnAnswer, "ollama"),
        ("unknown dialect", head(dialect="klingon"), NotAnAnswer, "klingon"),
        ("another model", head(model="other") + piece(CHUNK), NotAnAnswer, "other"),
        ("garbage", head() + piece(b"data: garbage\n\n"), NotAnAnswer, "format"),
        ("html", head(is_stream=False) + piece(b"<html>") + end(b"<html>"), NotAnAnswer, "JSON"),
        ("error with 200", head() + piece(b'data: {"error":{"message":"boom"}}\n\n'), ErrorInStream, "boom"),
        (
            "whole error with 200",
            head(is_stream=False) + piece(b'{"error":{"message":"boom"}}') + end(b'{"error":{"message":"boom"}}'),
            NotAnAnswer,
            "boom",
        ),
        (
            "status that is none",
            header_frame(FrameKind.HEAD, AnswerHead(999, MODEL, "openai", is_stream=True)),
            ProtocolFault,
            "",
        ),
        (
            "interim status",
            header_frame(FrameKind.HEAD, AnswerHead(101, MODEL, "openai", is_stream=True)),
            ProtocolFault,
            "",
        ),
        ("redirect", head(302), NotAnAnswer, "redirect"),
        ("piece before head", piece(CHUNK), ProtocolFault, "PIECE"),
        ("end before head", end(), ProtocolFault, "END"),
        ("two heads", head() + head(), ProtocolFault, "HEAD"),
        ("empty piece", head() + piece(b""), ProtocolFault, "empty"),
        ("control frame", header_frame(FrameKind.PING, RequestFailure("x")), ProtocolFault, "PING"),
        ("no piece", head() + end(), BrokenAnswer, "without a piece"),
        ("wrong count", head() + piece(CHUNK) + end(CHUNK, CHUNK), ProtocolFault, "pieces"),
        ("wrong count of bytes", head() + piece(CHUNK) + end(CHUNK + b"x"), ProtocolFault, "bytes"),
        ("no terminal frame", head() + piece(CHUNK) + end(CHUNK), BrokenAnswer, "finish_reason"),
        ("piece after end", GOOD + piece(CHUNK), ProtocolFault, "after the end"),
        (
            "head after fail",
            header_frame(FrameKind.FAIL, RequestFailure("peer_busy")) + head(),
            ProtocolFault,
            "after the end",
        ),
    ]


@pytest.mark.parametrize(("said", "error", "words"), [case[1:] for case in cases()], ids=[case[0] for case in cases()])
@virtual_time
async def test_a_liar_is_refused_with_a_clear_error(said: bytes, error: type[ProviderError], words: str) -> None:
    for seed in range(8):
        async with world(Liar(said).serve, seed=seed) as here:
            got = await take(here.peer, ask())
        assert type(got.error) in {error, PeerBusy} if words == "after the end" else type(got.error) is error
        if type(got.error) is error:
            assert words in got.error.message
            # What breaks in the middle gets its place where the answer is passed on.
            assert got.error.location == (here.peer.location if got.answer is None else "")


@virtual_time
async def test_a_frame_after_the_end_in_a_packet_of_its_own_is_noticed() -> None:
    async with world(Liar(GOOD, piece(CHUNK)).serve) as here:
        got = await take(here.peer, ask())
    assert isinstance(got.error, ProtocolFault)


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (RequestFailure("peer_busy", "no place"), PeerBusy),
        (RequestFailure("peer_refused", "not shared"), PeerRefused),
        (RequestFailure("not_an_answer", "html", "its LLM server"), NotAnAnswer),
        (RequestFailure("broken_answer", "cut"), BrokenAnswer),
        (RequestFailure("what_is_this", "hm"), ProviderError),
        (RequestFailure("unauthorized", "hm"), ProviderError),
        (RequestFailure("", ""), ProviderError),
    ],
    ids=lambda value: value.code if isinstance(value, RequestFailure) else value.__name__,
)
@virtual_time
async def test_a_failure_that_is_told_becomes_the_error_it_is(
    failure: RequestFailure, error: type[ProviderError]
) -> None:
    async with world(Liar(header_frame(FrameKind.FAIL, failure)).serve) as here:
        got = await take(here.peer, ask())
    assert type(got.error) is error
    assert failure.message in got.error.message
    assert got.error.location.startswith("peer ")
    assert got.error.location.endswith(failure.location)


@virtual_time
async def test_what_a_failure_says_is_short_and_printable() -> None:
    failure = RequestFailure("peer_busy", "\x1b[31mred\r\n" + "x" * 480, "\x07bell")
    async with world(Liar(header_frame(FrameKind.FAIL, failure)).serve) as here:
        got = await take(here.peer, ask())
    assert got.error is not None
    assert got.error.message.isprintable()
    assert got.error.location.isprintable()


@virtual_time
async def test_pieces_before_a_failure_in_the_middle_are_given() -> None:
    said = head() + piece(CHUNK) + piece(CHUNK) + header_frame(FrameKind.FAIL, RequestFailure("stalled", "silent"))
    async with world(Liar(said).serve) as here:
        got = await take(here.peer, ask())
    assert got.body == CHUNK * 2
    assert got.error is not None
    assert got.error.code == "stalled"


@virtual_time
async def test_a_strangers_headers_are_not_believed() -> None:
    told = (
        ("content-type", "text/html"),
        ("retry-after", "5"),
        ("retry-after-ms", "4900"),
        ("set-cookie", "a=b"),
        ("location", "http://evil"),
        ("x-masa-served-by", "local"),
        ("retry-after", "1\r\nset-cookie: a=b"),
    )
    said = (
        header_frame(FrameKind.HEAD, AnswerHead(200, MODEL, "openai", is_stream=False, headers=told))
        + piece(WHOLE)
        + end(WHOLE)
    )
    async with world(Liar(said).serve) as here:
        got = await take(here.peer, ask(wants_stream=False))
    assert got.answer is not None
    assert got.answer.headers == (
        ("content-type", "application/json"),
        ("retry-after", "5"),
        ("retry-after-ms", "4900"),
    )


@virtual_time
async def test_through_the_native_endpoint_any_dialect_may_come() -> None:
    body = b'{"model":"tiny","message":{"role":"assistant","content":"hi"},"done":true}\n'
    said = head(dialect="ollama") + piece(body) + end(body)
    async with world(Liar(said).serve) as here:
        got = await take(here.peer, ask(endpoint=Endpoint.NATIVE))
    assert got.error is None
    assert got.answer is not None
    assert got.answer.dialect is DialectName.OLLAMA


@virtual_time
async def test_usage_that_the_answer_does_not_tell_is_taken_from_the_end() -> None:
    said = head() + piece(CHUNK + STOP + DONE) + header_frame(
        FrameKind.END, AnswerEnd(1, len(CHUNK + STOP + DONE), 3, 4)
    )  # fmt: skip
    async with world(Liar(said).serve) as here:
        got = await take(here.peer, ask())
    assert got.answer is not None
    assert got.answer.usage == Usage(3, 4)


# ---- a busy peer, and a long body ----


@virtual_time
async def test_a_peer_that_refuses_is_heard_before_all_of_a_long_body_is_sent() -> None:
    class Refuses(Liar):
        async def serve(self, peer: NodeId, stream: SaidStream) -> None:
            await stream.read()
            await stream.write(header_frame(FrameKind.FAIL, RequestFailure("peer_busy", "no place")))
            await stream.finish()
            await asyncio.sleep(100)
            stream.abort()

    body = b'{"model":"tiny","stream":true,"x":"' + b"x" * 5_000_000 + b'"}'
    async with world(Refuses().serve) as here:
        got = await take(here.peer, ask(body))
        assert isinstance(got.error, PeerBusy)
        assert now_s() < 1
        await asyncio.sleep(200)


@virtual_time
async def test_headers_that_no_peer_takes_are_not_sent() -> None:
    async with world(Liar(GOOD).serve) as here:
        got = await take(here.peer, ask(headers=(("anthropic-beta", "x" * 2_000),)))
    assert isinstance(got.error, PeerRefused)


# ---- nothing stays open ----


@virtual_time
async def test_whoever_cancels_before_the_first_piece_leaves_nothing_open() -> None:
    for turns in range(40):
        async with world(Liar(GOOD[:-3], then="stall").serve, seed=turns) as here:
            asking = asyncio.get_running_loop().create_task(take(here.peer, ask(b'{"model":"tiny","stream":true}')))
            await asyncio.sleep(turns * 0.000_25)
            asking.cancel()
            await asyncio.wait([asking])


@virtual_time
async def test_whoever_cancels_while_a_long_body_is_sent_leaves_nothing_open() -> None:
    body = b'{"model":"tiny","stream":true,"x":"' + b"x" * 900_000 + b'"}'
    for turns in range(60):
        llm = Says(DialectName.OPENAI, CHUNK, STOP + DONE)
        node = Node((llm,))
        async with world(node.serve, seed=turns) as here:
            asking = asyncio.get_running_loop().create_task(take(here.peer, ask(body)))
            await asyncio.sleep(turns * 0.000_4)
            asking.cancel()
            await asyncio.wait([asking])
        assert llm.open == 0
        assert node.admission.running == 0


@virtual_time
async def test_closing_an_answer_stops_the_other_node_at_once() -> None:
    class Endless(Says):
        async def answer(self, asked: Request, sign: Sign = no_sign) -> Answer:
            await super().answer(asked, sign)

            async def next_piece() -> bytes:
                await asyncio.sleep(0.01)
                return CHUNK

            return StreamedAnswer(200, (), DialectName.OPENAI, CHUNK, next_piece, self._close, lambda: 1, Usage())

    llm = Endless(DialectName.OPENAI, CHUNK)
    node = Node((llm,))
    async with world(node.serve) as here:
        answer = await here.peer.answer(ask())
        assert isinstance(answer, StreamedAnswer)
        for _ in range(20):
            await answer.next_piece()
        assert llm.open == 1
        answer.close()
        answer.close()
        await asyncio.sleep(0.01)
        await settle()
        assert (llm.open, node.admission.running, node.outcome.error) == (0, 0, "caller_gone")


# ---- a stalled reader harms only himself ----


@virtual_time
async def test_a_stalled_reader_holds_a_window_and_his_neighbours_go_on() -> None:
    class Fast(Says):
        given = 0

        async def answer(self, asked: Request, sign: Sign = no_sign) -> Answer:
            await super().answer(asked, sign)
            mine = {"given": 0}
            self.mine = mine

            async def next_piece() -> bytes:
                await asyncio.sleep(0.000_1)
                mine["given"] += 1
                if mine["given"] == 100_000:
                    return STOP + DONE
                return CHUNK if mine["given"] < 100_000 else b""

            return StreamedAnswer(200, (), DialectName.OPENAI, CHUNK, next_piece, self._close, lambda: 1, Usage())

    stalled, busy = Fast(DialectName.OPENAI, CHUNK), Says(DialectName.OPENAI, CHUNK, *[CHUNK] * 3_000, STOP + DONE)

    class Both(Says):
        async def answer(self, asked: Request, sign: Sign = no_sign) -> Answer:
            return await (stalled if b"slow" in asked.body else busy).answer(asked, sign)

    node = Node((Both(DialectName.OPENAI, CHUNK),))
    async with world(node.serve) as here:
        answer = await here.peer.answer(ask(b'{"model":"tiny","stream":true,"x":"slow"}'))
        await asyncio.sleep(60)
        assert len(CHUNK) * stalled.mine["given"] <= MUX_WINDOW_BYTES
        for _ in range(5):
            got = await take(here.peer, ask())
            assert got.error is None
            assert got.body.count(CHUNK) == 3_001
        answer.close()


@virtual_time
async def test_a_node_that_serves_gives_a_stalled_reader_up_after_the_idle_time() -> None:
    node = Node((Says(DialectName.OPENAI, CHUNK, *[CHUNK] * 4_000, STOP + DONE),))
    async with world(node.serve) as here:
        answer = await here.peer.answer(ask())
        await asyncio.sleep(node.limits.idle_timeout_s + 1)
        assert node.outcome.error == "caller_stalled"
        assert node.admission.running == 0
        answer.close()


@virtual_time
async def test_a_node_that_serves_gives_a_stalled_readers_slot_to_a_request_that_waits() -> None:
    llm = Says(DialectName.OPENAI, CHUNK, *[CHUNK] * 4_000, STOP + DONE)
    node = Node((llm,), max_running=1)
    async with world(node.serve) as here:
        answer = await here.peer.answer(ask())
        got = await take(here.peer, ask())
        assert (got.error, got.body.count(CHUNK)) == (None, 4_001)
        assert [outcome.error for outcome in node.outcomes] == ["caller_stalled", None]
        assert (llm.open, node.admission.running) == (0, 0)
        assert isinstance(answer, StreamedAnswer)
        with pytest.raises(ProviderError):  # what was under way may still be read, and never looks whole
            await _read_on(answer)
        answer.close()


async def _read_on(answer: StreamedAnswer) -> None:
    while await answer.next_piece():
        pass


@pytest.mark.parametrize("is_error", [False, True], ids=["answer", "error"])
@virtual_time
async def test_a_node_that_serves_soon_gives_up_who_takes_nothing_of_a_whole_answer(*, is_error: bool) -> None:
    """All of it is in memory, where it counts against the budget that all whole answers share."""
    body = b'{"error":{"message":"%s"}}' % (b"x" * 3 * MUX_WINDOW_BYTES)
    released: list[str] = []
    whole = WholeAnswer(200, (), body, DialectName.OPENAI, Usage(), lambda: released.append("answer"))
    error = ErrorAnswer("no", status=400, headers=(), body=body, is_json=True)
    node = Node((Gives(error if is_error else whole),))
    async with world(node.serve) as here:
        stream = await here.link.open()
        for kind, payload in request_frames(ask(b'{"model":"tiny"}', wants_stream=False), 30.0, "r-1"):
            await stream.send(kind, payload)
        await asyncio.sleep(1)
        await asyncio.sleep(WHOLE_STALL_S - 1)
        assert (node.outcomes, released) == ([], [])
        await asyncio.sleep(1)
        assert node.outcome.error == "caller_gone"
        assert len(released) == (not is_error)
        stream.abort()
    assert node.limits.idle_timeout_s > WHOLE_STALL_S


def test_trust_is_asked_for_each_time() -> None:
    async def check() -> None:
        async with world(Liar(GOOD).serve) as here:
            assert not here.peer.is_trusted
            here.is_trusted = True
            assert here.peer.is_trusted

    _run(check)


def _run(check: Callable[[], object]) -> None:
    virtual_time(check)()  # type: ignore[arg-type]


OPTIONAL_FRAME = bytes(4) + bytes([200]) + (3).to_bytes(3, "big") + b"new"


@pytest.mark.parametrize("at", range(4))
@virtual_time
async def test_frames_that_need_not_be_known_are_ignored_wherever_they_come(at: int) -> None:
    said = [head(is_stream=False), piece(WHOLE), end(WHOLE)]
    said.insert(at, OPTIONAL_FRAME)
    async with world(Liar(*said).serve) as here:
        answer = await here.peer.answer(ask(wants_stream=False))
    assert isinstance(answer, WholeAnswer)
    assert answer.body == WHOLE
