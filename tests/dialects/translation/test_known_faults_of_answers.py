"""What other layers of this kind got wrong, as their trackers tell: each as the fact that it is right here.

Covers: `calls`, `collecting`, `translator`, `openai_responses.output`, `anthropic.answer_reader`,
`ollama.answer_reader`, `openai_chat.answer_reader`, `openai_responses.answer_reader`.
"""

import json
from typing import Any

import pytest

from masa_node.chat.errors import BrokenAnswer
from tests.dialects.translation import gist, sdk_models
from tests.dialects.translation.calling import (
    CHAT,
    COMPLETIONS,
    GENERATE,
    MESSAGES,
    NOW,
    OLLAMA,
    RESPONSES,
    RUN,
    call,
    delta,
    frames,
    lines,
    named,
    stream,
    translation_of,
    whole,
)

DONE = b"[DONE]"
ROME, OSLO = '{"city":"Rome"}', '{"city":"Oslo"}'
BOTH = [("weather", {"city": "Rome"}), ("weather", {"city": "Oslo"})]


def parallel(*chunks: list[dict[str, Any]]) -> bytes:
    return frames(*(delta(tool_calls=calls) for calls in chunks), delta("tool_calls"), DONE)


INTERLEAVED = parallel(
    [call(0, "", "weather", "a")],
    [call(1, "", "weather", "b")],
    [call(0, '{"city":')],
    [call(1, '{"city":')],
    [call(0, '"Rome"}'), call(1, '"Oslo"}')],
)
ALL_INDEX_NOUGHT = parallel([call(0, ROME, "weather", "a")], [call(0, OSLO, "weather", "b")])
ONE_AFTER_THE_OTHER = parallel(
    [call(0, "", "weather", "a")],
    [call(0, ROME)],
    [call(1, "", "weather", "b")],
    [call(1, OSLO[:5])],
    [call(1, OSLO[5:])],
)
ID_AND_NAME_REPEATED = parallel(
    [call(0, '{"city":', "weather", "a")], [call(0, '"Rome"}', "weather", "a")], [call(1, OSLO, "weather", "b")]
)
AN_ID_FOR_EACH_PIECE = parallel(
    [call(0, '{"city":', "weather", "a")],
    [call(0, '"Rome"}', None, "b")],
    [call(1, "", "weather", "c")],
    [call(1, OSLO, None, "d")],
)
NAMES_AFTER_IDS = parallel(
    [call(0, "", None, "a")], [call(0, ROME, "weather")], [call(0, "", None, "b")], [call(0, OSLO, "weather")]
)
ARGUMENTS_LAST = parallel([call(0, "", "weather", "a"), call(1, "", "weather", "b")], [call(0, ROME), call(1, OSLO)])
NAME_AFTER_ARGUMENTS = parallel([call(0, ROME, None, "a")], [call(0, "", "weather")], [call(1, OSLO, "weather", "b")])
BLANKS_BETWEEN = frames(
    delta(tool_calls=[call(0, ROME, "weather", "a")]),
    delta(content="\n"),
    delta(tool_calls=[call(1, OSLO, "weather", "b")]),
    delta("tool_calls"),
    DONE,
)
STOP_INSTEAD_OF_TOOL_CALLS = frames(
    delta(tool_calls=[call(0, ROME, "weather", "a"), call(1, OSLO, "weather", "b")]), delta("stop"), DONE
)
NO_INDEX = frames(
    delta(
        tool_calls=[
            {k: v for k, v in call(n, a, "weather", i).items() if k != "index"}
            for n, a, i in ((0, ROME, "a"), (1, OSLO, "b"))
        ]
    ),
    delta("tool_calls"),
    DONE,
)


@pytest.mark.parametrize("caller", [MESSAGES, RESPONSES, OLLAMA, RUN])
@pytest.mark.parametrize(
    "raw",
    [
        INTERLEAVED, ALL_INDEX_NOUGHT, ONE_AFTER_THE_OTHER, ID_AND_NAME_REPEATED, ARGUMENTS_LAST, NAME_AFTER_ARGUMENTS,
        BLANKS_BETWEEN, STOP_INSTEAD_OF_TOOL_CALLS, NO_INDEX, AN_ID_FOR_EACH_PIECE, NAMES_AFTER_IDS,
    ],
    ids=[
        "interleaved", "all_index_0", "one_after_the_other", "id_repeated", "arguments_last", "name_late", "blanks", "stop",
        "no_index", "ids_of_pieces", "names_after_ids",
    ],
)  # fmt: skip
def test_parallel_calls_arrive_whole_however_a_server_streams_them(caller: Any, raw: bytes) -> None:
    body: dict[str, Any] = {"input": "hi"} if caller is RESPONSES else {}
    said = gist.of_stream(caller, stream(caller, CHAT, raw, **body))
    assert (said.calls, said.reason, said.text.strip()) == (BOTH, "tools", "")


def test_ids_of_calls_are_the_servers_own() -> None:
    message = sdk_models.anthropic_message(stream(MESSAGES, CHAT, INTERLEAVED, max_tokens=9))
    assert [block.id for block in message.content] == ["a", "b"]
    response = sdk_models.response_of(stream(RESPONSES, CHAT, INTERLEAVED, input="hi"))
    assert [item.call_id for item in response.output] == ["a", "b"]
    assert [each.message.tool_calls for each in sdk_models.ollama_lines(stream(OLLAMA, CHAT, INTERLEAVED))[:-1]]
    assert b'"id":"b"' in stream(OLLAMA, CHAT, INTERLEAVED)


def test_a_second_call_streams_on_without_waiting_for_the_end() -> None:
    translator = translation_of(MESSAGES, CHAT, stream=True, max_tokens=9).answer("r1", NOW)
    translator.feed(frames(delta(tool_calls=[call(0, ROME, "weather", "a")])))
    out = translator.feed(frames(delta(tool_calls=[call(1, '{"ci', "weather", "b")])))
    assert [name for name, _ in sdk_models.sse(out)] == [
        "content_block_stop",
        "content_block_start",
        "content_block_delta",
    ]


@pytest.mark.parametrize("caller", [MESSAGES, RESPONSES, OLLAMA, RUN, GENERATE])
def test_each_piece_of_text_goes_on_at_once(caller: Any) -> None:
    body: dict[str, Any] = {"input": "hi"} if caller is RESPONSES else {"prompt": "hi"} if caller is GENERATE else {}
    translator = translation_of(caller, CHAT, stream=True, **body).answer("r1", NOW)
    for word in ("one", " two"):
        assert json.dumps(word).encode() in translator.feed(frames(delta(content=word)))


def test_no_text_block_is_opened_for_empty_words_before_a_call_or_a_thought() -> None:
    raw = frames(
        delta(role="assistant", content=""),
        delta(content="", reasoning_content="Hm."),
        delta(content="", tool_calls=[]),
        delta(content=None, tool_calls=[call(0, ROME, "weather", "a")]),
        delta("tool_calls"),
        DONE,
    )
    message = sdk_models.anthropic_message(stream(MESSAGES, CHAT, raw, max_tokens=9))
    assert ([block.type for block in message.content], message.stop_reason) == (["thinking", "tool_use"], "tool_use")


def test_text_beside_an_empty_list_of_calls_is_text() -> None:
    raw = frames(delta(content="Hi", tool_calls=[]), delta("stop"), DONE)
    assert gist.of_stream(MESSAGES, stream(MESSAGES, CHAT, raw, max_tokens=9)).text == "Hi"


def test_tool_calls_of_ollama_are_the_reason_why_it_stopped() -> None:
    calls = [{"function": {"index": 0, "name": "weather", "arguments": json.loads(each)}} for each in (ROME, OSLO)]
    raw = lines(
        {"model": "m", "message": {"role": "assistant", "content": "", "tool_calls": calls[:1]}, "done": False},
        {"model": "m", "message": {"role": "assistant", "content": "", "tool_calls": calls[1:]}, "done": False},
        {
            "model": "m",
            "message": {"role": "assistant", "content": ""},
            "done": True,
            "done_reason": "stop",
            "prompt_eval_count": 5,
            "eval_count": 2,
        },
    )
    message = sdk_models.anthropic_message(stream(MESSAGES, OLLAMA, raw, max_tokens=9))
    assert ([block.input for block in message.content], message.stop_reason) == (
        [{"city": "Rome"}, {"city": "Oslo"}],
        "tool_use",
    )
    assert len({block.id for block in message.content}) == 2
    assert (message.usage.input_tokens, message.usage.output_tokens) == (5, 2)
    chunks = sdk_models.chat_chunks(stream(CHAT, OLLAMA, raw, stream_options={"include_usage": True}))
    assert [each.choices[0].finish_reason for each in chunks if each.choices][-1] == "tool_calls"
    assert chunks[-1].usage is not None


def test_usage_of_a_stream_is_told_to_chat_clients_only_when_asked_for() -> None:
    raw = lines({"model": "m", "message": {"content": "Hi"}, "done": True, "prompt_eval_count": 5, "eval_count": 2})
    assert all(chunk.choices for chunk in sdk_models.chat_chunks(stream(CHAT, OLLAMA, raw)))


def test_tokens_that_were_cached_are_counted_as_each_format_counts_them() -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 5,
        "total_tokens": 105,
        "prompt_tokens_details": {"cached_tokens": 80},
    }
    raw = frames(delta("stop", content="x"), {"id": "c", "choices": [], "usage": usage}, DONE)
    message = sdk_models.anthropic_message(stream(MESSAGES, CHAT, raw, max_tokens=9))
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (20, 80)
    answer = {
        "id": "msg_1", "content": [{"type": "text", "text": "x"}], "stop_reason": "end_turn",
        "usage": {"input_tokens": 20, "cache_read_input_tokens": 80, "cache_creation_input_tokens": 7, "output_tokens": 5},
    }  # fmt: skip
    counts = sdk_models.whole(CHAT, whole(CHAT, MESSAGES, answer)).usage
    assert (counts.prompt_tokens, counts.prompt_tokens_details.cached_tokens, counts.total_tokens) == (107, 80, 112)


def test_a_refusal_is_a_refusal() -> None:
    raw = frames(delta(refusal="I will "), delta(refusal="not."), delta("stop"), DONE)
    message = sdk_models.anthropic_message(stream(MESSAGES, CHAT, raw, max_tokens=9))
    assert message.stop_reason == "refusal"
    assert message.content[0].text == "I will not."
    response = sdk_models.response_of(stream(RESPONSES, CHAT, raw, input="hi"))
    assert response.output[0].content[0].refusal == "I will not."
    answer = {
        "content": [], "stop_reason": "refusal", "usage": {"input_tokens": 1, "output_tokens": 1},
        "stop_details": {"type": "refusal", "category": "bio", "explanation": "No."},
    }  # fmt: skip
    choice = sdk_models.whole(CHAT, whole(CHAT, MESSAGES, answer)).choices[0]
    assert (choice.finish_reason, choice.message.refusal) == ("content_filter", "No.")


def test_the_sequence_that_stopped_the_answer_is_told() -> None:
    raw = {"choices": [{"index": 0, "message": {"content": "1 2"}, "finish_reason": "stop", "stop_reason": " 3"}]}
    message = sdk_models.whole(MESSAGES, whole(MESSAGES, CHAT, raw, max_tokens=9))
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", " 3")


def test_several_answers_are_kept_apart() -> None:
    choices = [{"index": n, "message": {"content": f"{n}"}, "finish_reason": "stop"} for n in (0, 1)]
    answer = sdk_models.whole(COMPLETIONS, whole(COMPLETIONS, CHAT, {"choices": choices}, prompt="x", n=2))
    assert [choice.text for choice in answer.choices] == ["0", "1"]


def test_logprobs_are_carried_where_both_have_them() -> None:
    rated = [
        {
            "token": "Hi",
            "logprob": -0.5,
            "bytes": [72, 105],
            "top_logprobs": [{"token": "Ho", "logprob": -1.5, "bytes": [72]}],
        }
    ]
    raw = lines(
        {"message": {"content": "Hi"}, "logprobs": rated, "done": False}, {"message": {"content": ""}, "done": True}
    )
    chunks = sdk_models.chat_chunks(stream(CHAT, OLLAMA, raw, logprobs=True))
    told = [chunk.choices[0].logprobs for chunk in chunks if chunk.choices and chunk.choices[0].logprobs]
    assert told[0].content[0].top_logprobs[0].logprob == -1.5
    chat = {
        "choices": [{"index": 0, "message": {"content": "Hi"}, "logprobs": {"content": rated}, "finish_reason": "stop"}]
    }
    assert sdk_models.whole(OLLAMA, whole(OLLAMA, CHAT, chat, logprobs=True)).logprobs[0].token == "Hi"
    response = sdk_models.whole(RESPONSES, whole(RESPONSES, CHAT, chat, input="hi", top_logprobs=1))
    assert response.output[0].content[0].logprobs[0].logprob == -0.5


def test_citations_are_carried() -> None:
    cited = {
        "type": "web_search_result_location",
        "url": "https://x",
        "title": "X",
        "cited_text": "c",
        "encrypted_index": "e",
    }
    answer = {
        "content": [{"type": "text", "text": "So.", "citations": [cited]}],
        "stop_reason": "end_turn",
        "usage": {},
    }
    annotation = sdk_models.whole(CHAT, whole(CHAT, MESSAGES, answer)).choices[0].message.annotations[0]
    assert (annotation.url_citation.url, annotation.url_citation.title) == ("https://x", "X")
    response = sdk_models.whole(RESPONSES, whole(RESPONSES, MESSAGES, answer, input="hi"))
    assert response.output[0].content[0].annotations[0].url == "https://x"
    chat = {
        "choices": [
            {
                "index": 0,
                "message": {"content": "So.", "annotations": [annotation.model_dump()]},
                "finish_reason": "stop",
            }
        ]
    }
    message = sdk_models.whole(MESSAGES, whole(MESSAGES, CHAT, chat, max_tokens=9))
    assert message.content[0].citations[0].source == "https://x"


def test_a_free_form_tool_is_called_with_its_text() -> None:
    tools = [{"type": "custom", "name": "apply_patch"}]
    arguments = json.dumps({"input": "*** Begin\n+x"})
    raw = frames(
        delta(tool_calls=[call(0, arguments[:9], "apply_patch", "a")]),
        delta(tool_calls=[call(0, arguments[9:])]),
        delta("tool_calls"),
        DONE,
    )
    item = sdk_models.response_of(stream(RESPONSES, CHAT, raw, input="hi", tools=tools)).output[0]
    assert (item.type, item.call_id, item.input) == ("custom_tool_call", "a", "*** Begin\n+x")


def test_a_grouped_tool_is_called_by_its_group_and_name() -> None:
    group = {"type": "namespace", "name": "mcp__fs", "tools": [{"type": "function", "name": "read", "parameters": {}}]}
    raw = frames(delta(tool_calls=[call(0, "{}", "mcp__fs__read", "a")]), delta("tool_calls"), DONE)
    item = sdk_models.response_of(stream(RESPONSES, CHAT, raw, input="hi", tools=[group])).output[0]
    assert (item.name, item.namespace) == ("read", "mcp__fs")


def test_an_answer_without_a_word_is_an_answer() -> None:
    raw = frames(delta("stop"), DONE)
    assert sdk_models.anthropic_message(stream(MESSAGES, CHAT, raw, max_tokens=9)).content == []
    assert sdk_models.response_of(stream(RESPONSES, CHAT, raw, input="hi")).output == []
    assert len(sdk_models.ollama_lines(stream(OLLAMA, CHAT, raw))) == 1


def test_a_whole_input_where_the_block_begins_is_not_lost() -> None:
    raw = named(
        {"type": "message_start", "message": {"id": "msg_1", "model": "m"}},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "tool_use", "id": "t", "name": "weather", "input": {"city": "Rome"}},
        },
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    )
    assert gist.of_stream(CHAT, stream(CHAT, MESSAGES, raw)).calls == BOTH[:1]


def test_arguments_that_come_only_in_the_last_event_are_not_lost() -> None:
    item = {"type": "function_call", "id": "fc", "call_id": "c", "name": "weather", "arguments": ROME}
    raw = named(
        {"type": "response.created", "response": {"id": "resp_1", "model": "m"}},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "arguments": ""}},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {
            "type": "response.completed",
            "response": {"status": "completed", "usage": {"input_tokens": 1, "output_tokens": 2}},
        },
    )
    assert gist.of_stream(MESSAGES, stream(MESSAGES, RESPONSES, raw, max_tokens=9)).calls == BOTH[:1]


NO_REASON = [
    {"type": "message_start", "message": {"id": "msg_1", "model": "m"}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
    {"type": "content_block_stop", "index": 0},
]


@pytest.mark.parametrize("more", [[], [{"type": "message_delta", "delta": {"stop_reason": None}}]])
@pytest.mark.parametrize("caller", [CHAT, COMPLETIONS])
def test_a_whole_stream_without_a_reason_gives_clients_one(caller: Any, more: list[Any]) -> None:
    """SDKs tell by it that an answer was not cut."""
    asked = {"prompt": "hi"} if caller is COMPLETIONS else {}
    out = sdk_models.sse(stream(caller, MESSAGES, named(*NO_REASON, *more, {"type": "message_stop"}), **asked))
    reasons = [data["choices"][0]["finish_reason"] for _, data in out[:-1] if data["choices"]]
    assert reasons == [None] * (len(reasons) - 1) + ["stop"]


def test_a_call_without_arguments_is_an_object_without_fields_in_a_stream_too() -> None:
    """Clients parse the text of a call as JSON, and fail on an empty one."""
    raw = named(
        NO_REASON[0],
        {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "a", "name": "one"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": ""}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "b", "name": "two"}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"a":1}'}},
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
        {"type": "message_stop"},
    )
    pieces: dict[int, str] = {}
    for chunk in sdk_models.chat_chunks(stream(CHAT, MESSAGES, raw)):
        for piece in (each for choice in chunk.choices for each in choice.delta.tool_calls or ()):
            pieces[piece.index] = pieces.get(piece.index, "") + (piece.function.arguments or "")
    assert pieces == {0: "{}", 1: '{"a":1}'}


@pytest.mark.parametrize("server", [CHAT, OLLAMA, RUN])
def test_a_call_whose_arguments_are_null_has_none(server: Any) -> None:
    """Some models write them so; a tool was called with a field `invalid_json`, or with no object at all."""
    chunks = [delta(tool_calls=[call(0, "null", "f", "c")]), delta("tool_calls"), DONE]
    function = {"name": "f", "arguments": "null"}
    said = {"content": "", "tool_calls": [{"function": function}]}
    raw = lines({"message": said, "done": False}, {"done": True}) if server is OLLAMA else frames(*chunks)
    message = sdk_models.anthropic_message(stream(MESSAGES, server, raw, max_tokens=9))
    assert [block.input for block in message.content] == [{}]
    if server is not RUN:
        choice = {"index": 0, "finish_reason": "tool_calls", "message": said}
        answer: Any = {"message": said, "done": True} if server is OLLAMA else {"id": "c", "choices": [choice]}
        made = sdk_models.whole(MESSAGES, whole(MESSAGES, server, answer, max_tokens=9))
        assert [block.input for block in made.content] == [{}]
    called = {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": function}]}
    body = translation_of(CHAT, MESSAGES, messages=[{"role": "user", "content": "hi"}, called]).body
    assert json.loads(body)["messages"][1]["content"][0]["input"] == {}


@pytest.mark.parametrize("caller", [MESSAGES, RESPONSES, OLLAMA, RUN])
def test_a_call_without_a_name_is_none_and_no_reason_to_stop(caller: Any) -> None:
    raw = frames(delta(content="hi", tool_calls=[{}]), delta("stop"), DONE)
    assert gist.of_stream(caller, stream(caller, CHAT, raw))[:4] == ("hi", "", [], "end")


def test_a_stream_is_whole_only_when_its_source_is() -> None:
    for caller, end in ((MESSAGES, b"message_stop"), (OLLAMA, b'"done":true'), (RUN, b"[DONE]")):
        translator = translation_of(caller, CHAT, stream=True).answer("r1", NOW)
        assert end not in translator.feed(frames(delta(content="Hi"), delta("stop")))
        assert end in translator.finish()


def test_nothing_comes_after_the_end() -> None:
    translator = translation_of(MESSAGES, CHAT, stream=True).answer("r1", NOW)
    assert translator.feed(frames(delta("stop", content="Hi"), DONE)).endswith(b'{"type":"message_stop"}\n\n')
    assert translator.feed(frames(delta(content="more"), DONE)) == translator.finish() == b""


def test_a_part_that_cannot_be_read_is_never_missing_silently() -> None:
    translator = translation_of(MESSAGES, CHAT, stream=True).answer("r1", NOW)
    with pytest.raises(BrokenAnswer):
        translator.feed(frames({"choices": [{"delta": {"content": [7]}}]}))


def test_harmless_oddities_are_passed_over() -> None:
    raw = b": comment\n\nevent: ping\ndata: {}\n\ndata: null\n\n" + frames(
        {"error": {}}, {"object": "x"}, delta(content="Hi"), delta("stop"), DONE
    )
    assert gist.of_stream(MESSAGES, stream(MESSAGES, CHAT, raw)).text == "Hi"


@pytest.mark.parametrize("caller", [OLLAMA, GENERATE])
def test_ollamas_clients_are_told_how_long_an_answer_took(caller: Any) -> None:
    """Strands divides `total_duration`, which Ollama puts into each last line; the AI SDK's provider wants the other."""
    prompt = {"prompt": "hi"} if caller is GENERATE else {}
    answer = {"choices": [{"finish_reason": "stop", "message": {"content": "Hi"}}]}
    translation = translation_of(caller, CHAT, **prompt)
    told = json.loads(translation.answer("r", NOW, lambda: 4_711).whole(json.dumps(answer).encode()))
    assert (told["done"], told["total_duration"], told["load_duration"]) == (True, 4_711, 0)
    translator = translation_of(caller, CHAT, stream=True, **prompt).answer("r", NOW, lambda: 4_711)
    raw = translator.feed(frames(delta(content="Hi"), delta("stop"), DONE)) + translator.finish()
    first, last = map(json.loads, raw.splitlines())
    assert ("total_duration" in first, last["total_duration"]) == (False, 4_711)
