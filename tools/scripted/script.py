"""What the scripted model says: it calls a tool that is offered, tells what came out of it, or fills in a schema."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

COMMAND = "printf 'made-by-%d' 0x2a"  # without `$(...)`, which some agents refuse
PROOF = "made-by-42"  # in no prompt: a shell made it, and the model got it back
_COMMANDS = ("command", "cmd")
_NUMBER = re.compile(r"-?\d+")


@dataclass
class Asked:
    """One request in no format's words. `results` are those of tools since the model spoke last."""

    model: str
    stream: bool
    words: str = ""
    results: list[str] = field(default_factory=list)
    tools: dict[str, dict[str, Any]] = field(default_factory=dict)
    must_call: str | None = None  # a tool's name, or "any"
    may_call: bool = True
    schema: dict[str, Any] | None = None
    any_json: bool = False
    max_tokens: int | None = None
    stop: list[str] = field(default_factory=list)
    echoed: dict[str, Any] = field(default_factory=dict)  # fields of the request that the answer repeats


@dataclass
class Said:
    """The answer: calls (id, name, arguments), or words; `reason` is OpenAI's word for why it stopped."""

    text: str = ""
    calls: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    reason: str = "stop"


def answer_to(asked: Asked) -> Said:
    """The same request gets the same answer."""
    tool = _tool_for(asked)
    if tool is not None:
        arguments = example_of(asked.tools[tool], asked.words)
        return Said("", [(f"call_{len(asked.words)}_{tool}"[:40], tool, arguments)], "tool_calls")
    if asked.schema is not None:
        return Said(json.dumps(example_of(asked.schema, asked.words)))
    if asked.any_json:
        return Said('{"setup": "What?", "punchline": "That."}')
    return _cut(f"The tool said: {' '.join(asked.results)}" if asked.results else f"Hello! {asked.words}"[:200], asked)


def _tool_for(asked: Asked) -> str | None:
    if not asked.tools or not asked.may_call:
        return None
    if asked.must_call in asked.tools:
        return asked.must_call
    if asked.results and asked.must_call is None:
        return None
    runs = [name for name, schema in asked.tools.items() if any(key in _fields(schema) for key in _COMMANDS)]
    named = [name for name in asked.tools if name in asked.words]
    return next(iter([*named, *runs, *asked.tools]))


def _cut(text: str, asked: Asked) -> Said:
    for sequence in asked.stop:
        text = text.partition(sequence)[0]
    words = text.split(" ")
    if asked.max_tokens is not None and len(words) > asked.max_tokens:
        return Said(" ".join(words[: asked.max_tokens]), [], "length")
    return Said(text)


def example_of(schema: dict[str, Any], words: str, root: dict[str, Any] | None = None) -> Any:  # noqa: ANN401
    """Some JSON of this schema. A field that holds a command gets ours, a number the first one that was said."""
    root = root or schema
    if "$ref" in schema:
        schema = root.get("$defs", {}).get(schema["$ref"].rpartition("/")[2], {})
    if schema.get("enum"):
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return example_of(schema[key][0], words, root)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    return _example_of_kind(kind[0] if isinstance(kind, list) else kind, schema, words, root)


def _example_of_kind(kind: str, schema: dict[str, Any], words: str, root: dict[str, Any]) -> Any:  # noqa: ANN401
    if kind == "object":
        wanted = schema.get("required", list(_fields(schema)))
        return {key: _field(key, _fields(schema).get(key, {}), words, root) for key in wanted}
    if kind == "array":
        return [example_of(schema.get("items", {}), words, root)]
    number = int((_NUMBER.findall(words) or ["3"])[0])
    return {"integer": number, "number": number, "boolean": True, "null": None}.get(kind, words or "some words")


def _field(name: str, schema: dict[str, Any], words: str, root: dict[str, Any]) -> Any:  # noqa: ANN401
    if name in _COMMANDS:
        return ["bash", "-lc", COMMAND] if schema.get("type") == "array" else COMMAND
    return example_of(schema, words, root)


def _fields(schema: dict[str, Any]) -> dict[str, Any]:
    return schema.get("properties") or {}


def text_of(content: object) -> str:
    """The words of a message's content, as any format has it."""
    match content:
        case str():
            return content
        case list():
            return " ".join(filter(None, map(text_of, content)))
        case {"text": str(text)} | {"content": str(text)} | {"output": str(text)}:
            return text
        case {"content": list(parts)} | {"output": list(parts)}:
            return text_of(parts)
        case _:
            return ""
