"""The items of a responses request, as turns: what one side says in several items is one turn."""

import msgspec

from masa_node.chat.errors import NotTranslatable
from masa_node.dialects.fields import ABSENT
from masa_node.dialects.translation.conversation import (
    Document,
    Image,
    Origin,
    Part,
    Refusal,
    Role,
    Text,
    Thought,
    ToolCall,
    ToolResult,
    Turn,
)
from masa_node.dialects.translation.kept import Said, joined, kept_turns
from masa_node.dialects.translation.losses import Losses, refuse
from masa_node.dialects.translation.media import document_of, image_of
from masa_node.dialects.translation.openai_responses import body as b
from masa_node.dialects.translation.thoughts import thought_of
from masa_node.dialects.translation.wire import BodyReader, encode, given

_ROLES = {"system": Role.SYSTEM, "developer": Role.SYSTEM, "user": Role.USER, "assistant": Role.ASSISTANT}
# What OpenAI's own tools left in earlier turns; the words that came of it follow in messages.
_HOSTED = frozenset(
    {
        "code_interpreter_call",
        "compaction_trigger",
        "file_search_call",
        "image_generation_call",
        "mcp_list_tools",
        "tool_search_call",
        "tool_search_output",
        "web_search_call",
    }
)
JOINT = "__"  # between the name of a group of tools and that of the tool
_ITEM = BodyReader(b.Item)
_NOTHING_SAID: tuple[Role, list[Part]] = (Role.SYSTEM, [])


def turns_of(instructions: str | None, said: str | list[msgspec.Raw], losses: Losses) -> tuple[Turn, ...]:
    """The turns; instructions are the first of the system's."""
    first = (Turn(Role.SYSTEM, (Text(instructions),)),) if instructions else ()
    if isinstance(said, str):
        return (*first, Turn(Role.USER, (Text(said),) if said else ()))
    groups: list[list[Turn]] = []
    last: Turn | None = None
    for turn in _TURNS.read(said, losses):
        if last is not None and _are_one(last, turn):
            groups[-1].append(turn)
        elif turn.parts or turn.role is not Role.SYSTEM:
            groups.append([turn])
        else:
            continue
        last = turn
    return (*first, *[joined(group) if len(group) > 1 else group[0] for group in groups])


def _are_one(before: Turn, turn: Turn) -> bool:
    if before.role is not turn.role:
        return False
    return turn.role is Role.ASSISTANT or (_is_result(before) and _is_result(turn))


def _is_result(turn: Turn) -> bool:
    return bool(turn.parts) and isinstance(turn.parts[0], ToolResult)


def _read_turn(body: bytes, losses: Losses) -> Said:
    item = _ITEM.read(body, losses)
    if item.phase is not None:
        losses.drop("phase")
    role, parts = _item(item, losses)
    return role, tuple(parts)


_TURNS = kept_turns(_read_turn)


def _item(item: b.Item, losses: Losses) -> tuple[Role, list[Part]]:
    match item.type:
        case None | "message":
            role = _ROLES.get(item.role or "")
            if role is None:
                raise refuse("input[].role", f"it is {item.role!r}.")
            return role, _parts(item.content, losses)
        case "function_call" | "custom_tool_call":
            return Role.ASSISTANT, [_call(item)]
        case "function_call_output" | "custom_tool_call_output":
            parts = tuple([part for part in _parts(item.output, losses) if isinstance(part, Text | Image | Document)])
            return Role.USER, [ToolResult(item.call_id or "", item.name or "", parts)]
        case "reasoning":
            return Role.ASSISTANT, [_thought(item)]
        case "additional_tools":
            return _NOTHING_SAID
        case str(kind) if kind in _HOSTED:
            losses.drop(kind)
            return Role.ASSISTANT, []
        case kind:
            raise refuse(f"input[].{kind}", "such an item exists in OpenAI's responses only.")


def _call(item: b.Item) -> ToolCall:
    name = item.name or ""
    if item.namespace:
        name = f"{item.namespace}{'' if item.namespace.endswith(JOINT) else JOINT}{name}"
    if item.type == "custom_tool_call":
        return ToolCall(item.call_id or "", name, encode({"input": item.input or ""}).decode())
    return ToolCall(item.call_id or "", name, item.arguments or "")


def _thought(item: b.Item) -> Thought:
    said = item.summary or (item.content if isinstance(item.content, list) else None) or []
    text = "\n\n".join(part.text for part in said if part.text)
    seal = item.encrypted_content
    thought = thought_of(text, seal, Origin.OPENAI, is_hidden=not text)
    if thought.origin is Origin.OPENAI:
        return Thought(text, own_seal(item.id or "", seal or ""), Origin.OPENAI, is_hidden=not text)
    return thought


def own_seal(item_id: str, encrypted: str) -> str:
    """OpenAI's seal is an item's id and its hidden content: it wants both back."""
    return f"{item_id} {encrypted}"


def _parts(content: str | list[b.Part] | None, losses: Losses) -> list[Part]:
    if isinstance(content, str):
        return [Text(content)] if content else []
    return [_part(part, losses) for part in content or ()]


def _part(part: b.Part, losses: Losses) -> Part:
    if part.prompt_cache_breakpoint is not ABSENT and given(part.prompt_cache_breakpoint):
        losses.drop("prompt_cache_breakpoint")
    if part.annotations is not ABSENT and given(part.annotations):
        losses.drop("annotations")
    match part.type:
        case "input_text" | "output_text" | "text" | "summary_text" | "reasoning_text":
            return Text(part.text or "")
        case "refusal":
            return Refusal(part.refusal or "")
        case "input_image" if part.image_url:
            return image_of(part.image_url, part.detail)
        case "input_file" if part.file_data or part.file_url:
            return _document(part)
        case _:
            raise _unknown(part)


def _unknown(part: b.Part) -> NotTranslatable:
    if part.file_id:
        return refuse("file_id", "a file that was uploaded to one server is not known to another.")
    return refuse(f"input[].content[].{part.type or 'type'}", "there is no such part in the other format.")


def _document(part: b.Part) -> Document:
    if part.file_data is None:
        return Document(part.filename, "application/pdf", url=part.file_url)
    return document_of(part.file_data, part.filename)
