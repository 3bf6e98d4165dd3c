"""From a conversation to a body of `/v1/messages`."""

import re
from itertools import takewhile
from typing import cast

from msgspec import Raw

from masa_node.dialects.translation.conversation import (
    ChoiceMode,
    Conversation,
    Document,
    Fields,
    Image,
    Names,
    Origin,
    Part,
    Refusal,
    Role,
    Text,
    Thought,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)
from masa_node.dialects.translation.kept import written
from masa_node.dialects.translation.losses import Losses, drop_description, refuse
from masa_node.dialects.translation.media import DEFAULT_IMAGE, drop_details
from masa_node.dialects.translation.tools import FREE_FORM, allowed_name, closed_schema, schema_of
from masa_node.dialects.translation.wire import encode, object_of

# Anthropic demands a number where other formats may leave it out: enough for a long answer, allowed by every model.
DEFAULT_MAX_TOKENS = 8_192
HIGHEST_TEMPERATURE = 1.0  # OpenAI's scale goes to 2
_NOT_IN_AN_ID = re.compile(r"[^a-zA-Z0-9_-]")  # as Anthropic checks ids of calls
# Models before Claude 4.6 know no other thinking than one with a budget; the numbers are a share of the default above.
_KNOWS_BUDGETS_ONLY = re.compile(r"claude-3|claude-(?:opus|sonnet|haiku)-4-(?:0|1|5|2025)")
# Those after 4.6 refuse to be told how to choose tokens.
_REFUSES_SAMPLING = re.compile(r"claude-(?!instant|v?[1-3]|[a-z]+-4(?:[-.@](?:[0-6]\b|2025)|$))")
_BUDGETS = {"minimal": 1_024, "low": 1_024, "medium": 4_096, "high": 16_384, "xhigh": 32_768, "max": 32_768}
_MIN_BUDGET = 1_024
_MARK = "cache_control"
_NOTHING_ASKED = "."  # before an answer that a conversation begins with: the user has to speak first
_EFFORTS = {"minimal": "low"}


def write_request(conversation: Conversation, losses: Losses) -> bytes:
    """The body. Raises `NotTranslatable` for what Anthropic's messages cannot carry."""
    _refuse_what_is_not_carried(conversation)
    turns = _answered(conversation.turns)
    system = _system(turns)
    messages = _messages(turns, conversation.names, losses)
    if not messages and system:
        messages, system = [{"role": "user", "content": system}], ""
    limit = conversation.sampling.max_tokens
    body: Fields = {
        "model": conversation.model,
        "max_tokens": DEFAULT_MAX_TOKENS if limit is None else limit,
        "messages": messages,
    }
    if system:
        body["system"] = system
    if conversation.mark is not None:
        body["cache_control"] = conversation.mark
    if conversation.stream:
        body["stream"] = True
    if conversation.tools:
        body["tools"] = [_tool(tool, losses) for tool in conversation.tools]
        if conversation.tool_choice is not None or conversation.parallel_calls is False:
            body["tool_choice"] = _choice(conversation.tool_choice, conversation.parallel_calls)
    if conversation.output is not None and conversation.output.schema is not None:  # without one it was refused
        drop_description(conversation.output.description, conversation.names, losses)
        form = {"type": "json_schema", "schema": closed_schema(conversation.output.schema, losses)}
        body["output_config"] = {"format": form}
    _add_thinking(body, conversation, losses)
    _add_sampling(body, conversation, losses)
    return encode(body)


def _system(turns: tuple[Turn, ...]) -> object:
    """All that the system says: one text, or blocks where one of them has a mark."""
    said = [
        part
        for turn in turns
        if turn.role is Role.SYSTEM
        for part in turn.parts
        if isinstance(part, Text) and part.text
    ]
    if any(part.mark is not None for part in said):
        return [_text(part.text, part.mark) for part in said]
    return "\n\n".join([part.text for part in said])


def _refuse_what_is_not_carried(conversation: Conversation) -> None:
    sampling, names = conversation.sampling, conversation.names
    if (sampling.choices or 1) > 1:
        raise refuse(names.get("choices", "n"), "Anthropic gives one answer per request.")
    if sampling.logprobs:
        raise refuse(names.get("logprobs", "logprobs"), "Anthropic does not return them.")
    if any(not sequence.strip() for sequence in sampling.stop):
        raise refuse(names.get("stop", "stop"), "Anthropic takes no sequence of spaces and line ends alone.")
    if conversation.output is not None and conversation.output.schema is None:
        raise refuse(names.get("output", "output"), "Anthropic gives JSON by a schema only: send one.")


def _add_sampling(body: Fields, conversation: Conversation, losses: Losses) -> None:
    sampling, names = conversation.sampling, conversation.names
    for name in ("seed", "presence_penalty", "frequency_penalty", "min_p"):
        if getattr(sampling, name) is not None:
            losses.drop(names.get(name, name))
    if sampling.stop:
        body["stop_sequences"] = sampling.stop
    is_refused = "thinking" in body or _REFUSES_SAMPLING.search(conversation.model) is not None
    for name in ("temperature", "top_p", "top_k"):
        value = getattr(sampling, name)
        if value is None:
            continue
        # Anthropic refuses all three beside thinking, and newer models the first two beside each other.
        if is_refused or (name == "top_p" and sampling.temperature is not None):
            losses.drop(names.get(name, name))
        else:
            body[name] = value
    if sampling.temperature is not None and sampling.temperature > HIGHEST_TEMPERATURE and not is_refused:
        body["temperature"] = HIGHEST_TEMPERATURE
        losses.drop(names.get("temperature", "temperature"))


def _add_thinking(body: Fields, conversation: Conversation, losses: Losses) -> None:
    thinking = conversation.thinking
    is_meant = thinking.effort is not None or thinking.is_shown
    if not (thinking.enabled or (thinking.enabled is None and is_meant)):
        return
    choice = conversation.tool_choice
    is_forced = choice is not None and choice.mode in (ChoiceMode.REQUIRED, ChoiceMode.NAMED)
    needs_budget = _KNOWS_BUDGETS_ONLY.search(conversation.model) is not None
    if is_forced or (needs_budget and _lacks_its_thought(conversation)):
        losses.drop(conversation.names.get("thinking", "thinking"))
    elif needs_budget:
        _add_budget(body, conversation, losses)
    else:
        display = {"display": "summarized"} if thinking.is_shown else {}  # else newer models give but a signature
        body["thinking"] = {"type": "adaptive", **display}
        if thinking.effort is not None:
            effort = _EFFORTS.get(thinking.effort, thinking.effort)
            body["output_config"] = {"effort": effort, **cast("Fields", body.get("output_config", {}))}


def _add_budget(body: Fields, conversation: Conversation, losses: Losses) -> None:
    thinking = conversation.thinking
    budget = max(thinking.budget_tokens or _BUDGETS.get(thinking.effort or "", _BUDGETS["medium"]), _MIN_BUDGET)
    limit = conversation.sampling.max_tokens
    if limit is not None and limit <= budget:
        if limit <= _MIN_BUDGET:
            losses.drop(conversation.names.get("thinking", "thinking"))
            return
        budget = limit - 1
    body["thinking"] = {"type": "enabled", "budget_tokens": budget}
    if limit is None:
        body["max_tokens"] = budget + DEFAULT_MAX_TOKENS


def _lacks_its_thought(conversation: Conversation) -> bool:
    """With a budget, a turn of calls that is being answered has to begin with the thought that led to them."""
    last = next((turn for turn in reversed(conversation.turns) if turn.role is Role.ASSISTANT), None)
    if last is None or not any(isinstance(part, ToolCall) for part in last.parts):
        return False
    return not any(isinstance(part, Thought) and _is_own(part) for part in last.parts)


def _is_own(thought: Thought) -> bool:
    return thought.origin is Origin.ANTHROPIC and bool(thought.seal)


def _answered(turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """The turns; what the system says behind the model's last words is the user's: else it would go on with its own."""
    behind = tuple(takewhile(lambda turn: turn.role is Role.SYSTEM, reversed(turns)))
    before = turns[: len(turns) - len(behind)]
    if not behind or not before or before[-1].role is not Role.ASSISTANT:
        return turns
    return (*before, *[Turn(Role.USER, turn.parts) for turn in reversed(behind)])


def _messages(turns: tuple[Turn, ...], names: Names, losses: Losses) -> list[Fields]:
    """The messages: what one side says in several becomes one, as results of parallel calls have to be."""
    merged: list[tuple[Role, list[Fields]]] = []
    last = Role.SYSTEM
    for turn in turns:
        role = turn.role
        if role is Role.SYSTEM:
            continue
        blocks = written(turn, _blocks, names, losses)
        if role is last:
            merged[-1][1].extend(blocks)
        elif blocks:
            merged.append((role, list(blocks)))
            last = role
    if last is Role.ASSISTANT and turns[-1].role is Role.ASSISTANT:
        _cut_last_space(merged[-1][1])
    elif last is Role.ASSISTANT:  # the user has said nothing since
        merged.append((Role.USER, [_text(_NOTHING_ASKED, None)]))
    if merged and merged[0][0] is Role.ASSISTANT:
        merged.insert(0, (Role.USER, [_text(_NOTHING_ASKED, None)]))
    return [{"role": role, "content": _content(role, blocks)} for role, blocks in merged if blocks]


def _cut_last_space(blocks: list[Fields]) -> None:
    """The beginning of an answer that the model goes on with: Anthropic refuses one that ends with a space."""
    while blocks and blocks[-1]["type"] == "text":
        last = blocks.pop()
        text = str(last["text"]).rstrip()
        if text:
            blocks.append({**last, "text": text})
            return


def _content(role: Role, blocks: list[Fields]) -> object:
    if len(blocks) == 1:
        return blocks[0]["text"] if blocks[0]["type"] == "text" and _MARK not in blocks[0] else blocks
    results = [block for block in blocks if block["type"] == "tool_result"] if role is Role.USER else []
    if not results:
        return blocks
    if len({block["tool_use_id"] for block in results}) < len(results):
        results = _one_of_each(results)
    return [*results, *(block for block in blocks if block["type"] != "tool_result")]


def _one_of_each(results: list[Fields]) -> list[Fields]:
    """What several results of one call say, as one: Anthropic refuses a second."""
    parts: dict[object, list[Fields]] = {}
    for block in results:
        content = block.get("content", [])
        said = [_text(content, None)] if isinstance(content, str) else cast("list[Fields]", content)
        parts.setdefault(block["tool_use_id"], []).extend(said)
    first = {block["tool_use_id"]: block for block in reversed(results)}
    return [{**first[id_], "content": said} if said else first[id_] for id_, said in parts.items()]


def _blocks(turn: Turn, names: Names, losses: Losses) -> list[Fields]:
    parts = turn.parts
    drop_details(parts, names, losses)
    blocks: list[Fields] = []
    for part in parts:
        block = _block(part)
        if block is not None:
            blocks.append(block)
        elif isinstance(part, Thought):
            losses.drop(names.get("thoughts", "thinking"))
    return blocks


def _block(part: Part) -> Fields | None:
    """The block; None where there is nothing to say: Anthropic refuses empty text and others' thoughts."""
    if type(part) is Text:
        return _text(part.text, part.mark) if part.text else None
    block = _unmarked(part)
    mark = None if isinstance(part, Thought | Refusal) else part.mark
    if mark is not None and block is not None:
        block[_MARK] = mark
    return block


def _text(text: str, mark: Raw | None) -> Fields:
    return {"type": "text", "text": text} if mark is None else {"type": "text", "text": text, _MARK: mark}


def _unmarked(part: Part) -> Fields | None:
    match part:
        case ToolResult():
            return _result(part)
        case ToolCall(id=id_, name=name, arguments=arguments):
            return {"type": "tool_use", "id": _id(id_), "name": allowed_name(name), "input": object_of(arguments)}
        case Thought():
            return _thought(part)
        case Text(text=text) | Refusal(text=text):
            return {"type": "text", "text": text} if text else None
        case Image():
            return {"type": "image", "source": _source(part, DEFAULT_IMAGE)}
        case Document():
            return _document(part)


def _thought(thought: Thought) -> Fields | None:
    if not _is_own(thought):
        return None
    if thought.is_hidden:
        return {"type": "redacted_thinking", "data": thought.seal}
    return {"type": "thinking", "thinking": thought.text, "signature": thought.seal}


def _id(call_id: str) -> str:
    """The id of a call; one of another server may hold characters that Anthropic refuses."""
    return call_id if call_id.isascii() and call_id.isidentifier() else _NOT_IN_AN_ID.sub("_", call_id)


def _result(result: ToolResult) -> Fields:
    block: Fields = {"type": "tool_result", "tool_use_id": _id(result.call_id)}
    parts = [said for part in result.parts if (said := _inner(part)) is not None]
    if parts:
        block["content"] = _content(Role.ASSISTANT, parts)
    if result.is_error:
        block["is_error"] = True
    return block


def _inner(part: Text | Image | Document) -> Fields | None:
    """A part of a result, which itself has the mark."""
    if type(part) is Text:
        return {"type": "text", "text": part.text} if part.text else None
    return _unmarked(part)


def _source(media: Image | Document, default: str) -> Fields:
    if media.data is None:
        return {"type": "url", "url": media.url or ""}
    return {"type": "base64", "media_type": media.media_type or default, "data": media.data}


def _document(document: Document) -> Fields:
    if document.text is not None:
        source: Fields = {"type": "text", "media_type": "text/plain", "data": document.text}
    else:
        source = _source(document, "application/pdf")
    block: Fields = {"type": "document", "source": source}
    return {**block, "title": document.name} if document.name else block


def _tool(tool: Tool, losses: Losses) -> Fields:
    schema = FREE_FORM if tool.is_free_form else schema_of(tool.schema)
    schema = closed_schema(schema, losses) if tool.strict else schema
    fields: Fields = {"name": allowed_name(tool.name), "input_schema": schema}
    if tool.description is not None:
        fields["description"] = tool.description
    if tool.strict:
        fields["strict"] = True
    if tool.mark is not None:
        fields[_MARK] = tool.mark
    return fields


def _choice(choice: ToolChoice | None, parallel: bool | None) -> Fields:  # noqa: FBT001 - None is neither
    words = {ChoiceMode.AUTO: "auto", ChoiceMode.REQUIRED: "any", ChoiceMode.NAMED: "tool", ChoiceMode.NONE: "none"}
    mode = choice.mode if choice is not None else ChoiceMode.AUTO
    fields: Fields = {"type": words[mode]}
    if choice is not None and mode is ChoiceMode.NAMED:
        fields["name"] = allowed_name(choice.name or "")
    if parallel is False and mode is not ChoiceMode.NONE:
        fields["disable_parallel_tool_use"] = True
    return fields
