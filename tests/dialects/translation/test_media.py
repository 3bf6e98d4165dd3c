from typing import Any

import pytest

from masa_node.chat.errors import NotTranslatable
from masa_node.dialects.translation.conversation import Image
from masa_node.dialects.translation.media import image_of, media_type_of, split_data_url, url_of
from masa_node.dialects.translation.wire import MAX_DATA_CHARS
from tests.dialects.translation.calling import CHAT, HI, MESSAGES, OLLAMA, RESPONSES, request

PNG = "iVBORw0KGgo="


@pytest.mark.parametrize("url", [f"data:image/png;base64,{PNG}", "https://example.org/cat.png"])
def test_a_picture_is_at_the_same_url_after_there_and_back(url: str) -> None:
    assert url_of(image_of(url)) == url


def test_a_data_url_that_does_not_say_what_it_is_is_known_by_its_first_bytes() -> None:
    assert image_of("data:;base64,/9j/4AAQ").media_type == "image/jpeg"
    assert [media_type_of(data) for data in (PNG, "R0lGODlh", "UklGRg==", "????")] == [
        "image/png",
        "image/gif",
        "image/webp",
        "image/png",
    ]


def test_the_detail_auto_is_what_is_meant_when_nothing_is_said() -> None:
    assert image_of("https://a/b", "auto") == image_of("https://a/b") == Image(url="https://a/b")
    assert image_of("https://a/b", "low").detail == "low"


@pytest.mark.parametrize("url", ["data:image/png,raw", "data:image/png;base64", "data:"])
def test_a_data_url_without_base64_is_refused(url: str) -> None:
    with pytest.raises(NotTranslatable, match="base64"):
        split_data_url(url)


def test_a_picture_has_a_bound() -> None:
    with pytest.raises(NotTranslatable, match=str(MAX_DATA_CHARS)):
        image_of("data:image/png;base64," + "A" * (MAX_DATA_CHARS + 1))


def test_a_picture_is_what_it_is_whatever_its_url_says() -> None:
    """Anthropic refuses `image/jpg`, and a picture of another kind than was said; OpenAI takes both."""
    assert image_of("data:image/jpg;base64,/9j/4AAQ").media_type == "image/jpeg"
    assert image_of(f"data:image/jpeg;base64,{PNG}").media_type == "image/png"
    assert image_of("data:image/bmp;base64,Qk0=").media_type == "image/bmp"


@pytest.mark.parametrize("source", [CHAT, RESPONSES])
def test_a_file_of_plain_text_is_carried_as_text(source: Any) -> None:
    """Anthropic takes base64 of PDFs only, chat servers and Ollama no file at all."""
    file = {"filename": "a.csv", "file_data": "data:text/csv;base64,w6QsYg=="}
    part = {"type": "input_file", **file} if source is RESPONSES else {"type": "file", "file": file}
    said = [{"role": "user", "content": [part]}]
    asked = {"input": said} if source is RESPONSES else {"messages": said}
    body, _ = request(source, MESSAGES, **asked)
    text = {"type": "text", "media_type": "text/plain", "data": "\u00e4,b"}
    assert body["messages"][0]["content"] == [{"type": "document", "source": text, "title": "a.csv"}]
    assert request(source, OLLAMA, **asked)[0]["messages"][0]["content"] == "a.csv\n\n\u00e4,b"
    part.get("file", part)["file_data"] = "data:text/csv;base64,/w=="  # no UTF-8
    body, _ = request(source, MESSAGES, **asked)
    assert body["messages"][0]["content"][0]["source"]["media_type"] == "text/csv"


def test_a_tool_that_failed_with_a_picture_has_failed_to_responses_too() -> None:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    content = [{"type": "text", "text": "no such page"}, picture]
    turns = [
        *HI,
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "a", "content": content, "is_error": True}],
        },
    ]
    body, _ = request(MESSAGES, RESPONSES, max_tokens=9, messages=turns)
    said = body["input"][-1]["output"]
    assert [part["type"] for part in said] == ["input_text", "input_image"]
    assert said[0]["text"] == "Error: no such page"
