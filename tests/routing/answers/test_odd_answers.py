"""Answers that SDKs read although they are odd: the bytes decide, not the label.

Covers: `reader`.
"""

from collections.abc import Callable

import pytest

from masa_node.chat.answer import Answer, StreamedAnswer, WholeAnswer
from masa_node.chat.errors import BrokenAnswer, ErrorAnswer, ErrorInStream, NotAnAnswer, ProviderError
from masa_node.chat.request import DialectName, Headers
from masa_node.dialects.choices import Endings
from masa_node.dialects.registry import DIALECTS
from masa_node.routing.answers.reader import MAX_TRAILER_BYTES, take_answer
from masa_node.routing.provider import Taker
from tests.virtual_time import virtual_time

CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
WHOLE = b'{"choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}]}'
LINE = b'{"message":{"content":"a"},"done":false}\n'
LAST = b'{"message":{"content":""},"done":true}\n'
LABELS = ["application/json", "text/event-stream", "application/x-ndjson", "text/html", "text/plain", ""]


class Said:
    """A response of these pieces; one that is an error is raised."""

    def __init__(self, *pieces: bytes | ProviderError, label: str = "", more: Headers = (), status: int = 200) -> None:
        self.status = status
        self.content_type = label
        self.headers: Headers = (("content-type", label), *more)
        self.closed = 0
        self._pieces = list(pieces)

    async def read_piece(self) -> bytes:
        piece = self._pieces.pop(0) if self._pieces else b""
        if isinstance(piece, ProviderError):
            raise piece
        return piece

    def listen(self, came: Callable[[], None] | None, taker: Taker | None = None) -> None:
        """Nothing is given without a task."""

    def take_now(self) -> bytes | None:
        return b""

    async def read_trailer(self) -> bytes:
        return await self.read_piece()

    def header(self, name: str) -> str | None:
        return next((value for own, value in self.headers if own == name), None)

    def close(self) -> None:
        self.closed += 1


async def take(
    *pieces: bytes | ProviderError, dialect: DialectName = DialectName.OPENAI, is_stream: bool = True, label: str = ""
) -> Answer:
    return await take_answer(Said(*pieces, label=label), DIALECTS[dialect], is_stream=is_stream)


async def body_of(answer: Answer) -> bytes:
    if isinstance(answer, WholeAnswer):
        return answer.body
    body = answer.first
    while piece := await answer.next_piece():
        body += piece
    return body


@pytest.mark.parametrize("is_stream", [True, False])
@pytest.mark.parametrize("label", LABELS)
@virtual_time
async def test_a_stream_is_one_and_a_whole_answer_is_whole_whatever_the_label_says(
    label: str, *, is_stream: bool
) -> None:
    streamed = await take(CHUNK, STOP + DONE, is_stream=is_stream, label=label)
    assert isinstance(streamed, StreamedAnswer)
    assert streamed.first == CHUNK
    assert await body_of(streamed) == CHUNK + STOP + DONE
    whole = await take(WHOLE[:9], WHOLE[9:], is_stream=is_stream, label=label)
    assert isinstance(whole, WholeAnswer)
    assert whole.body == WHOLE
    lines = await take(LINE, LAST, dialect=DialectName.OLLAMA, is_stream=is_stream, label=label)
    assert isinstance(lines, StreamedAnswer)
    assert await body_of(lines) == LINE + LAST


@virtual_time
async def test_metadata_comes_with_the_first_piece_and_does_not_win_before() -> None:
    role = CHUNK.replace(b'"content":"hi"', b'"role":"assistant"')
    answer = await take(b": hi\n\n", role, b"data: {}\n\n", CHUNK, STOP, DONE)
    assert isinstance(answer, StreamedAnswer)
    assert answer.first == b": hi\n\n" + role + b"data: {}\n\n" + CHUNK


@pytest.mark.parametrize("is_stream", [True, False])
@virtual_time
async def test_a_page_is_refused_with_its_first_bytes_although_it_never_ends(*, is_stream: bool) -> None:
    never = AssertionError("read on")
    with pytest.raises(NotAnAnswer, match="<h1>502"):
        await take(b"<html><h1>502</h1>", NotAnAnswer(str(never)), is_stream=is_stream)


@virtual_time
async def test_the_llms_words_are_told_and_what_hinders_reading_them() -> None:
    with pytest.raises(NotAnAnswer, match="Not authenticated"):
        await take(b'{"detail":"Not authenticated"}')
    with pytest.raises(BrokenAnswer, match="upstream is warming up"):
        await take(b"upstream is warming up\n\n")
    packed = Said(b"\x1f\x8b\x08\x00", label="application/json", more=(("content-encoding", "gzip"),))
    with pytest.raises(NotAnAnswer, match="Content-Encoding: 'gzip'"):
        await take_answer(packed, DIALECTS[DialectName.OPENAI], is_stream=False)
    assert packed.closed


@pytest.mark.parametrize(
    ("body", "label", "what"),
    [
        (b'"boom"', "application/json", "application/json without an object that can be read: '\"boom\"'"),
        (b"{half", "application/problem+json", "application/problem+json without an object that can be read: '{half'"),
        (b"boom", "text/plain", "text/plain instead of JSON: 'boom'"),
        (b"", "", "no content type instead of JSON: an empty body"),
    ],
)
@virtual_time
async def test_an_error_that_is_no_object_is_called_what_it_is(body: bytes, label: str, what: str) -> None:
    with pytest.raises(ErrorAnswer) as raised:
        await take_answer(Said(body, label=label, status=500), DIALECTS[DialectName.OPENAI], is_stream=False)
    assert raised.value.message == f"it answered 500: {what}"


@pytest.mark.parametrize("body", [b'{"error":{"fault":"too long"}}', b'{"error_msg":"too long","error":true}'])
@virtual_time
async def test_an_error_whose_words_stand_where_nobody_looks_for_them_is_quoted(body: bytes) -> None:
    for frame in (b"event: error\ndata: " + body + b"\n\n", b"data: " + body + b"\n\n"):
        with pytest.raises(ErrorInStream, match="too long"):
            await take(frame)
    with pytest.raises(ErrorInStream, match="too long"):
        await take(body + b"\n", dialect=DialectName.OLLAMA)
    for dialect in (DialectName.OPENAI, DialectName.ANTHROPIC, DialectName.OLLAMA, DialectName.CLOUDFLARE):
        with pytest.raises(NotAnAnswer, match="too long"):
            await take(body, dialect=dialect, is_stream=False)


@pytest.mark.parametrize("is_stream", [True, False])
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"error":{"code":400,"message":"too long"}}', 400),
        (b'[{"error":{"code":429,"message":"too long","status":"RESOURCE_EXHAUSTED"}}]', 429),
        (b'{"object":"error","message":"too long","code":404}', 404),
        (b'{"code":401,"msg":"too long","success":false}', 401),
        (b'{"base_resp":{"status_code":2013,"status_msg":"too long"}}', 400),
    ],
)
@virtual_time
async def test_an_error_inside_a_200_is_that_error(body: bytes, status: int, *, is_stream: bool) -> None:
    for dialect in DIALECTS:
        with pytest.raises(ErrorAnswer, match="too long") as raised:
            await take(body, dialect=dialect, is_stream=is_stream)
        assert (raised.value.status, raised.value.body, raised.value.is_json) == (status, body, True)


@virtual_time
async def test_an_answer_without_choices_that_tells_of_an_error_is_that_error() -> None:
    body = b'{"object":"chat.completion","choices":null,"base_resp":{"status_code":1002,"status_msg":"rate limit"}}'
    with pytest.raises(ErrorAnswer, match="rate limit") as raised:
        await take(body, is_stream=False)
    assert (raised.value.status, raised.value.body) == (429, body)
    well = body.replace(b"1002", b"0").replace(b"rate limit", b"success")
    assert await body_of(await take(well, is_stream=False)) == well


@virtual_time
async def test_a_list_of_errors_passes_with_its_status() -> None:
    body = b'[{"error":{"code":400,"message":"Unknown name"}}]'
    with pytest.raises(ErrorAnswer, match="Unknown name") as raised:
        await take_answer(Said(body, status=400), DIALECTS[DialectName.OPENAI], is_stream=False)
    assert (raised.value.body, raised.value.is_json) == (body, True)


@virtual_time
async def test_what_happens_after_the_terminal_frame_is_no_error() -> None:
    for rest in (BrokenAnswer("reset"), b"garbage", b'data: {"error":{"message":"late"}}\n\n'):
        answer = await take(CHUNK, STOP + DONE, rest)
        assert (await body_of(answer)).startswith(CHUNK + STOP + DONE)
    answer = await take(CHUNK + STOP + DONE, *[b": more\n\n" * 1_000] * 100)
    assert len(await body_of(answer)) < MAX_TRAILER_BYTES + 10_000


@virtual_time
async def test_a_server_that_never_says_why_it_stopped_has_to_show_so_first() -> None:
    endings = Endings()
    ways = [(CHUNK, DONE), (CHUNK, DONE)]
    with pytest.raises(BrokenAnswer, match="finish_reason"):
        await body_of(await take_answer(Said(*ways[0]), DIALECTS[DialectName.OPENAI], is_stream=True, endings=endings))
    second = await take_answer(Said(*ways[1]), DIALECTS[DialectName.OPENAI], is_stream=True, endings=endings)
    assert await body_of(second) == CHUNK + DONE
    whole = WHOLE.replace(b'"stop"', b"null")
    answer = await take_answer(Said(whole), DIALECTS[DialectName.OPENAI], is_stream=False, endings=endings)
    assert await body_of(answer) == whole
    assert await body_of(await take(whole)) == whole


NO_REASON = {
    DialectName.OPENAI: b'{"choices":[{"index":0,"message":{"content":"hi"},"finish_reason":%s}]}',
    DialectName.ANTHROPIC: b'{"type":"message","content":[{"type":"text","text":"hi"}],"stop_reason":%s}',
    DialectName.OLLAMA: b'{"message":{"content":"hi"},"done":true,"done_reason":%s}',
    DialectName.OPENAI_RESPONSES: b'{"output":[{"type":"message","content":[]}],"status":%s}',
    DialectName.CLOUDFLARE: b'{"success":true,"result":{"choices":[{"finish_reason":%s}]}}',
}


@pytest.mark.parametrize("reason", [b"null", b'""'])
@pytest.mark.parametrize("dialect", NO_REASON)
@virtual_time
async def test_a_whole_answer_without_a_reason_passes_the_first_time_and_later(
    dialect: DialectName, reason: bytes
) -> None:
    """Whatever was seen of its server before: no SDK asks for a reason, and what is cut is no JSON."""
    endings = Endings()
    for body in (NO_REASON[dialect] % reason, NO_REASON[dialect] % b'"stop"', NO_REASON[dialect] % reason):
        answer = await take_answer(Said(body), DIALECTS[dialect], is_stream=False, endings=endings)
        assert await body_of(answer) == body


@virtual_time
async def test_a_whole_answer_without_a_reason_shows_that_its_server_gives_none_in_streams() -> None:
    endings = Endings()
    whole = WHOLE.replace(b'"stop"', b"null")
    await take_answer(Said(whole), DIALECTS[DialectName.OPENAI], is_stream=False, endings=endings)
    stream = await take_answer(Said(CHUNK, DONE), DIALECTS[DialectName.OPENAI], is_stream=True, endings=endings)
    assert await body_of(stream) == CHUNK + DONE


@virtual_time
async def test_a_choice_without_a_reason_beside_one_that_has_it_is_cut_in_a_whole_answer_too() -> None:
    body = b'{"choices":[{"index":0,"finish_reason":"stop"},{"index":1,"finish_reason":null}]}'
    with pytest.raises(BrokenAnswer, match="choices"):
        await take(body, is_stream=False)


@pytest.mark.parametrize("end", [b"", b"\n"])
@virtual_time
async def test_a_whole_answer_of_ollama_need_not_say_that_it_is_done(end: bytes) -> None:
    body = b'{"message":{"role":"assistant","content":"hi"}}' + end
    for said in (body, body.replace(b"}}", b'},"done": null}')):
        assert await body_of(await take(said, dialect=DialectName.OLLAMA, is_stream=False)) == said
    with pytest.raises(BrokenAnswer):  # a stream has to
        await body_of(await take(body, dialect=DialectName.OLLAMA))
    lines = b'{"message":{"content":"a"}}\n'
    streamed = await take(lines, LAST, dialect=DialectName.OLLAMA, is_stream=False)
    assert await body_of(streamed) == lines + LAST


@pytest.mark.parametrize("noise", [b"[]", b"null", b"{}", b'""', b"[ ]", b'"ping"'])
@pytest.mark.parametrize("is_stream", [True, False])
@virtual_time
async def test_a_line_that_says_nothing_before_the_first_of_ollama_is_noise(noise: bytes, *, is_stream: bool) -> None:
    answer = await take(noise + b"\n", LINE, LAST, dialect=DialectName.OLLAMA, is_stream=is_stream)
    assert await body_of(answer) == noise + b"\n" + LINE + LAST


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        (DialectName.OPENAI, b'{"choices":[{"message":{"content":null},"finish_reason":"stop"}]}'),
        (DialectName.OPENAI, b'{"object":"chat.completion","choices":null,"usage":null}'),
        (DialectName.OPENAI, b'{"object":"text_completion"}'),
        (DialectName.ANTHROPIC, b'{"type":"message","content":null,"stop_reason":"end_turn"}'),
        (DialectName.ANTHROPIC, b'{"type":"message","stop_reason":"end_turn"}'),
        (DialectName.OPENAI_RESPONSES, b'{"object":"response","status":"completed","output":null}'),
        (DialectName.OLLAMA, b'{"message":null,"done":true}'),
        (DialectName.CLOUDFLARE, b'{"result":{"response":null},"success":true}'),
    ],
)
@virtual_time
async def test_a_whole_answer_with_nothing_to_say_is_one(dialect: DialectName, body: bytes) -> None:
    answer = await take(body, dialect=dialect, is_stream=False)
    assert isinstance(answer, WholeAnswer)
    assert answer.body == body


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("dialect", NO_REASON)
@virtual_time
async def test_a_whole_answer_may_be_in_another_encoding_of_unicode(dialect: DialectName, encoding: str) -> None:
    """Servers on Windows; readers of JSON tell by the first bytes (RFC 4627, 3)."""
    body = (NO_REASON[dialect] % b'"stop"').decode().encode(encoding)
    answer = await take(body, dialect=dialect, is_stream=False)
    assert await body_of(answer) == body
    refused = b'{"error":{"code":400,"message":"too long"}}'.decode().encode(encoding)
    with pytest.raises(ErrorAnswer, match="too long") as raised:
        await take_answer(Said(refused, status=400), DIALECTS[dialect], is_stream=False)
    assert (raised.value.body, raised.value.is_json) == (refused, True)


WELL = [
    b'{"code":0,"message":" Success"}',
    b'{"code":"0","message":""}',
    b'{"code":200,"message":"OK"}',
    b'{"message":"success"}',
]


@pytest.mark.parametrize("well", WELL)
@virtual_time
async def test_an_error_that_says_that_all_is_well_is_none(well: bytes) -> None:
    for dialect, sample in NO_REASON.items():
        body = (sample % b'"stop"')[:-1] + b',"error":%s}' % well
        assert await body_of(await take(body, dialect=dialect, is_stream=False)) == body


@pytest.mark.parametrize("reason", [b'"eos_token"', b'{"type":"stop"}', b"2", b"true", b"0", b"{}", b"[]"])
@virtual_time
async def test_a_stream_ends_with_a_reason_of_any_type(reason: bytes) -> None:
    end = STOP.replace(b'"stop"', reason)
    assert await body_of(await take(CHUNK, end, DONE)) == CHUNK + end + DONE


@pytest.mark.parametrize("reason", [b"null", b'""', b"false", b'"null"'])
@virtual_time
async def test_what_is_no_reason_ends_no_stream(reason: bytes) -> None:
    with pytest.raises(BrokenAnswer, match="no finish_reason"):
        await body_of(await take(CHUNK, STOP.replace(b'"stop"', reason), DONE))


@pytest.mark.parametrize("done", [b'"true"', b"1", b'"True"'])
@virtual_time
async def test_a_stream_of_ollama_is_done_when_its_reader_says_so(done: bytes) -> None:
    last = LAST.replace(b"true", done)
    assert await body_of(await take(LINE, last, dialect=DialectName.OLLAMA)) == LINE + last
