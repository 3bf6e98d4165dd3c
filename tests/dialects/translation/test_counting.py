import msgspec
import pytest

from masa_node.chat.request import Endpoint
from masa_node.dialects.translation.counting import counted

TOOL = {"name": "weather", "description": "d" * 400, "input_schema": {"type": "object"}}


def count(**body: object) -> int:
    answer, field = counted(msgspec.json.encode({"model": "m", **body}), Endpoint.ANTHROPIC_COUNT_TOKENS)
    assert field == "input_tokens"
    return msgspec.json.decode(answer)["input_tokens"]


def test_an_estimate_is_near_what_a_tokenizer_says() -> None:
    english = "The quick brown fox jumps over the lazy dog. " * 100  # 1 000 tokens of cl100k
    assert 700 <= count(messages=[{"role": "user", "content": english}]) <= 1_400
    chinese = "\u4eca\u5929\u5929\u6c14\u5f88\u597d" * 100  # 600 characters: about as many tokens
    assert 300 <= count(messages=[{"role": "user", "content": chinese}]) <= 800


def test_tools_system_and_pictures_count() -> None:
    hi = [{"role": "user", "content": "hi"}]
    bare = count(messages=hi)
    assert count(messages=hi, system="s" * 400) >= bare + 100
    assert count(messages=hi, tools=[TOOL]) >= bare + 100
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    assert count(messages=[{"role": "user", "content": [picture]}]) > 1_000


@pytest.mark.parametrize("kind", ["thinking", "tool_use", "tool_result", "document"])
def test_blocks_of_every_kind_count(kind: str) -> None:
    block = {
        "thinking": {"type": "thinking", "thinking": "t" * 40, "signature": "s"},
        "tool_use": {"type": "tool_use", "id": "t", "name": "f", "input": {"a": "b" * 40}},
        "tool_result": {"type": "tool_result", "tool_use_id": "t", "content": "r" * 40},
        "document": {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d" * 40}},
    }[kind]
    assert count(messages=[{"role": "user", "content": [block]}]) >= 14


def test_geminis_callers_are_told_the_same_count_in_their_word() -> None:
    said = "The quick brown fox jumps over the lazy dog. " * 100
    contents = [{"role": "user", "parts": [{"text": said}]}]
    whole = {"generateContentRequest": {"model": "models/m", "contents": contents}}
    expected = count(messages=[{"role": "user", "content": said}])
    for body in ({"contents": contents}, whole):
        answer, field = counted(msgspec.json.encode(body), Endpoint.GEMINI_COUNT_TOKENS)
        assert msgspec.json.decode(answer) == {field: expected} == {"totalTokens": expected}
