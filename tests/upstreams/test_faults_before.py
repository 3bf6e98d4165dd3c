"""What goes wrong before the first piece of an answer: a whole error in the caller's dialect that says where and what.

Each fault in each dialect, asked for whole and streamed alike: at this point the caller has been given nothing.

Covers: `upstream`, `http.client`.
"""

import asyncio
import contextlib
import itertools

import pytest

from masa_node.dialects import framing
from tests.fakes.dialect_samples import ANTHROPIC, OLLAMA, OPENAI, SAMPLES, DialectSample
from tests.fakes.http_bytes import LAST_CHUNK, chunk, chunked, head, stream_head, whole
from tests.fakes.llm_server import FakeLlm, Step, close, flood, reset, send, stall, wait_for
from tests.fakes.raw_http import Reply, post
from tests.fakes.running import running_node

HTML = b"<!doctype html><title>It works!</title>"
HUGE = b"x" * 1000
OK_LINE = b"HTTP/1.1 200 OK\r\n"

every_dialect = pytest.mark.parametrize("speech", SAMPLES, ids=str)
streamed_or_not = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])


async def ask(speech: DialectSample, llm: FakeLlm, *, stream: bool, **settings: str) -> Reply:
    async with running_node(**speech.settings(llm.url), **settings) as node:
        return await post(node.port, speech.endpoint, speech.ask(stream=stream))


def check(reply: Reply, speech: DialectSample, llm: FakeLlm, status: int, *words: str) -> str:
    """One whole error in the dialect that names the server; gives its message."""
    message = speech.message_in(reply.body)
    assert (reply.status, reply.is_whole, reply.header("content-type")) == (status, True, "application/json")
    assert message.startswith(f"{speech.provider} ({llm.url}")
    for word in words:
        assert word in message
    return message


# A fault, what the caller is told about it, and (always) what there is to do about it.
ANY = [
    pytest.param((close,), ("closed the connection before it answered", "log"), id="closed without a byte"),
    pytest.param((reset,), ("closed the connection before it answered", "log"), id="reset without a byte"),
    pytest.param((send(OK_LINE + b"Content-Ty"), close), ("closed the connection", "log"), id="closed in the head"),
    pytest.param((send(OK_LINE), reset), ("closed the connection", "log"), id="reset in the head"),
    pytest.param((send(b"\x00\x01\x02SSH-2.0\r\n\r\n"), stall), ("not valid HTTP", "LLM server at"), id="garbage"),
    pytest.param((send(b"220 mail.example ESMTP\r\n"), stall), ("not valid HTTP",), id="another protocol"),
    pytest.param((send(OK_LINE), flood(b"x-a: " + HUGE + b"\r\n")), ("head", "larger than"), id="endless headers"),
    pytest.param((send(OK_LINE + b"x-a: "), flood(HUGE)), ("head", "larger than"), id="an endless header"),
    pytest.param((flood(b"HTTP/1.1 100 Continue\r\n\r\n"),), ("head", "larger than"), id="endless 100 Continue"),
    pytest.param((send(b"HTTP/1.1 101 Switching\r\n\r\n"), stall), ("not valid HTTP",), id="a switch of protocols"),
    pytest.param((send(whole(HTML, content_type="text/html")),), ("text/html", "URL"), id="a web page"),
    pytest.param((send(whole(b"")),), ("not a JSON object", "URL"), id="an empty body"),
    pytest.param((send(head(204, ())),), ("204", "no content"), id="204"),
    pytest.param((send(whole(b"{}", status=205)),), ("205", "no content"), id="205"),
    pytest.param((send(whole(b"[1]")),), ("not a JSON object",), id="JSON, but no object"),
    pytest.param((send(whole(b"[" * 50_000)),), ("not a JSON object",), id="JSON beyond any depth"),
    pytest.param((send(whole(b'{"a":' * 50_000)),), ("not a JSON object",), id="objects beyond any depth"),
    pytest.param((send(whole(b'{"choices":[1')[:-1]), close), ("broke", "again"), id="closed in a whole body"),
    pytest.param((send(whole(b'{"choices":[1')[:-1]), reset), ("broke", "again"), id="reset in a whole body"),
    pytest.param((send(whole(b"{}", status=600)),), ("600",), id="a status that HTTP does not have"),
    pytest.param((send(whole(b"", status=304)),), ("304",), id="304"),
]


@every_dialect
@streamed_or_not
@pytest.mark.parametrize(("script", "words"), ANY)
async def test_it_is_a_502_that_says_what_happened(
    speech: DialectSample, script: tuple[Step, ...], words: tuple[str, ...], *, stream: bool
) -> None:
    async with speech.fake(*script) as llm:
        reply = await ask(speech, llm, stream=stream)
    check(reply, speech, llm, 502, *words)
    assert len(llm.asked(speech.endpoint)) == 1


@every_dialect
@streamed_or_not
async def test_an_error_inside_a_200_is_no_answer(speech: DialectSample, *, stream: bool) -> None:
    async with speech.fake(send(whole(speech.error_answer))) as llm:
        reply = await ask(speech, llm, stream=stream)
    if speech is OLLAMA:
        check(reply, speech, llm, 502, "error inside", "boom")
    else:  # the LLM says of what kind it is: as if it had come with that status
        assert (reply.status, reply.body) == (500, speech.error_answer)


@every_dialect
@streamed_or_not
async def test_a_whole_answer_in_another_dialect_is_no_answer(speech: DialectSample, *, stream: bool) -> None:
    for other in SAMPLES:
        if other is not speech:
            async with speech.fake(send(other.whole)) as llm:
                reply = await ask(speech, llm, stream=stream)
            check(reply, speech, llm, 502)


@every_dialect
async def test_a_stream_in_another_dialect_is_no_answer(speech: DialectSample) -> None:
    for other in SAMPLES:
        if other is not speech:
            async with speech.fake(send(stream_head(speech.content_type) + chunked(other.frames))) as llm:
                reply = await ask(speech, llm, stream=True)
                check(reply, speech, llm, 502)


STREAMS = [
    pytest.param(b"", (close,), "broke", id="closed before a piece"),
    pytest.param(b"", (reset,), "broke", id="reset before a piece"),
    pytest.param(b"", (send(LAST_CHUNK),), "without a piece", id="ended before a piece"),
    pytest.param(chunk(b"\n"), (send(LAST_CHUNK),), "without a piece", id="ended after a blank line"),
    pytest.param(b"zz\r\n", (stall,), "not valid HTTP", id="a chunk without a size"),
    pytest.param(b"fffffffffffffffff\r\n", (stall,), "not valid HTTP", id="a chunk of 16 exabytes"),
    pytest.param(chunk(b"plain text\n\n"), (send(LAST_CHUNK),), "format", id="plain text"),
]


@every_dialect
@pytest.mark.parametrize(("begin", "script", "words"), STREAMS)
async def test_a_stream_that_never_gets_to_its_first_piece_is_a_502(
    speech: DialectSample, begin: bytes, script: tuple[Step, ...], words: str
) -> None:
    if speech is not OLLAMA and b"plain" in begin:
        begin = chunk(b"data: plain text\n\n")
    async with speech.fake(send(stream_head(speech.content_type) + begin), *script) as llm:
        reply = await ask(speech, llm, stream=True)
    check(reply, speech, llm, 502, words)


@every_dialect
async def test_a_stream_closed_inside_its_first_frame_is_a_502(speech: DialectSample) -> None:
    begun = stream_head(speech.content_type) + chunk(speech.first[:-5])
    for ending in ((close,), (reset,), (send(LAST_CHUNK),)):
        async with speech.fake(send(begun), *ending) as llm:
            reply = await ask(speech, llm, stream=True)
        check(reply, speech, llm, 502)


@every_dialect
async def test_a_stream_that_begins_with_an_error_is_that_error(speech: DialectSample) -> None:
    begun = stream_head(speech.content_type) + chunk(speech.error_frame)
    async with speech.fake(send(begun + LAST_CHUNK)) as llm:
        reply = await ask(speech, llm, stream=True)
    if speech is OLLAMA:
        check(reply, speech, llm, 502, "began with an error", "boom")
    else:
        assert reply.status == (500 if speech is OPENAI else 529)
        assert b"data: " + reply.body in speech.error_frame


@every_dialect
async def test_a_frame_without_an_end_is_a_502(speech: DialectSample, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "MAX_FRAME_BYTES", 100_000)
    endless = chunk(HUGE)
    async with speech.fake(send(stream_head(speech.content_type) + chunk(b"data: ")), flood(endless)) as llm:
        reply = await ask(speech, llm, stream=True)
        await llm.until(lambda: llm.departures == 1)
    check(reply, speech, llm, 502, "frame", "larger than 100000 bytes")


@every_dialect
@streamed_or_not
async def test_silence_is_a_504_that_names_the_timer_and_frees_the_server(
    speech: DialectSample, *, stream: bool
) -> None:
    async with speech.fake(stall) as llm, running_node(**speech.settings(llm.url), LLM_TIMEOUT="0.15") as node:
        reply = await post(node.port, speech.endpoint, speech.ask(stream=stream))
        await llm.until(lambda: llm.departures == 1)
    message = speech.message_in(reply.body)
    assert (reply.status, reply.is_whole) == (504, True)
    for words in ("s (LLM_TIMEOUT)", f"asked: {speech.provider}"):
        assert words in message


@every_dialect
async def test_a_stream_that_only_says_it_lives_is_a_504(speech: DialectSample) -> None:
    noise = b"\n" if speech is OLLAMA else b": ping\n\n"
    async with speech.fake(send(stream_head(speech.content_type)), flood(chunk(noise))) as llm:
        reply = await ask(speech, llm, stream=True, LLM_TIMEOUT="1", LLM_BEGIN_TIMEOUT="1")
    assert (reply.status, speech.message_in(reply.body).count("LLM_BEGIN_TIMEOUT")) == (504, 2)


async def test_a_server_that_has_sent_its_head_may_read_the_prompt_for_longer() -> None:
    """In each dialect, asked for whole and streamed; they wait together."""
    is_read = asyncio.Event()
    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        asked: list[tuple[bytes, asyncio.Task[Reply]]] = []
        for speech, stream in itertools.product(SAMPLES, (True, False)):
            begun = stream_head(speech.content_type if stream else "application/json")
            body = b"".join(speech.frames) if stream else speech.answer
            script = (send(begun), wait_for(is_read), send(chunk(body) + LAST_CHUNK))
            llm = await stack.enter_async_context(speech.fake(*script))
            node = await stack.enter_async_context(running_node(**speech.settings(llm.url), LLM_TIMEOUT="2"))
            reply = post(node.port, speech.endpoint, speech.ask(stream=stream))
            asked.append((body, group.create_task(reply)))
        asyncio.get_running_loop().call_later(2.2, is_read.set)
        for body, reading in asked:
            reply = await reading
            assert (reply.status, reply.is_whole, reply.body) == (200, True, body)


@every_dialect
async def test_silence_after_the_head_is_a_504_that_names_its_own_timer(speech: DialectSample) -> None:
    async with speech.fake(send(stream_head(speech.content_type)), stall) as llm:
        reply = await ask(speech, llm, stream=True, LLM_TIMEOUT="1", LLM_IDLE_TIMEOUT="1")
    assert (reply.status, speech.message_in(reply.body).count("LLM_IDLE_TIMEOUT")) == (504, 1)


# ---- errors of the LLM's own ----


@every_dialect
@streamed_or_not
@pytest.mark.parametrize("status", [400, 401, 404, 418, 422, 429, 500, 503, 529])
async def test_an_error_in_json_passes_as_it_is(speech: DialectSample, status: int, *, stream: bool) -> None:
    given = whole(speech.error_answer, status=status, headers=[("Retry-After", "7"), ("X-RateLimit-Left", "0")])
    async with speech.fake(send(given)) as llm:
        reply = await ask(speech, llm, stream=stream)
    assert (reply.status, reply.body, reply.is_whole) == (status, speech.error_answer, True)
    assert (reply.header("retry-after"), reply.header("x-ratelimit-left")) == ("7", "0")
    assert reply.header("content-type") == "application/json"
    assert len(llm.asked(speech.endpoint)) == 1


@every_dialect
@pytest.mark.parametrize(
    ("status", "content_type", "body", "words"),
    [
        (404, "text/plain", b"404 page not found", "404 page not found"),
        (403, "text/plain", b"", "an empty body"),
        (502, "text/html", b"<html>502 Bad Gateway</html>", "502 Bad Gateway"),
        (500, "application/json", b"{half", "{half"),
        (500, "application/json", b"\xff\xfe", "application/json"),
        (500, "application/json", b'{"a":' * 50_000, "application/json"),
        (500, "text/html", b"<p>" + HTML * 100, "It works!"),
    ],
)
async def test_an_error_that_is_no_json_is_told_in_the_dialect(
    speech: DialectSample, status: int, content_type: str, body: bytes, words: str
) -> None:
    given = whole(body, status=status, content_type=content_type, headers=[("Retry-After", "7")])
    async with speech.fake(send(given)) as llm:
        reply = await ask(speech, llm, stream=True)
    message = check(reply, speech, llm, status, f"answered {status}", words)
    assert len(message) < 500
    assert reply.header("retry-after") == "7"


@every_dialect
@pytest.mark.parametrize("body", [b'{"error":{"message":"Incorrect API key provided"}}', b"no key"])
async def test_a_401_of_an_llm_does_not_ask_for_this_nodes_key(speech: DialectSample, body: bytes) -> None:
    given = whole(body, status=401, headers=[("WWW-Authenticate", 'Bearer realm="llm"')])
    async with speech.fake(send(given)) as llm:
        reply = await ask(speech, llm, stream=False)
    assert (reply.status, reply.header("www-authenticate")) == (401, None)


@every_dialect
@streamed_or_not
async def test_an_llm_that_is_not_ready_is_to_be_asked_again_soon_and_keeps_its_words(
    speech: DialectSample, *, stream: bool
) -> None:
    given = whole(speech.error_answer, status=503)
    async with speech.fake(send(given)) as llm:
        reply = await ask(speech, llm, stream=stream)
    assert (reply.status, reply.body, reply.header("retry-after")) == (503, speech.error_answer, "2")


@every_dialect
@pytest.mark.parametrize(
    ("status", "said"),
    [
        (503, ("Retry-After-Ms", "350")),
        (503, ("X-Ms-Retry-After-Ms", "350")),
        (503, ("X-Should-Retry", "false")),
        (500, ("X-A", "b")),
    ],
)
async def test_an_llm_that_says_when_to_ask_again_or_has_failed_is_told_as_it_is(
    speech: DialectSample, status: int, said: tuple[str, str]
) -> None:
    async with speech.fake(send(whole(speech.error_answer, status=status, headers=[said]))) as llm:
        reply = await ask(speech, llm, stream=False)
    assert (reply.status, reply.header("retry-after")) == (status, None)


@every_dialect
async def test_an_error_in_our_words_says_when_to_try_again_as_the_llm_did(speech: DialectSample) -> None:
    headers = [("Retry-After-Ms", "350"), ("X-RateLimit-Left", "0"), ("request-id", "theirs")]
    given = whole(b"slow down", status=429, content_type="text/plain", headers=headers)
    async with speech.fake(send(given)) as llm:
        reply = await ask(speech, llm, stream=False)
    assert (reply.header("retry-after-ms"), reply.header("x-ratelimit-left")) == ("350", "0")
    assert reply.header("content-type") == "application/json"
    assert [value for name, value in reply.headers if name == "request-id"] != ["theirs"]


@every_dialect
async def test_an_error_without_an_end_is_a_502(speech: DialectSample) -> None:
    endless = stream_head("text/plain", status=500)
    async with speech.fake(send(endless), flood(chunk(HUGE * 50))) as llm:
        reply = await ask(speech, llm, stream=True)
    check(reply, speech, llm, 502, "larger than")


@every_dialect
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(speech: DialectSample, status: int) -> None:
    async with FakeLlm() as canary:
        moved = head(status, [("Location", f"{canary.url}{speech.endpoint}"), ("Content-Length", "0")])
        async with speech.fake(send(moved)) as llm:
            reply = await ask(speech, llm, stream=True)
    check(reply, speech, llm, 502, str(status), "not followed", "Set the final URL", canary.url)
    assert canary.connections == 0


async def test_a_damaged_compressed_answer_is_no_answer() -> None:
    packed = whole(b"\x1f\x8b\x08\x00" + bytes(20), headers=[("Content-Encoding", "gzip")])
    async with OPENAI.fake(send(packed)) as llm:
        reply = await ask(OPENAI, llm, stream=False)
    check(reply, OPENAI, llm, 502, "compressed body is damaged")


@pytest.mark.parametrize("value", [b"a\r\n b", b"a\x01b", b"a\x00b", b"caf\xe9", b"a\tb"])
async def test_no_header_of_a_server_can_break_the_head_of_the_answer(value: bytes) -> None:
    body = ANTHROPIC.error_answer
    given = b"HTTP/1.1 400 No\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (value, len(body), body)
    async with ANTHROPIC.fake(send(given)) as llm:
        reply = await ask(ANTHROPIC, llm, stream=False)
    assert reply.is_whole
    assert reply.status in (400, 502)
