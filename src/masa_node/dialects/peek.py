"""Reads what routing must know out of a request body, and nothing else: the model's name, and whether it streams.

One pass of msgspec over the bytes; nothing else of the body becomes an object (100 kB in about 0.1 ms).
"""

import msgspec

from masa_node.chat.ask import Door
from masa_node.chat.errors import BadJson, BadModel
from masa_node.dialects.fields import ABSENT, TEXT, UNREADABLE, decode, read
from masa_node.dialects.repeated import check_repeated

MAX_MODEL_CHARS = 256  # the longest real ids (Hugging Face paths with a quantisation) are below 150


class Peeked(msgspec.Struct, frozen=True):
    """The model's name and whether a stream is asked for."""

    model: str
    wants_stream: bool


class _Body(msgspec.Struct):
    model: msgspec.Raw = ABSENT
    name: msgspec.Raw = ABSENT
    stream: msgspec.Raw = ABSENT


_BODY = msgspec.json.Decoder(_Body)
_STREAMS_UNLESS_TOLD = frozenset({Door.OLLAMA_CHAT, Door.OLLAMA_GENERATE})


def peek(body: bytes, door: Door, model_in_path: str | None = None) -> Peeked:
    """Read the body of a request through this door; the model's name only if it is not in the path.

    Raises `BadJson` if it is not a JSON object, `BadModel` if it names no usable model, `CallerError` if it could be
    read in another way, too.
    """
    if not body:
        raise BadJson('The request has no body. Send a JSON object such as {"model": "...", "messages": [...]}.')
    try:
        fields = decode(body, _BODY)
    except UNREADABLE as exc:
        raise BadJson(f"The body is not a JSON object: {exc}. Send one as the LLM's documentation describes.") from exc
    check_repeated(body, door)
    told = bytes(fields.stream)
    wants_stream = told != b"false" if door in _STREAMS_UNLESS_TOLD else told == b"true"
    model = model_in_path if model_in_path is not None else read(fields.model, TEXT)
    if door is Door.OLLAMA_SHOW:  # its clients send either, and the Ollama CLI an empty `model` beside `name`
        model = model or read(fields.name, TEXT)
    return Peeked(check_model(model), wants_stream)


def check_model(model: str | None) -> str:
    """The model's name if it is usable: opaque text of bounded length without control characters. Raises `BadModel`."""
    if not model:
        raise BadModel('The body names no model. Add "model": "<id>"; GET /api/v1/llm/models lists the ids.')
    if len(model) > MAX_MODEL_CHARS:
        raise BadModel(f"The model's name has {len(model)} characters; at most {MAX_MODEL_CHARS} are allowed.")
    if not model.isprintable():
        raise BadModel("The model's name holds control or unprintable characters.")
    return model


def is_model(text: str) -> bool:
    """Is this a name that a request may hold?"""
    try:
        check_model(text)
    except BadModel:
        return False
    return True
