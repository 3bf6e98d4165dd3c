"""Google's Gemini API in front of servers of other formats.

Covers: `calls`, `codecs`, `gemini.answer_writer`, `gemini.body`, `gemini.embeddings`, `gemini.request_reader`, `gemini.schema`.
"""

from typing import Any

import msgspec
import pytest

from masa_node.chat.errors import NotTranslatable
from masa_node.chat.request import Endpoint
from masa_node.dialects.translation.calls import OpenCalls
from masa_node.dialects.translation.conversation import Conversation, Origin, Thinking, ToolCall, ToolResult
from masa_node.dialects.translation.events import (
    AnswerContext,
    Begun,
    CallBegun,
    CallPiece,
    Ended,
    Event,
    Failed,
    Finished,
    StopReason,
    TextPiece,
    ThoughtPiece,
    ThoughtSealed,
    Tokens,
    Used,
)
from masa_node.dialects.translation.failures import Failure, Kind
from masa_node.dialects.translation.formats import EMBEDDED_BY
from masa_node.dialects.translation.gemini.answer_writer import GeminiAnswerWriter
from masa_node.dialects.translation.gemini.request_reader import read_request
from masa_node.dialects.translation.gemini.schema import json_schema_of
from masa_node.dialects.translation.losses import Losses
from masa_node.dialects.translation.translator import DROPPED, Translation, translate
from tests.dialects.translation import sdk_models

GENERATE, STREAM = Endpoint.GEMINI_GENERATE, Endpoint.GEMINI_STREAM
CHAT, MESSAGES = Endpoint.OPENAI_CHAT, Endpoint.ANTHROPIC_MESSAGES
PNG = "iVBORw0KGgo="
HI: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}


def translation(fields: dict[str, Any], target: Endpoint = CHAT, source: Endpoint = GENERATE) -> Translation:
    return translate(msgspec.json.encode(fields), "m", source, target)


def asked(fields: dict[str, Any], target: Endpoint = CHAT, source: Endpoint = GENERATE) -> Any:
    return msgspec.json.decode(translation(fields, target, source).body)


def dropped(fields: dict[str, Any]) -> set[str]:
    return set(dict(translation(fields).headers).get(DROPPED, "").split(", ")) - {""}


# ---- requests ----


def test_the_path_says_whether_it_streams_and_for_which_model() -> None:
    assert asked(HI) == {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    streamed = asked(HI, source=STREAM)
    assert streamed["stream"] is True
    assert streamed["model"] == "m"


def test_every_side_keeps_its_words() -> None:
    sides = {
        "systemInstruction": {"parts": [{"text": "be brief"}]},
        "contents": [
            {"parts": [{"text": "a"}, {"text": "b"}]},
            {"role": "model", "parts": [{"text": "never mind", "thought": True}, {"text": "c"}]},
            {"role": "user", "parts": [{"text": "d"}]},
        ],
    }
    messages = asked(sides)["messages"]
    assert [(each["role"], each["content"]) for each in messages[:1]] == [("system", "be brief")]
    assert [each["role"] for each in messages] == ["system", "user", "assistant", "user"]
    assert messages[2]["content"] == "c"


SAMPLING = {
    "temperature": 0.5, "topP": 0.25, "topK": 40, "maxOutputTokens": 9, "stopSequences": ["x", ""], "seed": 7,
    "presencePenalty": 0.5, "frequencyPenalty": 0.25, "candidateCount": 2,
}  # fmt: skip


def test_how_the_answer_is_made_travels_on() -> None:
    sent = asked({**HI, "generationConfig": SAMPLING})
    assert sent["max_completion_tokens" if "max_completion_tokens" in sent else "max_tokens"] == 9
    assert (sent["temperature"], sent["top_p"], sent["seed"], sent["n"]) == (0.5, 0.25, 7, 2)
    assert sent["stop"] == ["x"]
    assert asked({**HI, "generationConfig": {"topK": 40.0, "maxOutputTokens": 9}}, MESSAGES)["top_k"] == 40


def test_names_with_underscores_are_read_and_a_callers_own_are_not_respelt() -> None:
    call = {"name": "f", "args": {"mime_type": "x", "inline_data": {"max_tokens": 1}}}
    fields = {
        "system_instruction": {"parts": [{"text": "s"}]},
        "contents": [
            {"parts": [{"inline_data": {"mime_type": "image/png", "data": PNG}}, {"text": "a"}]},
            {"role": "model", "parts": [{"function_call": call}]},
            {"role": "user", "parts": [{"function_response": {"name": "f", "response": {"max_tokens": 2}}}]},
        ],
        "generation_config": {"max_output_tokens": 9, "stop_sequences": ["x"]},
        "tools": [{"function_declarations": [{"name": "f", "parameters": {"type": "OBJECT", "properties": {}}}]}],
        "safety_settings": [{"category": "c", "threshold": "t"}],
    }
    sent = asked(fields)
    system, said, called, told = sent["messages"]
    assert system["content"] == "s"
    assert said["content"][0]["image_url"]["url"] == f"data:image/png;base64,{PNG}"
    assert msgspec.json.decode(called["tool_calls"][0]["function"]["arguments"]) == call["args"]
    assert msgspec.json.decode(told["content"]) == {"max_tokens": 2}
    assert sent["stop"] == ["x"]
    assert dropped(fields) == {"safetySettings"}


def test_what_nobody_knows_is_named() -> None:
    assert dropped({**HI, "_a" * 100_000: 1})
    fields = {**HI, "newField": 1, "labels": {"a": "b"}, "generationConfig": {"newOption": 1, "speechConfig": {"a": 1}}}
    assert dropped(fields) == {"newField", "labels", "generationConfig.newOption", "generationConfig.speechConfig"}


DECLARED = {
    "name": "weather",
    "description": "of a city",
    "parameters": {
        "type": "OBJECT",
        "properties": {
            "city": {"type": "STRING", "nullable": True, "format": "enum", "enum": ["a"], "maxLength": "9"},
            "days": {"type": "ARRAY", "minItems": "1", "items": {"type": "INTEGER"}},
        },
        "propertyOrdering": ["city", "days"],
        "required": ["city"],
    },
}
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": ["string", "null"], "enum": ["a", None], "maxLength": 9},
        "days": {"type": "array", "minItems": 1, "items": {"type": "integer"}},
    },
    "required": ["city"],
}


WIDE = {"type": "OBJECT", "properties": {f"p{number}": {"type": "STRING"} for number in range(5_000)}}


def test_functions_are_offered_in_the_words_of_json_schema() -> None:
    (tool,) = asked({**HI, "tools": [{"functionDeclarations": [DECLARED]}]})["tools"]
    assert tool["function"] == {"name": "weather", "description": "of a city", "parameters": SCHEMA}
    own = {"type": "object", "properties": {"type": {"type": "string"}}, "$defs": {"x": {"const": "STRING"}}}
    (tool,) = asked({**HI, "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": own}]}]})["tools"]
    assert tool["function"]["parameters"] == own


@pytest.mark.parametrize(
    "raw", [b'{"type":"object","properties":{"a": {"type":"string"}}}', b'{"title": "x"}', b'{"type":', b"[]", b"7"]
)
def test_a_schema_in_which_there_is_nothing_to_change_keeps_its_bytes(raw: bytes) -> None:
    assert bytes(json_schema_of(msgspec.Raw(raw))) == raw


def test_a_schema_keeps_values_that_look_like_its_words() -> None:
    schema = {"type": "STRING", "enum": ["STRING", "OBJECT"], "default": "NUMBER", "description": "nullable"}
    assert msgspec.json.decode(json_schema_of(msgspec.Raw(msgspec.json.encode(schema)))) == {
        **schema,
        "type": "string",
    }


@pytest.mark.parametrize(
    ("googles", "schema"),
    [
        (
            {"any_of": [{"type": "NUMBER"}, {"type": "TYPE_UNSPECIFIED", "nullable": False}]},
            {"anyOf": [{"type": "number"}, {}]},
        ),
        (
            {"anyOf": [{"type": "STRING"}, {"type": 3}], "nullable": True},
            {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]},
        ),
        ({"type": 6, "properties": {"a": {"type": 5, "items": {"type": 1}}}, "additional_properties": False},
         {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}}},
          "additionalProperties": False}),
        ({"type": "STRING", "format": ["x"], "minLength": "9" * 5_000}, {"type": "string", "format": ["x"],
                                                                          "minLength": "9" * 5_000}),
        ({"type": 99, "nullable": "yes"}, {"type": 99, "nullable": "yes"}),
    ],
)  # fmt: skip
def test_odd_schemas(googles: object, schema: object) -> None:
    assert msgspec.json.decode(json_schema_of(msgspec.Raw(msgspec.json.encode(googles)))) == schema


@pytest.mark.parametrize(
    ("config", "choice"),
    [
        ({"mode": "AUTO"}, "auto"),
        ({"mode": "VALIDATED"}, "auto"),
        ({"mode": "ANY"}, "required"),
        ({"mode": "NONE"}, "none"),
        ({"mode": 2}, "required"),
        ({"mode": "ANY", "allowedFunctionNames": ["g"]}, {"type": "function", "function": {"name": "g"}}),
        ({}, None),
    ],
)
def test_whether_a_function_must_be_called(config: dict[str, Any], choice: object) -> None:
    tools = [{"functionDeclarations": [{"name": "f"}, {"name": "g"}]}]
    sent = asked({**HI, "tools": tools, "toolConfig": {"functionCallingConfig": config}})
    assert sent.get("tool_choice") == choice


def test_only_the_functions_that_may_be_called_are_offered() -> None:
    tools = [{"functionDeclarations": [{"name": "f"}, {"name": "g"}, {"name": "h"}]}]
    config = {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f", "h"]}}
    sent = asked({**HI, "tools": tools, "toolConfig": config})
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["f", "h"]
    assert sent["tool_choice"] == "required"


def test_tools_that_run_at_google_are_left_out_beside_others_and_refused_alone() -> None:
    tools = [{"googleSearch": {}}, {"functionDeclarations": [{"name": "f"}]}]
    assert dropped({**HI, "tools": tools}) == {"googleSearch"}
    with pytest.raises(NotTranslatable, match="googleSearch"):
        translation({**HI, "tools": tools[:1]})


def call(name: str, call_id: str | None = None, **more: Any) -> dict[str, Any]:
    return {"functionCall": {"name": name, "args": {"of": name}, **({"id": call_id} if call_id else {})}, **more}


def result(name: str, response: object, call_id: str | None = None) -> dict[str, Any]:
    return {"functionResponse": {"name": name, "response": response, **({"id": call_id} if call_id else {})}}


def test_results_find_their_calls_by_id_by_name_or_in_turn() -> None:
    contents = [
        {"role": "user", "parts": [{"text": "go"}]},
        {"role": "model", "parts": [call("f"), call("g"), call("f")]},
        {"role": "user", "parts": [result("g", {"output": "1"}), result("f", {"output": "2"}), result("f", {"a": 3})]},
        {"role": "model", "parts": [call("f", "own"), call("f", "other")]},
        {"role": "function", "parts": [result("f", {"result": "4"}, "other"), result("x", {"error": "5"})]},
    ]
    for _ in range(2):  # the second time from what was kept
        messages = asked({"contents": contents})["messages"]
        ids = [each["id"] for message in messages for each in message.get("tool_calls") or ()]
        assert ids == ["call_1", "call_2", "call_3", "own", "other"]
        told = [(each["tool_call_id"], each["content"]) for each in messages if each["role"] == "tool"]
        assert told == [
            ("call_2", "1"), ("call_1", "2"), ("call_3", '{"a":3}'), ("other", "4"), ("own", '{"error":"5"}')
        ]  # fmt: skip


def test_the_frames_of_a_stream_that_an_sdk_kept_each_alone_are_one_turn() -> None:
    said: list[list[dict[str, Any]]] = [[{"text": "Hel"}], [{"text": "lo"}], [call("f")], [call("g")], [{"text": ""}]]
    frames = [{"role": "model", "parts": parts} for parts in said]
    told = {"role": "user", "parts": [result("f", {"output": "1"}), result("g", {"output": "2"})]}
    first, answer, *results = asked({"contents": [*HI["contents"], *frames, told]})["messages"]
    assert (first["role"], answer["role"], answer["content"]) == ("user", "assistant", "Hello")
    assert [each["function"]["name"] for each in answer["tool_calls"]] == ["f", "g"]
    ids = [each["id"] for each in answer["tool_calls"]]
    assert [(each["tool_call_id"], each["content"]) for each in results] == [(ids[0], "1"), (ids[1], "2")]


def test_the_id_of_a_result_is_never_replaced() -> None:
    contents = [*HI["contents"], {"role": "model", "parts": [call("f", "own")]}, {"parts": [result("f", {}, "gone")]}]
    assert asked({"contents": contents})["messages"][-1]["tool_call_id"] == "gone"


@pytest.mark.parametrize("top_k", ["nan", "inf", 1.5])
def test_a_top_k_that_is_no_number_of_tokens_is_left_out(top_k: object) -> None:
    fields = {**HI, "generationConfig": {"topK": top_k, "maxOutputTokens": 9}}
    assert "top_k" not in asked(fields, MESSAGES)
    assert dropped(fields) == {"generationConfig.topK"}


class Compared(str):
    """A name that counts how often it is compared with another one."""

    __slots__ = ()
    count = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Compared.count += 1
        return str.__eq__(self, other)


def test_to_find_the_call_of_a_result_takes_no_longer_where_there_are_many() -> None:
    names = [Compared(f"f{number}") for number in range(2_000)]
    calls = [ToolCall(name, name, "{}") for name in names]
    for by_id in (True, False):
        Compared.count = 0
        opened = OpenCalls()
        opened.begin(calls)
        results = [ToolResult(name if by_id else "", name, ()) for name in reversed(names)]
        assert [opened.answered(each) for each in results] == calls[::-1]
        assert opened.answered(results[0]) is None
        assert Compared.count < 10 * len(names)


def test_one_alone_may_stand_without_a_list_as_in_googles_examples() -> None:
    fields = {
        "system_instruction": {"parts": {"text": "s"}},
        "contents": {"parts": {"text": "a"}},
        "tools": {"function_declarations": {"name": "f"}},
    }
    sent = asked(fields)
    assert [each["content"] for each in sent["messages"]] == ["s", "a"]
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["f"]


def test_what_a_user_is_said_to_have_thought_is_left_out() -> None:
    parts = [{"text": "hm", "thought": True}, {"text": "a", "thoughtSignature": "c2ln"}]
    assert asked({"contents": [{"parts": parts}]})["messages"] == [{"role": "user", "content": "a"}]


def test_the_signature_of_a_call_goes_back_beside_it() -> None:
    parts = [{"text": "so", "thoughtSignature": "c2ln"}, call("f", thoughtSignature="c2lnMg==")]
    contents = [*HI["contents"], {"role": "model", "parts": parts}, {"parts": [result("f", {"output": "1"})]}]
    sent = translate(msgspec.json.encode({"contents": contents}), "gemini-3-pro", GENERATE, CHAT)
    message = msgspec.json.decode(sent.body)["messages"][1]
    assert message["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "c2lnMg=="}}


def test_pictures_and_files_travel_as_what_they_are() -> None:
    parts = [
        {"inlineData": {"mimeType": "image/png", "data": "_-8"}},
        {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://pictures.test/a.jpg"}},
        {"inlineData": {"mimeType": "text/plain", "data": "aGk="}},
        {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0="}},
    ]
    content = asked({"contents": [{"parts": parts}]})["messages"][0]["content"]
    assert content[0]["image_url"]["url"] == "data:image/png;base64,/+8="
    assert content[1]["image_url"]["url"] == "https://pictures.test/a.jpg"
    assert "hi" in str(content[2])
    assert "JVBERi0=" in str(content[3])


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({**HI, "cachedContent": "cachedContents/x"}, "cachedContent"),
        ({"contents": [{"parts": [{"inlineData": {"mimeType": "audio/wav", "data": "AA=="}}]}]}, "inlineData"),
        ({"contents": [{"parts": [{"fileData": {"mimeType": "image/png", "fileUri": "gs://b/a"}}]}]}, "fileData"),
        ({"contents": [{"parts": [{"fileData": {"fileUri": "https://g.test/v1beta/files/a"}}]}]}, "fileData"),
        ({"contents": [{"parts": [{"fileData": {"mimeType": "video/mp4", "fileUri": "https://y.test/a"}}]}]}, "fileData"),
        ({"contents": [{"role": "narrator", "parts": [{"text": "a"}]}]}, "role"),
        ({**HI, "generationConfig": {"responseModalities": ["IMAGE"]}}, "responseModalities"),
        ({**HI, "generationConfig": {"responseMimeType": "text/x.enum"}}, "responseMimeType"),
        ({**HI, "generationConfig": {"responseFormat": {"text": {}}}}, "responseFormat"),
        ({**HI, "toolConfig": {"functionCallingConfig": {"mode": "SOMETIMES"}}}, "mode"),
        ({**HI, "tools": [{"functionDeclarations": [{"name": "f"}]}],
          "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["zz"]}}},
         "allowedFunctionNames"),
        ({"contents": [{"parts": [{"fileData": {"fileUri": "https://www.youtube.com/watch?v=a"}}]}]}, "fileData"),
        ({**HI, "generationConfig": {"maxOutputTokens": "many"}}, "translated"),
        ({**HI, "tools": [{"functionDeclarations": [{"name": "f", "parameters": WIDE}]}]}, "5001 parts of a schema"),
    ],
)  # fmt: skip
def test_what_would_make_the_answer_wrong_is_refused_by_name(fields: dict[str, Any], name: str) -> None:
    with pytest.raises(NotTranslatable, match=name):
        translation(fields)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"responseMimeType": "application/json"}, {"type": "json_object"}),
        ({"responseMimeType": "text/plain"}, None),
        ({"responseMimeType": "application/json", "responseSchema": DECLARED["parameters"]}, SCHEMA),
        ({"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}, SCHEMA),
    ],
)
def test_structured_answers(config: dict[str, Any], expected: object) -> None:
    form = asked({**HI, "generationConfig": config}).get("response_format")
    assert expected == (form["json_schema"]["schema"] if form and "json_schema" in form else form)


@pytest.mark.parametrize(
    ("config", "thinking"),
    [
        ({"thinkingBudget": 0}, Thinking(enabled=False)),
        ({"thinkingBudget": 512}, Thinking(enabled=True, budget_tokens=512)),
        ({"thinkingLevel": "HIGH"}, Thinking(enabled=True, effort="high")),
        ({"thinkingBudget": -1}, Thinking()),
        ({"includeThoughts": True}, Thinking(is_shown=True)),
    ],
)
def test_how_much_the_model_thinks(config: dict[str, Any], thinking: Thinking) -> None:
    body = msgspec.json.encode({**HI, "generationConfig": {"thinkingConfig": config}})
    assert read_request(body, Losses()).thinking == thinking


# ---- answers ----


def writer(*, is_shown: bool = False) -> GeminiAnswerWriter:
    conversation = Conversation(model="m", turns=(), stream=True, thinking=Thinking(is_shown=is_shown))
    return GeminiAnswerWriter(AnswerContext(conversation, "r1", 1))


USED = Used(Tokens(11, 9, cache_read=3, reasoning=2))
COUNTS = {"promptTokenCount": 11, "candidatesTokenCount": 7, "thoughtsTokenCount": 2, "cachedContentTokenCount": 3,
          "totalTokenCount": 20}  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        (StopReason.END, "STOP"),
        (StopReason.TOOL_CALLS, "STOP"),
        (StopReason.STOP_SEQUENCE, "STOP"),
        (StopReason.LENGTH, "MAX_TOKENS"),
        (StopReason.REFUSAL, "SAFETY"),
    ],
)
def test_why_it_stopped_and_what_it_took_are_in_the_last_frame(reason: StopReason, word: str) -> None:
    events: list[Event] = [Begun("id", "real"), TextPiece("a"), Finished(reason), USED, Ended()]
    one = writer()
    *_, last = sdk_models.sse(b"".join(map(one.write, events)))
    assert last[1]["candidates"][0]["finishReason"] == word
    assert last[1]["usageMetadata"] == COUNTS
    whole = msgspec.json.decode(writer().whole(events))
    assert (whole["candidates"][0]["finishReason"], whole["usageMetadata"]) == (word, COUNTS)
    assert (whole["modelVersion"], whole["responseId"]) == ("real", "id")


def test_thoughts_are_for_callers_that_asked_for_them() -> None:
    events: list[Event] = [Begun(), ThoughtPiece("hm"), TextPiece("a"), Finished(StopReason.END), Ended()]
    for is_shown in (True, False):
        parts = msgspec.json.decode(writer(is_shown=is_shown).whole(events))["candidates"][0]["content"]["parts"]
        assert parts == [*([{"text": "hm", "thought": True}] if is_shown else []), {"text": "a"}]
        one = writer(is_shown=is_shown)
        assert (b"hm" in b"".join(map(one.write, events))) is is_shown


def test_calls_are_whole_each_as_soon_as_it_is_and_with_its_signature() -> None:
    one = writer()
    seal = ThoughtSealed("c1 c2ln", Origin.GOOGLE, is_hidden=True)
    first: list[Event] = [Begun(), CallBegun(0, "c1", "f"), seal, CallPiece(0, '{"a":'), CallPiece(0, "1}")]
    assert not b"".join(map(one.write, first))
    ((_, told),) = sdk_models.sse(one.write(CallBegun(1, "c2", "g")))
    made = {"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"}
    assert told["candidates"][0]["content"]["parts"] == [made]
    ((_, rest),) = sdk_models.sse(one.write(Finished(StopReason.TOOL_CALLS)))
    second = {"functionCall": {"id": "c2", "name": "g", "args": {}}}
    assert rest["candidates"][0]["content"]["parts"] == [second]
    whole = msgspec.json.decode(writer().whole([*first, CallBegun(1, "c2", "g"), Finished(StopReason.END), Ended()]))
    assert whole["candidates"][0]["content"]["parts"] == [made, second]


def test_several_answers_are_candidates() -> None:
    ends: list[Event] = [Finished(StopReason.END, choice=0), Finished(StopReason.LENGTH, choice=1), Ended()]
    events: list[Event] = [Begun(), TextPiece("a", 0), TextPiece("b", 1), *ends]
    whole = msgspec.json.decode(writer().whole(events))["candidates"]
    assert [each["content"]["parts"][0]["text"] for each in whole] == ["a", "b"]
    one = writer()
    *_, last = sdk_models.sse(b"".join(map(one.write, events)))
    assert [(each["index"], each["finishReason"]) for each in last[1]["candidates"]] == [(0, "STOP"), (1, "MAX_TOKENS")]


@pytest.mark.parametrize(
    ("kind", "status", "word"),
    [
        (Kind.OVERLOADED, 503, "UNAVAILABLE"),
        (Kind.RATE_LIMIT, 429, "RESOURCE_EXHAUSTED"),
        (Kind.CONTEXT, 400, "INVALID_ARGUMENT"),
        (Kind.SERVER, 500, "INTERNAL"),
    ],
)
def test_an_error_ends_a_stream_with_googles_words_and_nothing_follows(kind: Kind, status: int, word: str) -> None:
    one = writer()
    told = one.write(TextPiece("a")) + one.write(Failed(Failure(kind, "words"))) + one.write(Ended())
    frames = [data for _, data in sdk_models.sse(told)]
    assert frames[1:] == [{"error": {"code": status, "message": "words", "status": word}}]
    assert translation(HI).error(status, b'{"error":{"message":"words"}}', "r").startswith(b'{"error":{"code":')


def test_an_answer_without_words_is_one() -> None:
    whole = msgspec.json.decode(writer().whole([Begun(), Ended()]))
    assert whole["candidates"][0]["content"]["parts"] == [{"text": ""}]


# ---- embeddings ----

ONE, BATCH = Endpoint.GEMINI_EMBED, Endpoint.GEMINI_BATCH_EMBED
TEXT = {"content": {"parts": [{"text": "one"}]}}
VECTORS = {"data": [{"index": 0, "embedding": [0.5]}, {"index": 1, "embedding": [1.5, 2]}], "usage": {}}


def test_vectors_for_one_text_and_for_several() -> None:
    made = translation({**TEXT, "taskType": "RETRIEVAL_QUERY", "outputDimensionality": 64}, EMBEDDED_BY, ONE)
    assert msgspec.json.decode(made.body) == {
        "model": "m", "input": ["one"], "encoding_format": "float", "dimensions": 64
    }  # fmt: skip
    assert dict(made.headers)[DROPPED] == "taskType"
    whole = made.answer("r", 1).whole(b'{"data":[{"index":0,"embedding":[0.5]}]}')
    assert msgspec.json.decode(whole) == {"embedding": {"values": [0.5]}}
    requests = [{"model": "models/m", **TEXT}, {"content": {"parts": [{"text": "a"}, {"text": "b"}]}}]
    made = translation({"requests": requests}, EMBEDDED_BY, BATCH)
    assert msgspec.json.decode(made.body)["input"] == ["one", "a\nb"]
    told = msgspec.json.decode(made.answer("r", 1).whole(msgspec.json.encode(VECTORS)))
    assert told == {"embeddings": [{"values": [0.5]}, {"values": [1.5, 2]}]}


@pytest.mark.parametrize(
    ("source", "fields", "name"),
    [
        (ONE, {}, "content"),
        (ONE, {"content": {"parts": [{"text": "a"}, {"inlineData": {"mimeType": "image/png", "data": PNG}}]}}, "content"),
        (BATCH, {"requests": []}, "requests"),
        (BATCH, {"requests": [TEXT, {**TEXT, "outputDimensionality": 9}]}, "outputDimensionality"),
        (BATCH, {"requests": [TEXT] * 2_049}, "2049"),
    ],
)  # fmt: skip
def test_what_is_no_text_is_refused_by_name(source: Endpoint, fields: dict[str, Any], name: str) -> None:
    with pytest.raises(NotTranslatable, match=name):
        translation(fields, EMBEDDED_BY, source)
