"""From a body of `/v1/chat/completions` to a conversation."""

from collections.abc import Sequence

import msgspec

from masa_node.dialects.fields import ABSENT, is_given
from masa_node.dialects.translation.conversation import (
    ChoiceMode,
    Conversation,
    Document,
    Image,
    Origin,
    OutputFormat,
    Part,
    Refusal,
    Role,
    Sampling,
    Text,
    Thinking,
    Thought,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)
from masa_node.dialects.translation.kept import Kept, ReadTool, Said, kept_turns
from masa_node.dialects.translation.losses import Losses, refuse
from masa_node.dialects.translation.media import document_of, image_of
from masa_node.dialects.translation.openai_chat import body as b
from masa_node.dialects.translation.thoughts import thought_of
from masa_node.dialects.translation.wire import (
    MAX_TOOLS,
    MAX_TURNS,
    BodyReader,
    check_count,
    encode,
    given,
    stop_sequences,
)

_BODY = BodyReader(b.ChatBody)
_MESSAGE = BodyReader(b.Message)
_TOOL = BodyReader(b.ToolBody)
PART_NAMES = {
    "thoughts": "reasoning_content",
    "image": "image_url",
    "detail": "image_url.detail",
    "document": "file",
}
_NAMES = {
    **PART_NAMES,
    "output": "response_format",
    "choices": "n",
    "parallel_calls": "parallel_tool_calls",
    "thinking": "reasoning_effort",
}
_ROLES = {"system": Role.SYSTEM, "developer": Role.SYSTEM, "user": Role.USER, "assistant": Role.ASSISTANT}
_MODES = {
    "auto": ChoiceMode.AUTO,
    "none": ChoiceMode.NONE,
    "required": ChoiceMode.REQUIRED,
    "any": ChoiceMode.REQUIRED,  # Mistral's word
}
NO_EFFORT = "none"


def read_request(body: bytes, losses: Losses) -> Conversation:
    """The conversation. Raises `NotTranslatable` for what has no neutral form."""
    chat = _BODY.read(body, losses)
    _refuse_what_is_not_carried(chat)
    _drop_nuances(chat, losses)
    check_count(len(chat.messages), MAX_TURNS, "messages")
    tools = tuple([tool for each in _TOOLS.read(chat.tools or (), losses) for tool in each.own])
    choice = choice_of(chat.tool_choice)
    if isinstance(chat.tool_choice, b.Choice) and chat.tool_choice.allowed_tools is not None:
        allowed = {_name_of(tool) for tool in chat.tool_choice.allowed_tools.tools}
        tools = tuple(tool for tool in tools if tool.name in allowed)
    check_count(len(tools), MAX_TOOLS, "tools")
    is_newer = chat.max_completion_tokens is not None
    return Conversation(
        model=chat.model,
        turns=turns_of(chat.messages, losses),
        stream=bool(chat.stream),
        with_usage=bool(chat.stream_options and chat.stream_options.include_usage),
        tools=tools,
        tool_choice=choice,
        parallel_calls=chat.parallel_tool_calls,
        output=_output(chat.response_format),
        sampling=_sampling(chat),
        thinking=_thinking(chat.reasoning_effort),
        names={**_NAMES, "max_tokens": "max_completion_tokens"} if is_newer else _NAMES,
        mark=_mark(chat.cache_control, losses),
    )


def _refuse_what_is_not_carried(chat: b.ChatBody) -> None:
    if chat.functions:
        raise refuse("functions", "they were replaced by `tools`.")
    if is_given(chat.web_search_options):  # an empty one asks for it, too
        raise refuse("web_search_options", "the server has no search of its own.")
    if given(chat.audio) or "audio" in (chat.modalities or ()):
        raise refuse("modalities", "the server gives no audio.")


def _drop_nuances(chat: b.ChatBody, losses: Losses) -> None:
    losses.drop(*(name for name in b.NUANCES if given(getattr(chat, name))))
    if chat.store:
        losses.drop("store")
    if chat.top_logprobs is not None and not chat.logprobs:
        losses.drop("top_logprobs")
    if chat.function_call is not None:
        losses.drop("function_call")
    if chat.stream_options is not None and chat.stream_options.include_obfuscation is not None:
        losses.drop("stream_options.include_obfuscation")


def _sampling(chat: b.ChatBody) -> Sampling:
    newer = chat.max_completion_tokens
    return Sampling(
        max_tokens=newer if newer is not None else chat.max_tokens,
        temperature=chat.temperature,
        top_p=chat.top_p,
        top_k=chat.top_k,
        min_p=chat.min_p,
        seed=chat.seed,
        presence_penalty=chat.presence_penalty,
        frequency_penalty=chat.frequency_penalty,
        stop=stop_sequences(chat.stop),
        choices=chat.n,
        logprobs=bool(chat.logprobs),
        top_logprobs=chat.top_logprobs,
    )


def _thinking(effort: str | None) -> Thinking:
    if effort is None:
        return Thinking()
    return Thinking(enabled=effort != NO_EFFORT, effort=effort)


def _output(asked: b.ResponseFormat | None) -> OutputFormat | None:
    match asked:
        case None | b.ResponseFormat(type="text"):
            return None
        case b.ResponseFormat(type="json_object"):
            return OutputFormat()
        case b.ResponseFormat(type="json_schema", json_schema=b.JsonSchema() as form) if given(form.schema):
            return OutputFormat(form.schema, form.name, form.description, form.strict)
        case _:
            raise refuse("response_format", f"its type is {asked.type!r}.")


def _read_tool(body: bytes, losses: Losses) -> ReadTool:
    tool = _TOOL.read(body, losses)
    return ReadTool(_name_of(tool), (_tool(tool, losses),))


_TOOLS = Kept(_read_tool)


def _tool(tool: b.ToolBody, losses: Losses) -> Tool:
    mark = _mark(tool.cache_control, losses)
    if tool.custom is not None:
        if given(tool.custom.format):
            losses.drop("format")
        return Tool(tool.custom.name, tool.custom.description, is_free_form=True, mark=mark)
    if tool.function is None:
        raise refuse("tools", f"a tool of the type {tool.type!r} is known to OpenAI's servers only.")
    function = tool.function
    schema = function.parameters if given(function.parameters) else None
    mark = mark or _mark(function.cache_control, losses)
    return Tool(function.name, function.description, schema, function.strict, mark=mark)


def _mark(control: msgspec.Raw, losses: Losses) -> msgspec.Raw | None:
    """Anthropic's mark of what may be cached, as OpenRouter and LiteLLM have it; a loss where the server has none."""
    if control is ABSENT or not given(control):
        return None
    losses.drop("cache_control")
    return msgspec.Raw(bytes(control))


def _name_of(tool: b.ToolBody) -> str:
    named = tool.function or tool.custom
    return named.name if named is not None else ""


def choice_of(choice: str | b.Choice | None) -> ToolChoice | None:
    """Which tools may be called. Raises `NotTranslatable` for a choice that nobody knows."""
    if choice is None:
        return None
    if isinstance(choice, b.Choice):
        if choice.allowed_tools is not None:
            return ToolChoice(ChoiceMode.REQUIRED if choice.allowed_tools.mode == "required" else ChoiceMode.AUTO)
        named = choice.function or choice.custom
        if named is None:
            raise refuse("tool_choice", f"its type is {choice.type!r}.")
        return ToolChoice(ChoiceMode.NAMED, named.name)
    mode = _MODES.get(choice)
    if mode is None:
        raise refuse("tool_choice", f"it is {choice!r}.")
    return ToolChoice(mode)


def turns_of(messages: list[msgspec.Raw], losses: Losses) -> tuple[Turn, ...]:
    """The turns, one of each message."""
    return tuple(_TURNS.read(messages, losses))


def _read_turn(body: bytes, losses: Losses) -> Said:
    message = _MESSAGE.read(body, losses)
    role, parts = _said(message, losses)
    mark = _mark(message.cache_control, losses)
    if mark is not None and parts and not isinstance(parts[-1], Thought | Refusal):
        parts = (*parts[:-1], msgspec.structs.replace(parts[-1], mark=mark))
    return role, parts


def _said(message: b.Message, losses: Losses) -> Said:
    role, content = _ROLES.get(message.role), message.content
    said = (Text(content),) if content and type(content) is str else _parts(content, losses)
    if role is Role.ASSISTANT:
        return role, _answer(message, said, losses)
    if role is not None:
        if message.name is not None:
            losses.drop("name")
        return role, said
    if message.role != "tool":
        raise refuse("messages[].role", f"it is {message.role!r}.")
    parts = tuple([part for part in said if isinstance(part, Text | Image | Document)])
    mark = next((part.mark for part in reversed(parts) if part.mark is not None), None)
    return Role.USER, (ToolResult(message.tool_call_id or "", message.name or "", parts, mark=mark),)


def _answer(message: b.Message, said: tuple[Part, ...], losses: Losses) -> tuple[Part, ...]:
    if message.name is not None:
        losses.drop("name")
    if given(message.audio):
        losses.drop("audio")
    if message.function_call is not None:
        raise refuse("function_call", "it was replaced by `tool_calls`.")
    if message.refusal:
        said = (*said, Refusal(message.refusal))
    thoughts = _thoughts(message)
    calls = _calls(message.tool_calls, losses) if message.tool_calls else ()
    blocks, words = message.thinking_blocks or [], [part for part in said if isinstance(part, Text)]
    if any(block.after for block in blocks) and len(words) == len(said) <= 1:
        return _in_place(blocks, thoughts, words[0] if words else Text(""), calls)
    return (*thoughts, *said, *calls) if thoughts or calls else said


def _in_place(
    blocks: list[b.ThinkingBlock], thoughts: tuple[Thought, ...], words: Text, calls: Sequence[ToolCall]
) -> tuple[Part, ...]:
    """The thoughts where they were: between the words, and between the calls."""
    parts: list[Part] = []
    at = made = 0
    for block, thought in zip(blocks, thoughts, strict=True):
        chars, called = block.after or (0, 0)
        if chars > at:
            parts.append(Text(words.text[at:chars]))
            at = chars
        if called > made:
            parts += calls[made:called]
            made = called
        parts.append(thought)
    rest = msgspec.structs.replace(words, text=words.text[at:])
    return (*parts, *((rest,) if rest.text else ()), *calls[made:])


_TURNS = kept_turns(_read_turn)


def _thoughts(message: b.Message) -> tuple[Thought, ...]:
    if message.thinking_blocks:
        return tuple(
            thought_of(
                block.thinking or "", block.signature or block.data, Origin.ANTHROPIC, is_hidden=bool(block.data)
            )
            for block in message.thinking_blocks
        )
    text = message.reasoning_content or message.reasoning
    return (Thought(text),) if text else ()


def _calls(calls: list[b.Call], losses: Losses) -> list[ToolCall]:
    made: list[ToolCall] = []
    for call in calls:
        function, mark = call.function, _mark(call.cache_control, losses)
        if call.custom is not None:
            arguments = encode({"input": call.custom.input or ""}).decode()
            made.append(ToolCall(call.id or "", call.custom.name, arguments, mark))
        elif function is not None:
            made.append(ToolCall(call.id or "", function.name, function.arguments or "", mark))
    return made


def _parts(content: str | list[b.Part] | None, losses: Losses) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (Text(content),) if content else ()
    return tuple([_part(part, losses) for part in content]) if content else ()


def _part(part: b.Part, losses: Losses) -> Part:
    mark = _mark(part.cache_control, losses) if part.cache_control is not ABSENT else None
    if part.prompt_cache_breakpoint is not ABSENT and given(part.prompt_cache_breakpoint):
        losses.drop("prompt_cache_breakpoint")
    if part.type == "text" and part.text is not None:
        return Text(part.text, mark)
    other = _other_part(part)
    if mark is None or not isinstance(other, Image | Document):
        return other
    return msgspec.structs.replace(other, mark=mark)


def _other_part(part: b.Part) -> Part:
    match part:
        case b.Part(type="image_url", image_url=b.ImageUrl(url=url, detail=detail)):
            return image_of(url, detail)
        case b.Part(type="image_url", image_url=str(url)):
            return image_of(url)
        case b.Part(type="refusal", refusal=str(refusal)):
            return Refusal(refusal)
        case _:
            return _rarer_part(part)


def _rarer_part(part: b.Part) -> Part:
    match part:
        case b.Part(type="thinking", thinking=str() | list() as thought):
            return Thought(thought if isinstance(thought, str) else "".join(each.text or "" for each in thought))
        case b.Part(type="file", file=b.File() as file):
            return _document(file)
        case _:
            raise refuse(f"messages[].content[].{part.type or 'type'}", "there is no such part in the other format.")


def _document(file: b.File) -> Document:
    if file.file_data is None:
        raise refuse("file_id", "a file that was uploaded to one server is not known to another.")
    return document_of(file.file_data, file.filename)
