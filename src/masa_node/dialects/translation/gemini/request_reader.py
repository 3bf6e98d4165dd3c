"""From a body of `:generateContent` to a conversation."""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby

import msgspec

from masa_node.dialects.fields import FIELDS, TEXT, is_given, read
from masa_node.dialects.translation.calls import OpenCalls
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
    Thought,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)
from masa_node.dialects.translation.gemini import body as b
from masa_node.dialects.translation.gemini.schema import json_schema_of
from masa_node.dialects.translation.kept import Kept, ReadTool, Said, completed, joined, kept_turns
from masa_node.dialects.translation.losses import Losses, leave_out_hosted, refuse
from masa_node.dialects.translation.media import check_data, document_of
from masa_node.dialects.translation.thoughts import thought_of
from masa_node.dialects.translation.wire import (
    MAX_TOOLS,
    MAX_TURNS,
    BodyReader,
    check_count,
    given,
    stop_sequences,
    text_of,
)

_JSON, _PLAIN = "application/json", "text/plain"
_ROLES = {"user": Role.USER, "function": Role.USER, "tool": Role.USER, "model": Role.ASSISTANT, "system": Role.SYSTEM}
_MODES = {
    "auto": ChoiceMode.AUTO,
    "validated": ChoiceMode.AUTO,
    "mode_unspecified": ChoiceMode.AUTO,
    "any": ChoiceMode.REQUIRED,
    "none": ChoiceMode.NONE,
    "1": ChoiceMode.AUTO,
    "2": ChoiceMode.REQUIRED,
    "3": ChoiceMode.NONE,
}
_OF_TEXT = ("TEXT", "MODALITY_UNSPECIFIED", "0", "1")  # some SDKs send the numbers of such words
_VIDEOS = re.compile(r"https?://(?:[a-z]+\.)?(?:youtube\.com|youtu\.be)/")
_CONFIG = "generationConfig"
_NAMES = {
    "output": f"{_CONFIG}.responseSchema",
    "effort": f"{_CONFIG}.thinkingConfig.thinkingLevel",
    "thinking": f"{_CONFIG}.thinkingConfig",
    "thoughts": "thought",
    "max_tokens": f"{_CONFIG}.maxOutputTokens",
    "temperature": f"{_CONFIG}.temperature",
    "top_p": f"{_CONFIG}.topP",
    "top_k": f"{_CONFIG}.topK",
    "seed": f"{_CONFIG}.seed",
    "presence_penalty": f"{_CONFIG}.presencePenalty",
    "frequency_penalty": f"{_CONFIG}.frequencyPenalty",
    "stop": f"{_CONFIG}.stopSequences",
    "choices": f"{_CONFIG}.candidateCount",
}
_SAID_ALONE = ("output", "result")  # a custom of what functions answer: the one text


_BODY = BodyReader(b.Body, b.in_camel_case)
_COUNT = BodyReader(b.CountBody, b.in_camel_case)
_CONTENT = BodyReader(b.Content, b.in_camel_case)
_DECLARATION = BodyReader(b.Declaration, b.in_camel_case)
_PART = BodyReader(b.Part, b.in_camel_case)


def read_request(body: bytes, losses: Losses, *, is_stream: bool = False) -> Conversation:
    """The conversation; its model is in the path. Raises `NotTranslatable` for what has no neutral form."""
    return _conversation(_BODY.read(body, losses), losses, is_stream=is_stream)


def read_count(body: bytes, losses: Losses) -> Conversation:
    """The same of a body of `:countTokens`."""
    asked = _COUNT.read(body, losses)
    whole = asked.generate_content_request or b.Body(
        contents=asked.contents, system_instruction=asked.system_instruction, tools=asked.tools
    )
    return _conversation(whole, losses)


def _conversation(asked: b.Body, losses: Losses, *, is_stream: bool = False) -> Conversation:
    if asked.cached_content:
        raise refuse("cachedContent", "what was kept by one server is not known to another.")
    _drop(asked, b.NUANCES, losses)
    contents = b.several_in(asked.contents)
    check_count(len(contents), MAX_TURNS, "contents")
    config = asked.generation_config or b.Config()
    _drop(config, b.CONFIG_NUANCES, losses, f"{_CONFIG}.")
    if any(str(each).upper() not in _OF_TEXT for each in config.response_modalities or ()):
        raise refuse(f"{_CONFIG}.responseModalities", "answers are text.")
    order = _Order()
    turns = tuple([order.turn(turn) for turn in _in_turn(_TURNS.read(contents, losses))])
    system = _parts(asked.system_instruction, losses) if asked.system_instruction is not None else ()
    choice, only = _choice(asked.tool_config, losses)
    return Conversation(
        model="",
        turns=(Turn(Role.SYSTEM, system), *turns) if system else turns,
        stream=is_stream,
        tools=_tools(b.several(asked.tools), only, losses),
        tool_choice=choice,
        output=_output(config),
        sampling=Sampling(
            max_tokens=config.max_output_tokens,
            temperature=config.temperature,
            top_p=config.top_p,
            top_k=_top_k(config.top_k, losses),
            seed=config.seed,
            presence_penalty=config.presence_penalty,
            frequency_penalty=config.frequency_penalty,
            stop=stop_sequences(config.stop_sequences),
            choices=config.candidate_count,
        ),
        thinking=_thinking(config.thinking_config),
        names=_NAMES,
    )


def _in_turn(turns: list[Turn]) -> Iterator[Turn]:
    """What the model says until the user speaks is one turn: SDKs keep each frame of a stream as a content of its own,
    the empty last one, too.
    """
    for role, said in groupby(turns, lambda turn: turn.role):
        if role is not Role.ASSISTANT:
            yield from said
        elif spoken := [turn for turn in said if turn.parts]:
            yield spoken[0] if len(spoken) == 1 else joined(spoken)


def _top_k(given_k: float | None, losses: Losses) -> int | None:
    if given_k is None or given_k.is_integer():
        return None if given_k is None else int(given_k)
    losses.drop(f"{_CONFIG}.topK")
    return None


def _drop(of: msgspec.Struct, names: Sequence[str], losses: Losses, prefix: str = "") -> None:
    losses.drop(*(prefix + b.in_camel_case(name) for name in names if given(getattr(of, name))))


def _thinking(config: b.ThinkingConfig | None) -> Thinking:
    if config is None:
        return Thinking()
    budget, level = config.thinking_budget, (config.thinking_level or "").lower()
    effort = level if level and level != "thinking_level_unspecified" else None
    is_on = None if budget is None or budget < 0 else budget > 0
    return Thinking(
        enabled=True if effort is not None else is_on,
        is_shown=bool(config.include_thoughts),
        effort=effort,
        budget_tokens=budget if is_on else None,
    )


def _output(config: b.Config) -> OutputFormat | None:
    if given(config.response_format):
        raise refuse(f"{_CONFIG}.responseFormat", "say it as `responseMimeType` and `responseJsonSchema`.")
    if given(config.response_json_schema):
        return OutputFormat(config.response_json_schema)
    if given(config.response_schema):
        return OutputFormat(json_schema_of(config.response_schema))
    if config.response_mime_type in (None, "", _PLAIN):
        return None
    if config.response_mime_type != _JSON:
        raise refuse(f"{_CONFIG}.responseMimeType", f"it is {config.response_mime_type[:64]!r}.")
    return OutputFormat()


def _choice(config: b.ToolConfig | None, losses: Losses) -> tuple[ToolChoice | None, frozenset[str]]:
    """Must a function be called; and the only ones that may, if there are such."""
    calling = config.function_calling_config if config is not None else None
    if config is not None and given(config.retrieval_config):
        losses.drop("toolConfig.retrievalConfig")
    if calling is None or not calling.mode:
        return None, frozenset()
    mode = _MODES.get(str(calling.mode).lower())
    if mode is None:
        raise refuse("toolConfig.functionCallingConfig.mode", f"it is {str(calling.mode)[:64]!r}.")
    only = frozenset(calling.allowed_function_names or ())
    if mode is ChoiceMode.REQUIRED and len(only) == 1:
        return ToolChoice(ChoiceMode.NAMED, next(iter(only))), only
    return ToolChoice(mode), only


def _tools(tools: list[b.ToolBody], only: frozenset[str], losses: Losses) -> tuple[Tool, ...]:
    declared = [each for tool in tools for each in b.several_in(tool.function_declarations)]
    check_count(len(declared), MAX_TOOLS, "functions")
    own = [tool for each in _DECLARATIONS.read(declared, losses) for tool in each.own]
    hosted = [name for tool in tools for name in b.HOSTED_TOOLS if is_given(getattr(tool, name))]
    leave_out_hosted([b.in_camel_case(name) for name in hosted], None, losses, has_others=bool(own))
    allowed = [tool for tool in own if not only or tool.name in only]
    if own and not allowed:
        raise refuse("toolConfig.functionCallingConfig.allowedFunctionNames", "no function of that name is declared.")
    return tuple(allowed)


def _read_declaration(body: bytes, losses: Losses) -> ReadTool:
    function = _DECLARATION.read(body, losses)
    _drop(function, ("response", "response_json_schema", "behavior"), losses)
    schema = None
    if given(function.parameters_json_schema):
        schema = function.parameters_json_schema
    elif given(function.parameters):
        schema = json_schema_of(function.parameters)
    return ReadTool(function.name, (Tool(function.name, function.description, schema),))


_DECLARATIONS = Kept(_read_declaration)


def _read_turn(body: bytes, losses: Losses) -> Said:
    """One content as it stands alone: ids that it does not give are empty."""
    content = _CONTENT.read(body, losses)
    role = _ROLES.get(content.role or "user")
    if role is None:
        raise refuse("contents[].role", f"it is {(content.role or '')[:64]!r}.")
    parts = _parts(content, losses)
    if role is not Role.ASSISTANT:  # what a user is said to have thought, or signed, is nobody's
        parts = tuple([part for part in parts if type(part) is not Thought])
    return role, parts


_TURNS = kept_turns(_read_turn)


def _parts(content: b.Content, losses: Losses) -> tuple[Part, ...]:
    return tuple([part for each in b.several(content.parts) for part in _part(each, losses)])


def _part(part: b.Part, losses: Losses) -> Iterator[Part]:
    _drop(part, b.PART_NUANCES, losses)
    if part.function_call is not None:
        yield from _sealed(part, part.function_call.id or "")
        yield _call(part.function_call)
    elif part.function_response is not None:
        yield _result(part.function_response, losses)
    elif part.inline_data is not None:
        yield _media(part.inline_data)
    elif part.file_data is not None:
        yield _file(part.file_data)
    elif part.thought:
        yield thought_of(part.text or "", None, Origin.OPEN)
    else:
        yield from _words(part, losses)


def _words(part: b.Part, losses: Losses) -> Iterator[Part]:
    hosted = ("executable_code", "code_execution_result", "tool_call", "tool_response")
    _drop(part, hosted, losses)
    if part.text or not any(is_given(getattr(part, name)) for name in hosted):
        yield from _sealed(part, "")
        if part.text:
            yield Text(part.text)


def _sealed(part: b.Part, call_id: str) -> Iterator[Thought]:
    """Gemini's signature of a call, or "" of words."""
    if part.thought_signature:
        yield Thought("", f"{call_id} {part.thought_signature}", Origin.GOOGLE, is_hidden=True)


def _call(call: b.Call) -> ToolCall:
    return ToolCall(call.id or "", call.name, text_of(call.args) if given(call.args) else "{}")


def _result(result: b.Result, losses: Losses) -> ToolResult:
    fields = read(result.response, FIELDS) or {}
    texts = [read(value, TEXT) for name, value in fields.items() if name in _SAID_ALONE]
    is_alone = len(fields) == len(texts) == 1 and texts[0] is not None
    said = texts[0] if is_alone and texts[0] is not None else text_of(result.response)
    media = [part for raw in result.parts or () for part in _part(_PART.read(raw, losses), losses)]
    beside = [part for part in media if isinstance(part, Text | Image | Document)]
    is_error = "error" in fields and not any(name in fields for name in _SAID_ALONE)
    return ToolResult(result.id or "", result.name, (*([Text(said)] if said else ()), *beside), is_error)


def _media(blob: b.Blob) -> Image | Document:
    check_data(blob.data)
    kind = blob.mime_type.lower()
    data = _standard(blob.data)
    if kind.startswith("image/"):
        return Image(kind, data)
    if kind.startswith(("audio/", "video/")):
        raise refuse("inlineData", f"there is no place for {kind[:64]!r} in the other format.")
    return document_of(f"data:{kind};base64,{data}", blob.display_name)


def _standard(data: str) -> str:
    """Base64 of the usual alphabet: Google's JSON may have that of URLs, and no padding."""
    data = data.replace("-", "+").replace("_", "/")
    return data + "=" * (-len(data) % 4)


def _file(file: b.FileData) -> Image | Document:
    kind, url = file.mime_type.lower(), file.file_uri
    if not url.startswith(("http://", "https://")) or "/v1beta/files/" in url:
        raise refuse("fileData", "a file that was uploaded to one server is not known to another.")
    if kind.startswith("image/"):
        return Image(kind, None, url)
    if kind.startswith(("audio/", "video/")) or _VIDEOS.match(url):
        raise refuse("fileData", f"there is no place for {kind[:64]!r} in the other format.")
    return Document(file.display_name, kind or None, None, None, url)


class _Order:
    """Goes over the turns in order: calls get ids, and results find theirs by id, by the name, or in turn."""

    def __init__(self) -> None:
        self._open = OpenCalls()
        self._count = 0

    def turn(self, turn: Turn) -> Turn:
        """One turn, its calls and results with ids."""
        kinds = {type(part) for part in turn.parts}
        if ToolCall in kinds:
            return self._calling(turn)
        return self._answering(turn) if ToolResult in kinds else turn

    def _calling(self, turn: Turn) -> Turn:
        before = self._count
        calls = [part for part in turn.parts if type(part) is ToolCall]
        self._count += len(calls)
        if not all(call.id for call in calls):
            turn = completed([turn], [str(before)], partial(_numbered, turn.parts, before))
            calls = [part for part in turn.parts if type(part) is ToolCall]
        self._open.begin(calls)
        return turn

    def _answering(self, turn: Turn) -> Turn:
        found = [self._open.answered(part) for part in turn.parts if type(part) is ToolResult]
        given_ids = [part.call_id for part in turn.parts if type(part) is ToolResult]
        ids = [own or (call.id if call is not None else "") for own, call in zip(given_ids, found, strict=True)]
        if ids == given_ids:
            return turn
        return completed([turn], ids, partial(_with_ids, turn.parts, ids))


def _numbered(parts: tuple[Part, ...], before: int) -> Iterator[Part]:
    """The parts, their calls with ids. A signature before a call that had none is that call's."""
    number = before
    sealed: Thought | None = None
    for part in parts:
        if isinstance(part, ToolCall):
            number += 1
            call = part if part.id else ToolCall(f"call_{number}", part.name, part.arguments)
            if sealed is not None:
                signature = (sealed.seal or "").partition(" ")[2]
                yield Thought("", f"{call.id} {signature}", Origin.GOOGLE, is_hidden=True)
            yield call
            sealed = None
            continue
        if sealed is not None:
            yield sealed
        sealed = part if isinstance(part, Thought) and part.origin is Origin.GOOGLE else None
        if sealed is None:
            yield part
    if sealed is not None:
        yield sealed


def _with_ids(parts: tuple[Part, ...], ids: list[str]) -> Iterator[Part]:
    left = iter(ids)
    for part in parts:
        if isinstance(part, ToolResult):
            yield msgspec.structs.replace(part, call_id=next(left))
        else:
            yield part
