"""From a conversation to a body of `/api/chat`."""

import re
from collections.abc import Sequence

from masa_node.dialects.translation.conversation import (
    ChoiceMode,
    Conversation,
    Document,
    Fields,
    Image,
    Names,
    Part,
    Refusal,
    Role,
    Text,
    Thought,
    Tool,
    ToolCall,
    ToolResult,
    Turn,
)
from masa_node.dialects.translation.kept import written
from masa_node.dialects.translation.losses import Losses, drop_description, refuse
from masa_node.dialects.translation.media import drop_details
from masa_node.dialects.translation.openai_chat.request_writer import LEVELS, open_thoughts, told_result
from masa_node.dialects.translation.tools import FREE_FORM, schema_of
from masa_node.dialects.translation.wire import encode, object_of

# The versions of Ollama that need a translation refuse a level for any other model, and thinking for one that cannot.
_KNOWS_LEVELS = re.compile(r"gpt-oss", re.IGNORECASE)


def write_request(conversation: Conversation, losses: Losses) -> bytes:
    """The body. Raises `NotTranslatable` for what Ollama's chat cannot carry."""
    sampling, names = conversation.sampling, conversation.names
    if (sampling.choices or 1) > 1:
        raise refuse(names.get("choices", "n"), "Ollama gives one answer per request.")
    body: Fields = {
        "model": conversation.model,
        "messages": _all_messages(conversation, losses),
        "stream": conversation.stream,
    }
    _add_tools(body, conversation, losses)
    if conversation.output is not None:
        schema = conversation.output.schema
        drop_description(conversation.output.description, names, losses)
        body["format"] = "json" if schema is None else schema
    options = _options(conversation)
    if options:
        body["options"] = options
    if sampling.logprobs:
        body["logprobs"] = True
        if sampling.top_logprobs is not None:
            body["top_logprobs"] = sampling.top_logprobs
    _add_thinking(body, conversation, losses)
    return encode(body)


def _add_thinking(body: Fields, conversation: Conversation, losses: Losses) -> None:
    thinking = conversation.thinking
    if thinking.enabled is False:  # the contrary is what a model that thinks does by itself
        body["think"] = False
    elif thinking.effort is not None and _KNOWS_LEVELS.search(conversation.model):
        body["think"] = LEVELS.get(thinking.effort, thinking.effort)
    elif thinking.effort is not None:
        names = conversation.names
        losses.drop(names.get("effort", names.get("thinking", "thinking")))
    if thinking.budget_tokens is not None:
        losses.drop("thinking.budget_tokens")


def _all_messages(conversation: Conversation, losses: Losses) -> list[Fields]:
    """The messages; results learn the names of their tools from the calls before."""
    names = conversation.names
    called: dict[str, str] = {}
    messages: list[Fields] = []
    for turn in _in_order(conversation.turns):
        said = written(turn, _messages, names, losses)
        if turn.role is Role.SYSTEM:
            _add_system(messages, said)
            continue
        if turn.role is Role.ASSISTANT:
            called.update([(part.id, part.name) for part in turn.parts if type(part) is ToolCall])
        elif said[0]["role"] == "tool":
            said = [_with_name(message, called) for message in said]
        messages += said
    return messages


def _add_system(messages: list[Fields], said: list[Fields]) -> None:
    """One system text at the beginning, and none in the midst, where the user says it: templates take no other."""
    first = messages[0] if messages else None
    if first is None:
        messages += said
    elif len(messages) == 1 and first["role"] == "system":
        texts = [str(each["content"]) for each in (first, *said)]
        messages[0] = {**first, "content": "\n\n".join([text for text in texts if text])}
    else:
        messages += [{**each, "role": "user"} for each in said]


def _with_name(message: Fields, called: dict[str, str]) -> Fields:
    name = called.get(str(message.get("tool_call_id")))
    return message if name is None or "tool_name" in message else {**message, "tool_name": name}


def _in_order(turns: tuple[Turn, ...]) -> list[Turn]:
    """The turns, with results of parallel calls in the order of the calls.

    Ollama's templates show no ids: a model takes the first result for that of the first call.
    """
    places: dict[str, int] = {}
    ordered: list[Turn] = []
    for turn in turns:
        if turn.role is Role.ASSISTANT:
            calls = [part.id for part in turn.parts if isinstance(part, ToolCall)]
            places = {call_id: place for place, call_id in enumerate(calls)} if len(calls) > 1 else {}
        if places and turn.role is Role.USER:
            turn = _sorted_inside(turn, places)  # noqa: PLW2901 - the same turn, in order
            at = len(ordered)
            while at and _place(ordered[at - 1], places) > _place(turn, places) >= 0:
                at -= 1
            ordered.insert(at, turn)
        else:
            ordered.append(turn)
    return ordered


def _place(turn: Turn, places: dict[str, int]) -> int:
    """Of the call that this turn answers; -1 if it answers none."""
    first = turn.parts[0] if turn.parts else None
    return places.get(first.call_id, -1) if isinstance(first, ToolResult) else -1


def _sorted_inside(turn: Turn, places: dict[str, int]) -> Turn:
    results = [part for part in turn.parts if isinstance(part, ToolResult)]
    ordered = sorted(results, key=lambda result: places.get(result.call_id, len(places)))
    if ordered == results:
        return turn
    return Turn(turn.role, (*ordered, *(part for part in turn.parts if not isinstance(part, ToolResult))))


def _options(conversation: Conversation) -> Fields:
    sampling = conversation.sampling
    values: Fields = {
        "num_predict": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "seed": sampling.seed,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "stop": sampling.stop or None,
    }
    return {name: value for name, value in values.items() if value is not None}


def _add_tools(body: Fields, conversation: Conversation, losses: Losses) -> None:
    choice = conversation.tool_choice
    if not conversation.tools or (choice is not None and choice.mode is ChoiceMode.NONE):
        return  # no tools are offered: that is what `none` means
    if choice is not None and choice.mode is not ChoiceMode.AUTO:
        raise refuse("tool_choice", "Ollama has no way to require a tool call.")
    body["tools"] = [_tool(tool) for tool in conversation.tools]
    if conversation.parallel_calls is False:
        losses.drop(conversation.names.get("parallel_calls", "parallel_tool_calls"))
    if any(tool.strict for tool in conversation.tools):
        losses.drop("strict")


def _tool(tool: Tool) -> Fields:
    function: Fields = {"name": tool.name, "description": tool.description or ""}
    function["parameters"] = FREE_FORM if tool.is_free_form else schema_of(tool.schema)
    return {"type": "function", "function": function}


def _messages(turn: Turn, names: Names, losses: Losses) -> list[Fields]:
    parts = turn.parts
    if turn.role is Role.ASSISTANT:
        return [_assistant(parts, names, losses)]
    only = parts[0] if len(parts) == 1 else None
    if type(only) is Text:
        return [{"role": turn.role.value, "content": only.text}]
    drop_details(parts, names, losses)
    messages = [_result(part, names) for part in parts if isinstance(part, ToolResult)]
    others: list[Part] = [part for part in parts if type(part) is not ToolResult]
    if others or not messages:
        messages.append(_message(turn.role.value, others, names))
    return messages


def _message(role: str, parts: Sequence[Part], names: Names) -> Fields:
    message: Fields = {"role": role, "content": "\n\n".join(_texts(parts, names))}
    images = [_image(part, names) for part in parts if isinstance(part, Image)]
    if images:
        message["images"] = images
    return message


def _texts(parts: Sequence[Part], names: Names) -> list[str]:
    return [text for part in parts if (text := _text(part, names)) is not None]


def _text(part: Part, names: Names) -> str | None:
    if type(part) is Text:
        return part.text
    match part:
        case Refusal(text=text):
            return text
        case Document(name=name, text=str(text)):
            return f"{name}\n\n{text}" if name else text
        case Document():
            raise refuse(names.get("document", "document"), "Ollama takes text and pictures, no files.")
        case _:
            return None


def _image(image: Image, names: Names) -> str:
    if image.data is None:
        raise refuse(names.get("image", "image"), "Ollama takes pictures in the body only (base64).")
    return image.data


def _result(result: ToolResult, names: Names) -> Fields:
    message = _message("tool", result.parts, names)
    if result.is_error:
        message["content"] = told_result(str(message["content"]))
    if result.name:
        message["tool_name"] = result.name
    if result.call_id:
        message["tool_call_id"] = result.call_id
    return message


def _assistant(parts: tuple[Part, ...], names: Names, losses: Losses) -> Fields:
    message: Fields = {"role": "assistant", "content": "".join(_texts(parts, names))}
    thoughts = [part for part in parts if isinstance(part, Thought)]
    thought = open_thoughts(thoughts, names, losses) if thoughts else ""
    if thought:
        message["thinking"] = thought
    calls = [part for part in parts if isinstance(part, ToolCall)]
    if calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "function": {"index": index, "name": call.name, "arguments": object_of(call.arguments)},
            }
            for index, call in enumerate(calls)
        ]
    return message
