"""From a body of `/v1/messages` to a conversation."""

import re

import msgspec

from masa_node.chat.translation_errors import ThreadNotKept
from masa_node.dialects.fields import ABSENT, is_given
from masa_node.dialects.translation.anthropic import body as b
from masa_node.dialects.translation.conversation import (
    ChoiceMode,
    Conversation,
    Document,
    Image,
    Origin,
    OutputFormat,
    Part,
    Role,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)
from masa_node.dialects.translation.kept import Kept, ReadTool, Said, kept_turns
from masa_node.dialects.translation.losses import Losses, leave_out_hosted, refuse
from masa_node.dialects.translation.media import check_data
from masa_node.dialects.translation.thoughts import thought_of
from masa_node.dialects.translation.tools import fits_strict
from masa_node.dialects.translation.wire import (
    MAX_TOOLS,
    MAX_TURNS,
    BodyReader,
    check_count,
    given,
    stop_sequences,
    text_of,
)

_BODY = BodyReader(b.MessagesBody)
_MESSAGE = BodyReader(b.Message)
_TOOL = BodyReader(b.ToolBody)
_NAMES = {
    "output": "output_config.format",
    "effort": "output_config.effort",
    "parallel_calls": "tool_choice.disable_parallel_tool_use",
    "stop": "stop_sequences",
    "thoughts": "thinking",
}
_MODES = {"auto": ChoiceMode.AUTO, "any": ChoiceMode.REQUIRED, "tool": ChoiceMode.NAMED, "none": ChoiceMode.NONE}
_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM}
_TOOL_NUANCES = ("cache_control", "defer_loading", "allowed_callers", "eager_input_streaming", "input_examples")
_BLOCK_NUANCES = ("cache_control", "citations", "caller", "toolset_name", "transformations")
# What the server's own tools left in earlier turns; the words that came of it follow in blocks of text.
_HOSTED_BLOCKS = (
    "server_tool_use",
    "mcp_tool_use",
    "mcp_tool_listing",
    "tool_reference",
    "browser_state",
    "fallback",
)
_HOSTED_RESULT = "_tool_result"
_HEADER = re.compile(r"(x-anthropic-[a-z-]+):[^\n]*\n?")


def read_request(body: bytes, losses: Losses) -> Conversation:
    """The conversation. Raises `NotTranslatable` for what has no neutral form."""
    asked = _BODY.read(body, losses)
    if is_given(asked.thread):
        raise refuse("thread", "the conversation is not kept by the server: send it whole.", ThreadNotKept)
    hosted = {"container": given(asked.container), "mcp_servers": given(asked.mcp_servers)}
    for name, is_asked in {**hosted, "compaction": is_given(asked.compaction)}.items():
        if is_asked:
            raise refuse(name, "it is something that only Anthropic's own servers have.")
    losses.drop(*(name for name in b.NUANCES if given(getattr(asked, name))))
    check_count(len(asked.messages), MAX_TURNS, "messages")
    check_count(len(asked.tools or ()), MAX_TOOLS, "tools")
    choice = asked.tool_choice
    system = _system(asked.system, losses)
    turns = tuple(_TURNS.read(asked.messages, losses))
    return Conversation(
        model=asked.model,
        turns=(Turn(Role.SYSTEM, system), *turns) if system else turns,
        stream=bool(asked.stream),
        tools=_tools(asked.tools or [], choice, losses),
        tool_choice=_choice(choice) if choice is not None else None,
        parallel_calls=False if choice is not None and choice.disable_parallel_tool_use else None,
        output=_output(asked),
        sampling=Sampling(
            max_tokens=asked.max_tokens,
            temperature=asked.temperature,
            top_p=asked.top_p,
            top_k=asked.top_k,
            stop=stop_sequences(asked.stop_sequences),
        ),
        thinking=_thinking(asked, losses),
        names=_NAMES,
    )


def _system(content: str | list[b.Block] | None, losses: Losses) -> tuple[Part, ...]:
    """The system's texts. Claude Code's first is a header, other with each request: no cache would find the rest."""
    parts: list[Part] = []
    for part in _blocks(content, losses):
        header = _HEADER.match(part.text) if isinstance(part, Text) else None
        if header is None:
            parts.append(part)
            continue
        losses.drop(f"system.{header[1]}")
        if isinstance(part, Text) and header.end() < len(part.text):
            parts.append(Text(part.text[header.end() :]))
    return tuple(parts)


def _thinking(asked: b.MessagesBody, losses: Losses) -> Thinking:
    effort = asked.output_config.effort if asked.output_config is not None else None
    body = asked.thinking
    if body is not None and body.display is not None:
        losses.drop("thinking.display")
    if body is None:
        return Thinking(effort=effort)
    return Thinking(enabled=body.type != "disabled", effort=effort, budget_tokens=body.budget_tokens)


def _output(asked: b.MessagesBody) -> OutputFormat | None:
    form = asked.output_config.format if asked.output_config is not None else None
    form = form or asked.output_format
    if form is None:
        return None
    if form.type != "json_schema" or not given(form.schema):
        raise refuse("output_config.format", f"its type is {form.type!r}.")
    return OutputFormat(form.schema, strict=fits_strict(form.schema) or None)


def _tools(tools: list[msgspec.Raw], choice: b.Choice | None, losses: Losses) -> tuple[Tool, ...]:
    offered = _TOOLS.read(tools, losses)
    own = tuple([tool for each in offered for tool in each.own])
    hosted = [each.hosted for each in offered if each.hosted]
    named = choice.name if choice is not None else None
    forced = next((each.hosted for each in offered if named and each.name == named), None)
    leave_out_hosted(hosted, forced, losses, has_others=bool(own))
    return own


def _read_tool(body: bytes, losses: Losses) -> ReadTool:
    tool = _TOOL.read(body, losses)
    if not (
        tool.cache_control
        is tool.defer_loading
        is tool.allowed_callers
        is tool.eager_input_streaming
        is tool.input_examples
        is ABSENT
    ):
        losses.drop(*(name for name in _TOOL_NUANCES if given(getattr(tool, name))))
    if tool.type not in (None, "custom"):
        return ReadTool(tool.name, hosted=tool.type or tool.name)
    schema = tool.input_schema if given(tool.input_schema) else None
    is_strict = tool.strict and fits_strict(schema)
    if tool.strict and not is_strict:
        losses.drop("strict")
    return ReadTool(tool.name, (Tool(tool.name, tool.description, schema, is_strict),))


_TOOLS = Kept(_read_tool)


def _choice(choice: b.Choice) -> ToolChoice:
    mode = _MODES.get(choice.type)
    if mode is None:
        raise refuse("tool_choice", f"its type is {choice.type!r}.")
    return ToolChoice(mode, choice.name)


def _read_turn(body: bytes, losses: Losses) -> Said:
    message = _MESSAGE.read(body, losses)
    role = _ROLES.get(message.role)
    if role is None:
        raise refuse("messages[].role", f"it is {message.role!r}.")
    return role, _blocks(message.content, losses)


_TURNS = kept_turns(_read_turn)


def _blocks(content: str | list[b.Block] | None, losses: Losses) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (Text(content),) if content else ()
    return tuple([part for block in content or () if (part := _block(block, losses)) is not None])


def _block(block: b.Block, losses: Losses) -> Part | None:
    if not (
        block.cache_control is block.citations is block.caller is block.toolset_name is block.transformations is ABSENT
    ):
        losses.drop(*(name for name in _BLOCK_NUANCES if given(getattr(block, name))))
    kind = block.type
    if kind == "text":
        return Text(block.text or "")
    if kind == "tool_result":
        return _result(block, losses)
    match kind:
        case "image" | "document" | "search_result":
            return _media(block, losses)
        case "thinking" | "redacted_thinking":
            is_hidden = block.type == "redacted_thinking"
            seal = block.data if is_hidden else block.signature
            return thought_of(block.thinking or "", seal, Origin.ANTHROPIC, is_hidden=is_hidden)
        case "tool_use":
            return ToolCall(block.id or "", block.name or "", text_of(block.input) if given(block.input) else "{}")
        case _:
            _leave_out_hosted(block, losses)
            return None


def _leave_out_hosted(block: b.Block, losses: Losses) -> None:
    if block.type not in _HOSTED_BLOCKS and not block.type.endswith(_HOSTED_RESULT):
        raise refuse(f"messages[].content[].{block.type or 'type'}", "there is no such block in the other format.")
    losses.drop(block.type)


def _result(block: b.Block, losses: Losses) -> ToolResult:
    content = block.content if isinstance(block.content, str | list) else None
    if isinstance(content, list):  # tools that a search has found: all are offered, so their names tell it
        content = [b.Block("text", each.tool_name) if each.type == "tool_reference" else each for each in content]
    parts = tuple([part for part in _blocks(content, losses) if isinstance(part, Text | Image | Document)])
    return ToolResult(block.tool_use_id or "", "", parts, bool(block.is_error))


def _media(block: b.Block, losses: Losses) -> Text | Image | Document:
    if block.type == "search_result":
        return Text("\n".join(line for line in (block.title, block.source, *_lines(block)) if isinstance(line, str)))
    source = block.source if isinstance(block.source, b.Source) else b.Source()
    if source.type == "file":
        raise refuse("file_id", "a file that was uploaded to one server is not known to another.")
    check_data(source.data or "")
    if block.type == "image":
        return Image(source.media_type, source.data, source.url)
    if block.context is not None:
        losses.drop("context")
    if source.type == "text":
        return Document(block.title, source.media_type, None, source.data)
    if given(source.content):
        raise refuse("document", "documents made of blocks exist at Anthropic only.")
    return Document(block.title, source.media_type or "application/pdf", source.data, None, source.url)


def _lines(block: b.Block) -> list[str]:
    return [each.text or "" for each in block.content] if isinstance(block.content, list) else []
