"""What goes wrong after the first piece: what came is passed on, then an error frame, and no end that looks like one.

To all three SDKs a stream that ends cleanly is a whole answer, so none of these may.

Covers: `upstream`, `http.client`.
"""

import asyncio

import pytest

from masa_node.dialects import framing
from tests.fakes.dialect_samples import OLLAMA, OPENAI, SAMPLES, DialectSample, listed
from tests.fakes.http_bytes import LAST_CHUNK, chunk, head, stream_head
from tests.fakes.llm_server import FakeLlm, Line, Script, Step, close, flood, reset, send, stall, wait_for
from tests.fakes.raw_http import Reply, calling, post, request
from tests.fakes.running import running_node

every_dialect = pytest.mark.parametrize("speech", SAMPLES, ids=str)


async def ask(speech: DialectSample, llm: FakeLlm, endpoint: str = "", **settings: str) -> Reply:
    async with running_node(**speech.settings(llm.url), **settings) as node:
        return await post(node.port, endpoint or speech.endpoint, speech.ask())


def check_cut(reply: Reply, speech: DialectSample, llm: FakeLlm, passed: bytes, *words: str) -> None:
    """A 200 whose body is what came, then one error frame that names the server, and that never ended."""
    assert reply.status == 200
    assert not reply.is_whole
    assert reply.body.startswith(passed)
    message = speech.message_in_frame(reply.body.removeprefix(passed))
    assert message.startswith(f"{speech.provider} ({llm.url}")
    for word in words:
        assert word in message


CUTS = [
    pytest.param((close,), "broke", id="closed between two frames"),
    pytest.param((reset,), "broke", id="reset between two frames"),
    pytest.param((send(b"3\r\nab"), close), "broke", id="closed inside a chunk"),
    pytest.param((send(b"zz\r\n"), stall), "not valid HTTP", id="garbage instead of a chunk"),
    pytest.param((send(b"3\r\nabcd\r\n"), stall), "not valid HTTP", id="a chunk longer than it said"),
    pytest.param((send(b"0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), stall), "cut", id="another answer instead of the rest"),
    pytest.param((send(LAST_CHUNK),), "cut", id="ended without a terminal frame"),
    pytest.param((send(LAST_CHUNK), close), "cut", id="ended without a terminal frame and closed"),
]


@every_dialect
@pytest.mark.parametrize(("script", "words"), CUTS)
async def test_a_cut_stream_ends_with_an_error_frame_and_no_last_chunk(
    speech: DialectSample, script: tuple[Step, ...], words: str
) -> None:
    async with speech.fake(send(speech.begun()), *script) as llm:
        reply = await ask(speech, llm)
    check_cut(reply, speech, llm, speech.first, words)
    assert len(llm.asked(speech.endpoint)) == 1


async def test_streams_that_a_server_cuts_for_the_next_request_are_all_told_as_cut() -> None:
    """llama_cpp.server 0.3.36: it says `[DONE]` to one as soon as the next has come, before it answers that."""
    null = b'data: {"choices": [{"index": 0, "delta": {"content": " 1"}, "finish_reason": null}]}\n\n'
    have_come = [asyncio.Event() for _ in range(3)]

    have_ended = [asyncio.Event() for _ in range(3)]
    have_ended[0].set()  # there is none before the first

    def came(number: int) -> Step:
        async def note(line: Line) -> None:
            del line
            have_come[number].set()
            await have_ended[number].wait()

        return note

    def cut(number: int) -> Script:
        async def note(line: Line) -> None:
            del line
            have_ended[number + 1].set()

        begun, end = stream_head(OPENAI.content_type) + chunk(null), chunk(b"data: [DONE]\n\n") + LAST_CHUNK
        return (came(number), send(begun), wait_for(have_come[number + 1]), send(end), note)

    fake = FakeLlm().answer(OPENAI.listing, *listed("m"))
    fake.answer(OPENAI.endpoint, cut(0), cut(1), (came(2), send(OPENAI.stream)))
    async with fake as llm, running_node(**OPENAI.settings(llm.url)) as node, asyncio.TaskGroup() as group:
        tasks = []
        for number in range(3):
            tasks.append(group.create_task(post(node.port, OPENAI.endpoint, OPENAI.ask())))
            await have_come[number].wait()
        replies = [await task for task in tasks]
    assert [reply.is_whole for reply in replies] == [False, False, True]
    assert all(b"so the answer was cut" in reply.body for reply in replies[:2])


@every_dialect
@pytest.mark.parametrize("ending", [(close,), (reset,), (send(LAST_CHUNK),)], ids=["closed", "reset", "ended"])
async def test_half_a_frame_is_not_passed_on(speech: DialectSample, ending: tuple[Step, ...]) -> None:
    half = speech.frames[1][:-3]
    async with speech.fake(send(speech.begun(chunk(half))), *ending) as llm:
        reply = await ask(speech, llm)
    check_cut(reply, speech, llm, speech.first)


@every_dialect
@pytest.mark.parametrize("ending", [(close,), (reset,), (send(LAST_CHUNK),)], ids=["closed", "reset", "ended"])
async def test_all_frames_but_the_terminal_one_are_a_cut_stream(
    speech: DialectSample, ending: tuple[Step, ...]
) -> None:
    frames = speech.frames[:-2] if speech is OPENAI else speech.frames[:-1]  # there, [DONE] may be missing
    begun = speech.begun(*map(chunk, frames[1:]))
    async with speech.fake(send(begun), *ending) as llm:
        reply = await ask(speech, llm)
    check_cut(reply, speech, llm, b"".join(frames))


@every_dialect
async def test_a_stream_that_says_nothing_any_more_is_cut_and_the_server_freed(speech: DialectSample) -> None:
    quick = {"LLM_IDLE_TIMEOUT": "0.15"}
    async with (
        speech.fake(send(speech.begun()), stall) as llm,
        running_node(**speech.settings(llm.url), **quick) as node,
    ):
        reply = await post(node.port, speech.endpoint, speech.ask())
        await llm.until(lambda: llm.departures == 1)
    check_cut(reply, speech, llm, speech.first, "0.15 s", "LLM_IDLE_TIMEOUT")


@every_dialect
async def test_half_a_frame_now_and_then_is_silence(speech: DialectSample) -> None:
    async with speech.fake(send(speech.begun()), flood(chunk(b"x"))) as llm:
        reply = await ask(speech, llm, LLM_IDLE_TIMEOUT="0.15")
    check_cut(reply, speech, llm, speech.first, "LLM_IDLE_TIMEOUT")


@every_dialect
async def test_a_frame_without_an_end_cuts_the_stream(speech: DialectSample, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "MAX_FRAME_BYTES", 100_000)
    async with speech.fake(send(speech.begun()), flood(chunk(b"x" * 1000))) as llm:
        reply = await ask(speech, llm)
        await llm.until(lambda: llm.departures == 1)
    check_cut(reply, speech, llm, speech.first, "larger than 100000 bytes")


@every_dialect
async def test_an_error_frame_of_the_llms_own_passes_as_it_is(speech: DialectSample) -> None:
    async with speech.fake(send(speech.begun(chunk(speech.error_frame), LAST_CHUNK))) as llm:
        reply = await ask(speech, llm)
    assert (reply.status, reply.body) == (200, speech.first + speech.error_frame)


@every_dialect
async def test_trailers_without_an_end_cut_the_stream(speech: DialectSample) -> None:
    async with speech.fake(send(speech.begun(b"0\r\n")), flood(b"x-a: " + b"y" * 1000 + b"\r\n")) as llm:
        reply = await ask(speech, llm)
        await llm.until(lambda: llm.departures == 1)
    check_cut(reply, speech, llm, speech.first, "larger than")


@every_dialect
async def test_a_trailer_without_an_end_cuts_the_stream(speech: DialectSample) -> None:
    async with speech.fake(send(speech.begun(b"0\r\nx-a: ")), flood(b"y" * 1000)) as llm:
        reply = await ask(speech, llm)
        await llm.until(lambda: llm.departures == 1)
    check_cut(reply, speech, llm, speech.first, "larger than")


@every_dialect
async def test_a_chunk_extension_without_an_end_cuts_the_stream(speech: DialectSample) -> None:
    async with speech.fake(send(speech.begun(b"5;")), flood(b"y" * 1000)) as llm:
        reply = await ask(speech, llm)
        await llm.until(lambda: llm.departures == 1)
    check_cut(reply, speech, llm, speech.first)


# ---- what looks like a fault and is none ----


@every_dialect
async def test_a_stream_whose_connection_stays_open_after_the_terminal_frame_is_whole(
    speech: DialectSample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("masa_node.upstreams.http.answer.AFTER_END_S", 0.05)
    async with speech.fake(send(speech.begun(*map(chunk, speech.frames[1:]))), stall) as llm:
        reply = await ask(speech, llm)
    assert (reply.body, reply.is_whole) == (b"".join(speech.frames), True)


@every_dialect
@pytest.mark.parametrize("ending", [(close,), (reset,)], ids=["closed", "reset"])
async def test_a_stream_that_breaks_after_the_terminal_frame_is_whole(
    speech: DialectSample, ending: tuple[Step, ...]
) -> None:
    async with speech.fake(send(speech.begun(*map(chunk, speech.frames[1:]))), *ending) as llm:
        reply = await ask(speech, llm)
    assert (reply.body, reply.is_whole) == (b"".join(speech.frames), True)


@every_dialect
async def test_a_stream_that_ends_with_the_connection_is_whole_if_its_terminal_frame_came(
    speech: DialectSample,
) -> None:
    unframed = head(200, [("Content-Type", speech.content_type)])
    async with speech.fake(send(unframed + b"".join(speech.frames)), close) as llm:
        reply = await ask(speech, llm)
    assert (reply.body, reply.is_whole) == (b"".join(speech.frames), True)
    async with speech.fake(send(unframed + b"".join(speech.frames[:-2])), close) as llm:
        reply = await ask(speech, llm)
    check_cut(reply, speech, llm, b"".join(speech.frames[:-2]))


@every_dialect
async def test_a_last_frame_without_its_delimiter_is_whole(speech: DialectSample) -> None:
    body = b"".join(speech.frames).rstrip(b"\n")
    async with speech.fake(send(speech.begun(chunk(body[len(speech.first) :]), LAST_CHUNK))) as llm:
        reply = await ask(speech, llm)
    assert (reply.body, reply.is_whole) == (body, True)


# ---- the native endpoint ----


@pytest.mark.parametrize("endpoint", ["/api/v1/chat", "/v1/api/chat"])
async def test_through_the_native_endpoint_a_cut_stream_ends_in_the_llms_own_dialect(endpoint: str) -> None:
    async with OLLAMA.fake(send(OLLAMA.begun()), close) as llm:
        reply = await ask(OLLAMA, llm, endpoint)
    check_cut(reply, OLLAMA, llm, OLLAMA.first)


async def test_an_http_1_0_caller_is_left_with_a_broken_connection() -> None:
    async with OPENAI.fake(send(OPENAI.begun()), close) as llm, running_node(**OPENAI.settings(llm.url)) as node:
        asked = request(OPENAI.endpoint, OPENAI.ask()).replace(b"HTTP/1.1", b"HTTP/1.0")
        async with calling(node.port, asked) as call:
            assert await call.read_head() == 200
            with pytest.raises(ConnectionResetError):  # there are no chunks, so a closed one would be a whole answer
                await call.reader.read()
