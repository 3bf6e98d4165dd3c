"""Embeddings that Ollama's clients ask of servers that speak OpenAI's format.

Covers: `ollama.embeddings`.
"""

import base64
import struct
from typing import Any

import msgspec
import pytest

from masa_node.chat.errors import BrokenAnswer, NotAnAnswer, NotTranslatable
from masa_node.chat.request import Endpoint
from masa_node.dialects.translation.formats import EMBEDDED_BY, EMBEDDED_FROM, is_translated_from, targets_for
from masa_node.dialects.translation.translator import DROPPED, TRANSLATED, Translation, translate

EMBED, ONE = Endpoint.OLLAMA_EMBED, Endpoint.OLLAMA_EMBEDDINGS


def translation(source: Endpoint, **fields: Any) -> Translation:
    return translate(msgspec.json.encode({"model": "m", **fields}), "m", source, EMBEDDED_BY)


def asked(source: Endpoint, **fields: Any) -> Any:
    return msgspec.json.decode(translation(source, **fields).body)


def answered(source: Endpoint, answer: object, **fields: Any) -> Any:
    body = answer if isinstance(answer, bytes) else msgspec.json.encode(answer)
    return msgspec.json.decode(translation(source, **fields).answer("r", 1).whole(body))


def test_they_lead_to_openais_endpoint_alone() -> None:
    for source in EMBEDDED_FROM:
        assert is_translated_from(source)
        assert targets_for(source, "gpt-5.4") == (Endpoint.OPENAI_EMBEDDINGS,)
    assert not is_translated_from(Endpoint.OPENAI_EMBEDDINGS)


@pytest.mark.parametrize("texts", ["one", ["one"], ["one", "two", ""]])
def test_the_texts_go_as_they_are(texts: str | list[str]) -> None:
    sent = asked(EMBED, input=texts)
    assert sent == {"model": "m", "input": [texts] if isinstance(texts, str) else texts, "encoding_format": "float"}


def test_the_older_endpoint_has_one_text() -> None:
    assert asked(ONE, prompt="one")["input"] == ["one"]


def test_what_has_no_place_is_named_and_the_size_of_vectors_has_one() -> None:
    fields = {"keep_alive": "5m", "options": {"num_ctx": 9}, "truncate": True, "dimensions": 64, "new": 1}
    made = translation(EMBED, input="one", **fields)
    assert msgspec.json.decode(made.body)["dimensions"] == 64
    headers = dict(made.headers)
    assert headers[TRANSLATED] == "ollama>openai"
    assert set(headers[DROPPED].split(", ")) == {"keep_alive", "options", "truncate", "new"}
    assert DROPPED not in dict(translation(EMBED, input="one", truncate=False, options={}).headers)


@pytest.mark.parametrize(
    ("source", "fields", "name"),
    [
        (EMBED, {}, "input"),
        (EMBED, {"input": []}, "input"),
        (ONE, {"prompt": ""}, "prompt"),
        (EMBED, {"input": 7}, "7|int"),
    ],
)
def test_without_a_text_nothing_is_sent(source: Endpoint, fields: dict[str, Any], name: str) -> None:
    with pytest.raises(NotTranslatable, match=name):
        translation(source, **fields)


def item(index: int | None, vector: object) -> dict[str, object]:
    return {"object": "embedding", "embedding": vector, **({} if index is None else {"index": index})}


@pytest.mark.parametrize(
    "data",
    [
        [item(0, [0.5, -1]), item(1, [0.25, 2e-3])],
        [item(1, [0.25, 2e-3]), item(0, [0.5, -1])],
        [item(None, [0.5, -1]), item(None, [0.25, 2e-3])],
    ],
    ids=["in order", "out of order", "without numbers"],
)
def test_each_text_gets_its_vector(data: list[object]) -> None:
    answer = {"object": "list", "data": data, "model": "other", "usage": {"prompt_tokens": 7, "total_tokens": 7}}
    given = answered(EMBED, answer, input=["one", "two"])
    assert given == {"model": "m", "embeddings": [[0.5, -1], [0.25, 2e-3]], "prompt_eval_count": 7}


def test_numbers_keep_their_digits() -> None:
    body = b'{"data":[{"embedding":[0.10000000149011612,1.0,-0],"index":0}]}'
    made = translation(EMBED, input="one").answer("r", 1).whole(body)
    assert made == b'{"model":"m","embeddings":[[0.10000000149011612,1.0,-0]]}'


def test_the_older_endpoint_gets_one_vector() -> None:
    assert answered(ONE, {"data": [item(0, [0.5])]}, prompt="one") == {"embedding": [0.5]}


def test_vectors_in_base64_are_read_too() -> None:
    vector = base64.b64encode(struct.pack("<3f", 0.5, -1.0, 0.25)).decode()
    assert answered(EMBED, {"data": [item(0, vector)]}, input="one")["embeddings"] == [[0.5, -1.0, 0.25]]


@pytest.mark.parametrize(
    "data",
    [
        [],
        [item(0, [1])],
        [item(0, [1]), item(0, [1])],
        [item(0, [1]), item(2, [1])],
        [item(0, [1]), item(1, "!")],
        [item(0, [1]), item(1, "AAAA")],
        [item(0, [1]), item(1, None)],
        [item(0, [1]), item(1, [1, None])],
        [item(0, [1]), item(1, ["1"])],
        [item(0, [1]), item(1, [[1]])],
        [item(0, [1]), item(1, base64.b64encode(struct.pack("<f", float("nan"))).decode())],
        [item(0, [1]), item(1, 1234567890123456)],
        [item(0, [1]), item(1, [1]), item(2, [1])],
        None,
        "x",
    ],
)
def test_what_is_not_one_vector_for_each_text_is_no_answer(data: object) -> None:
    with pytest.raises(NotAnAnswer, match=r"embedding.* Does its server run this model for embeddings\?"):
        answered(EMBED, {"data": data}, input=["one", "two"])


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"data: {}\n\n", b"\xff"])
def test_what_cannot_be_read_is_no_answer(body: bytes) -> None:
    with pytest.raises(NotAnAnswer):
        answered(EMBED, body, input="one")


def test_an_error_under_a_good_status_is_one() -> None:
    with pytest.raises(BrokenAnswer, match="no room"):
        answered(EMBED, {"error": {"message": "no room"}}, input="one")


def test_an_error_is_told_in_ollamas_words() -> None:
    body = msgspec.json.encode({"error": {"message": "input is too large", "type": "x", "code": 500}})
    made = translation(EMBED, input="one")
    assert msgspec.json.decode(made.error(400, body, "r"))["error"] == "input is too large"
