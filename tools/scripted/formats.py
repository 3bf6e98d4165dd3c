"""The formats that the scripted servers speak: a request as `Asked`, and `Said` as a body or the frames of a stream."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tools.scripted.script import Asked, Said, text_of

Json = dict[str, Any]
_CREATED = 1_700_000_000
_WHEN = "2023-11-14T22:13:20Z"
_GIVEN, _MADE = 11, 7  # tokens, the same for every answer


@dataclass(frozen=True)
class Format:
    """How one endpoint reads and writes. `frames` are a stream's, of the media type `stream_type`."""

    read: Callable[[Json], Asked]
    whole: Callable[[Asked, Said], Json]
    frames: Callable[[Asked, Said], Iterator[bytes]]
    stream_type: str = "text/event-stream"


def _event(data: Json, name: str = "") -> bytes:
    return (f"event: {name}\n" if name else "").encode() + b"data: " + json.dumps(data).encode() + b"\n\n"


def _since_the_model_spoke(messages: list[Json]) -> list[Json]:
    at = [number for number, message in enumerate(messages) if message.get("role") == "assistant"]
    return messages[at[-1] + 1 :] if at else messages


def _words_of_users(messages: list[Json]) -> str:
    said = [text_of(message.get("content")) for message in messages if message.get("role") == "user"]
    return said[-1] if said else ""


def _pieces(text: str) -> list[str]:
    return [word + " " for word in text.split(" ")[:-1]] + text.split(" ")[-1:]


# ---- OpenAI's chat completions ----


def _read_chat(body: Json) -> Asked:
    new = _since_the_model_spoke(body["messages"])
    choice, form = body.get("tool_choice"), body.get("response_format") or {}
    functions = [tool.get("function", tool) for tool in body.get("tools") or ()]
    return Asked(
        body.get("model", ""),
        bool(body.get("stream")),
        _words_of_users(body["messages"]),
        [text_of(message.get("content")) for message in new if message["role"] == "tool"],
        {tool["name"]: tool.get("parameters") or {} for tool in functions},
        choice["function"]["name"] if isinstance(choice, dict) else {"required": "any"}.get(str(choice)),
        choice != "none",
        (form.get("json_schema") or {}).get("schema") or form.get("json_schema"),
        form.get("type") == "json_object",
        body.get("max_completion_tokens") or body.get("max_tokens"),
        [body["stop"]] if isinstance(body.get("stop"), str) else list(body.get("stop") or ()),
    )


def _chat_calls(said: Said) -> list[Json]:
    return [
        {"id": id_, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for id_, name, arguments in said.calls
    ]


def _chat_usage() -> Json:
    return {"prompt_tokens": _GIVEN, "completion_tokens": _MADE, "total_tokens": _GIVEN + _MADE}


def _chat_whole(asked: Asked, said: Said) -> Json:
    message: Json = {"role": "assistant", "content": said.text or None, "refusal": None}
    if said.calls:
        message["tool_calls"] = _chat_calls(said)
    choice = {"index": 0, "message": message, "finish_reason": said.reason, "logprobs": None}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": _CREATED, "model": asked.model}
    return {**head, "choices": [choice], "usage": _chat_usage()}


def _chat_frames(asked: Asked, said: Said) -> Iterator[bytes]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": _CREATED, "model": asked.model}

    def chunk(delta: Json, reason: str | None = None) -> bytes:
        return _event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})

    yield chunk({"role": "assistant", "content": ""})
    for piece in _pieces(said.text) if said.text else ():
        yield chunk({"content": piece})
    for index, call in enumerate(_chat_calls(said)):
        arguments = call["function"]["arguments"]
        yield chunk({"tool_calls": [{**call, "index": index, "function": {**call["function"], "arguments": ""}}]})
        for part in (arguments[:5], arguments[5:]):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
    yield chunk({}, said.reason)
    yield _event({**head, "choices": [], "usage": _chat_usage()})
    yield b"data: [DONE]\n\n"


# ---- OpenAI's responses ----


def _is_the_models(item: Json) -> bool:
    return item.get("role") == "assistant" or item.get("type") == "function_call"


def _read_responses(body: Json) -> Asked:
    given = body["input"]
    items: list[Json] = [{"role": "user", "content": given}] if isinstance(given, str) else given
    own = [
        at for at, item in enumerate(items) if item.get("role") == "assistant" or item.get("type") == "function_call"
    ]
    new = items[own[-1] + 1 :] if own else items
    choice, form = body.get("tool_choice"), (body.get("text") or {}).get("format") or {}
    tools = [tool for tool in body.get("tools") or () if tool.get("type") == "function"]
    return Asked(
        body.get("model", ""),
        bool(body.get("stream")),
        _words_of_users(items),
        [text_of(item.get("output")) for item in new if item.get("type") == "function_call_output"],
        {tool["name"]: tool.get("parameters") or {} for tool in tools},
        choice["name"] if isinstance(choice, dict) else {"required": "any"}.get(str(choice)),
        choice != "none",
        form.get("schema"),
        form.get("type") == "json_object",
        body.get("max_output_tokens"),
        echoed={"text": body.get("text") or {"format": {"type": "text"}}},
    )


def _response(asked: Asked, output: list[Json], status: str) -> Json:
    usage = {"input_tokens": _GIVEN, "output_tokens": _MADE, "total_tokens": _GIVEN + _MADE}
    usage |= {
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
    head: Json = {"id": "resp_1", "object": "response", "created_at": _CREATED, "model": asked.model, "status": status}
    head |= {"output": output, "error": None, "incomplete_details": None, "tools": [], "tool_choice": "auto"}
    return {**head, **asked.echoed, "parallel_tool_calls": True, "usage": usage if output else None}


def _items(said: Said) -> list[Json]:
    calls: list[Json] = [
        {"type": "function_call", "id": f"fc_{id_}", "call_id": id_, "name": name, "arguments": json.dumps(arguments)}
        | {"status": "completed"}
        for id_, name, arguments in said.calls
    ]
    text = {"type": "output_text", "text": said.text, "annotations": []}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [text]}
    return ([message] if said.text else []) + calls


def _responses_whole(asked: Asked, said: Said) -> Json:
    if said.reason == "length":
        cut = {"incomplete_details": {"reason": "max_output_tokens"}}
        return _response(asked, _items(said), "incomplete") | cut
    return _response(asked, _items(said), "completed")


def _responses_frames(asked: Asked, said: Said) -> Iterator[bytes]:
    number = 0

    def event(name: str, /, **fields: object) -> bytes:
        nonlocal number
        number += 1
        return _event({"type": name, "sequence_number": number - 1, **fields}, name)

    yield event("response.created", response=_response(asked, [], "in_progress"))
    for at, item in enumerate(_items(said)):
        where = {"output_index": at, "item_id": item["id"]}
        if item["type"] == "message":
            part = item["content"][0]
            empty = {**part, "text": ""}
            where["content_index"] = 0
            yield event("response.output_item.added", output_index=at, item={**item, "content": []})
            yield event("response.content_part.added", **where, part=empty)
            for piece in _pieces(part["text"]):
                yield event("response.output_text.delta", **where, delta=piece, logprobs=[])
            yield event("response.output_text.done", **where, text=part["text"], logprobs=[])
            yield event("response.content_part.done", **where, part=part)
        else:
            given, name = item["arguments"], item["name"]
            yield event("response.output_item.added", output_index=at, item={**item, "arguments": ""})
            yield event("response.function_call_arguments.delta", **where, delta=given)
            yield event("response.function_call_arguments.done", **where, arguments=given, name=name)
        yield event("response.output_item.done", output_index=at, item=item)
    whole = _responses_whole(asked, said)
    yield event(f"response.{whole['status']}", response=whole)


# ---- Anthropic's messages ----

_ANTHROPIC_REASONS = {"stop": "end_turn", "tool_calls": "tool_use", "length": "max_tokens"}


def _read_messages(body: Json) -> Asked:
    new = _since_the_model_spoke(body["messages"])
    parts = [part for each in new if isinstance(each["content"], list) for part in each["content"]]
    choice = body.get("tool_choice") or {}
    form = (body.get("output_config") or {}).get("format") or {}
    return Asked(
        body.get("model", ""),
        bool(body.get("stream")),
        _words_of_users(body["messages"]),
        [text_of(part.get("content")) for part in parts if part.get("type") == "tool_result"],
        {tool["name"]: tool["input_schema"] for tool in body.get("tools") or () if "input_schema" in tool},
        choice.get("name") or {"any": "any"}.get(choice.get("type", "")),
        choice.get("type") != "none",
        form.get("schema"),
        max_tokens=body.get("max_tokens"),
        stop=list(body.get("stop_sequences") or ()),
    )


def _message(asked: Asked, content: list[Json], reason: str | None) -> Json:
    head: Json = {"id": "msg_1", "type": "message", "role": "assistant", "model": asked.model, "content": content}
    usage = {"input_tokens": _GIVEN, "output_tokens": _MADE if reason else 1}
    return {**head, "stop_reason": reason, "stop_sequence": None, "usage": usage}


def _blocks(said: Said) -> list[Json]:
    text = [{"type": "text", "text": said.text}] if said.text else []
    return [*text, *({"type": "tool_use", "id": i, "name": name, "input": given} for i, name, given in said.calls)]


def _messages_whole(asked: Asked, said: Said) -> Json:
    return _message(asked, _blocks(said), _ANTHROPIC_REASONS[said.reason])


def _messages_frames(asked: Asked, said: Said) -> Iterator[bytes]:
    def event(name: str, /, **fields: object) -> bytes:
        return _event({"type": name, **fields}, name)

    yield event("message_start", message=_message(asked, [], None))
    for index, block in enumerate(_blocks(said)):
        empty = {**block, "text": ""} if block["type"] == "text" else {**block, "input": {}}
        yield event("content_block_start", index=index, content_block=empty)
        if block["type"] == "text":
            deltas = [{"type": "text_delta", "text": piece} for piece in _pieces(block["text"])]
        else:
            given = json.dumps(block["input"])
            deltas = [{"type": "input_json_delta", "partial_json": part} for part in ("", given[:5], given[5:])]
        for delta in deltas:
            yield event("content_block_delta", index=index, delta=delta)
        yield event("content_block_stop", index=index)
    ending = {"stop_reason": _ANTHROPIC_REASONS[said.reason], "stop_sequence": None}
    yield event("message_delta", delta=ending, usage={"output_tokens": _MADE})
    yield event("message_stop")


# ---- Ollama's chat ----


def _read_ollama(body: Json) -> Asked:
    asked = _read_chat({**body, "stream": body.get("stream", True)})
    options, form = body.get("options") or {}, body.get("format")
    asked.schema = form if isinstance(form, dict) else None
    asked.any_json = form == "json"
    asked.max_tokens, asked.stop = options.get("num_predict"), list(options.get("stop") or ())
    return asked


def _ollama_line(asked: Asked, said: Said, *, is_last: bool) -> Json:
    message: Json = {"role": "assistant", "content": said.text}
    if said.calls:
        message["tool_calls"] = [{"function": {"name": name, "arguments": given}} for _, name, given in said.calls]
    line: Json = {"model": asked.model, "created_at": _WHEN, "message": message, "done": is_last}
    if is_last:
        line["done_reason"] = "length" if said.reason == "length" else "stop"
        line |= {"total_duration": 1, "load_duration": 1, "prompt_eval_count": _GIVEN, "eval_count": _MADE}
    return line


def _ollama_whole(asked: Asked, said: Said) -> Json:
    return _ollama_line(asked, said, is_last=True)


def _ollama_frames(asked: Asked, said: Said) -> Iterator[bytes]:
    parts = [Said(piece) for piece in _pieces(said.text)] if said.text else []
    for part in [*parts, *([Said("", said.calls)] if said.calls else ())]:
        yield json.dumps(_ollama_line(asked, part, is_last=False)).encode() + b"\n"
    yield json.dumps(_ollama_line(asked, Said("", [], said.reason), is_last=True)).encode() + b"\n"


# ---- Cloudflare's run ----


def _run_result(said: Said) -> Json:
    result: Json = {"response": said.text, "usage": _chat_usage()}
    if said.calls:
        result["tool_calls"] = [{"name": name, "arguments": given} for _, name, given in said.calls]
    return result


def _run_whole(_: Asked, said: Said) -> Json:
    return {"result": _run_result(said), "success": True, "errors": [], "messages": []}


def _run_frames(_: Asked, said: Said) -> Iterator[bytes]:
    for piece in _pieces(said.text) if said.text else ():
        yield _event({"response": piece})
    yield _event({**_run_result(said), "response": ""})
    yield b"data: [DONE]\n\n"


CHAT = Format(_read_chat, _chat_whole, _chat_frames)
RESPONSES = Format(_read_responses, _responses_whole, _responses_frames)
MESSAGES = Format(_read_messages, _messages_whole, _messages_frames)
OLLAMA = Format(_read_ollama, _ollama_whole, _ollama_frames, "application/x-ndjson")
RUN = Format(_read_chat, _run_whole, _run_frames)
