import pytest

from masa_node.chat.answer import Usage
from masa_node.chat.request import DialectName
from masa_node.dialects.registry import DIALECTS
from masa_node.dialects.tracking import StreamTracker

OBJECTS = DIALECTS[DialectName.OPENAI_JSON]
SOUNDS = DIALECTS[DialectName.OPENAI_AUDIO]
STREAMS = {
    "pictures": (
        b'event: image_generation.partial_image\ndata: {"type":"image_generation.partial_image","b64_json":"AA=="}\n\n',
        b'event: image_generation.completed\ndata: {"type":"image_generation.completed","b64_json":"AA=="}\n\n',
    ),
    "speech": (
        b'data: {"type":"speech.audio.delta","audio":"AA=="}\n\n',
        b'data: {"type":"speech.audio.done","usage":{"input_tokens":3}}\n\n',
    ),
    "transcript": (
        b'data: {"type":"transcript.text.delta","delta":"Hi"}\n\n',
        b'data: {"type":"transcript.text.done","text":"Hi"}\n\n',
        b"data: [DONE]\n\n",
    ),
    "vLLM's transcript": (
        b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"content":""},"finish_reason":"stop"}]}\n\n',
        b"data: [DONE]\n\n",
    ),
}


@pytest.mark.parametrize(
    "body",
    [
        b'{"results":[{"index":0,"relevance_score":0.9}],"usage":{"prompt_tokens":7}}',
        b'{"id":"modr-1","results":[{"flagged":false}]}',
        b'{"created":1,"data":[{"b64_json":"AA=="}],"error":null}',
        b'[{"index":0,"score":0.9}]',
    ],
)
def test_an_object_of_any_shape_is_an_answer(body: bytes) -> None:
    assert OBJECTS.fault_of_whole(body, Usage()) is None
    assert SOUNDS.fault_of_whole(body, Usage()) is None


def test_its_tokens_are_counted() -> None:
    usage = Usage()
    OBJECTS.fault_of_whole(b'{"results":[],"usage":{"prompt_tokens":7,"completion_tokens":0}}', usage)
    assert usage == Usage(7, 0)


@pytest.mark.parametrize(
    ("counts", "counted"),
    [
        (b'{"type":"tokens","input_tokens":14,"output_tokens":45,"total_tokens":59}', Usage(14, 45)),  # a transcript
        (b'{"prompt_tokens":7,"total_tokens":7}', Usage(7, None)),
        (b'{"total_tokens":20}', Usage(20, None)),  # Jina's and vLLM's rerank: nothing but what was read
        (b'{"output_tokens":45,"total_tokens":59}', Usage(None, 45)),
        (b'{"type":"duration","seconds":9}', Usage(None, None)),
    ],
)
def test_its_tokens_are_counted_by_all_the_names_that_they_have(counts: bytes, counted: Usage) -> None:
    for dialect in (OBJECTS, SOUNDS):
        usage = Usage()
        dialect.fault_of_whole(b'{"text":"Hi","usage":%b}' % counts, usage)
        assert usage == counted
        usage = Usage()
        dialect.mark(b'data: {"type":"transcript.text.done","text":"Hi","usage":%b}\n\n' % counts, usage)
        assert usage == counted


@pytest.mark.parametrize(
    "body",
    [
        b"ID3\x04\x00",
        b"RIFF\x24\x00",
        b"{\0\x01\0",
        b"<\0\x01\0",
        b"Hello.\n",
        b" [BLANK_AUDIO]\n",
        b"WEBVTT\n\n",
        b"\xff\xfb",
    ],
)
def test_a_sound_and_a_text_are_answers_where_they_may_be(body: bytes) -> None:
    assert SOUNDS.fault_of_whole(body, Usage()) is None
    assert OBJECTS.fault_of_whole(body, Usage()) is not None


@pytest.mark.parametrize(
    "body", [b"", b'{"text":"Hel', b'{"error":{"message":"no such voice"}}', b'{"detail":"x","status":404}']
)
def test_an_error_and_a_cut_are_no_answers(body: bytes) -> None:
    assert SOUNDS.fault_of_whole(body, Usage()) is not None
    assert OBJECTS.fault_of_whole(body, Usage()) is not None


@pytest.mark.parametrize("frames", STREAMS.values(), ids=STREAMS)
def test_a_stream_is_whole_with_its_last_event_and_only_then(frames: tuple[bytes, ...]) -> None:
    whole, cut = StreamTracker(SOUNDS), StreamTracker(SOUNDS)
    assert b"".join(whole.feed(frame) for frame in frames) == b"".join(frames)
    whole.finish()
    assert (whole.fault, whole.is_whole()) == (None, True)
    cut.feed(frames[0])
    cut.finish()
    assert cut.fault is not None


def test_a_stream_that_begins_with_an_error_is_none() -> None:
    named = b'event: error\ndata: {"type":"error","error":{"message":"no"}}\n\n'
    for frame in (named, b'data: {"type":"error","message":"no"}\n\n'):
        tracker = StreamTracker(OBJECTS)
        tracker.feed(frame)
        assert tracker.fault is not None
