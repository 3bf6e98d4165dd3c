"""From bodies of `/api/chat` and `/api/generate` to a conversation."""

from collections.abc import Iterator, Sequence
from itertools import count

from masa_node.dialects.fields import ABSENT, TEXT, read
from masa_node.dialects.translation.calls import OpenCalls
from masa_node.dialects.translation.conversation import (
    Conversation,
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
    ToolResult,
    Turn,
)
from masa_node.dialects.translation.kept import Kept, ReadTool, Said, completed, kept_turns
from masa_node.dialects.translation.losses import Losses, refuse
from masa_node.dialects.translation.media import check_data, media_type_of
from masa_node.dialects.translation.ollama import body as b
from masa_node.dialects.translation.thoughts import signature_of
from masa_node.dialects.translation.wire import (
    MAX_TOOLS,
    MAX_TURNS,
    BodyReader,
    check_count,
    given,
    stop_sequences,
    text_of,
)

_CHAT = BodyReader(b.ChatBody)
_MESSAGE = BodyReader(b.Message)
_TOOL = BodyReader(b.ToolBody)
_GENERATE = BodyReader(b.GenerateBody)
_SAMPLING_NAMES = ("temperature", "top_p", "top_k", "min_p", "seed", "presence_penalty", "frequency_penalty", "stop")
_NAMES = {
    "output": "format",
    "thinking": "think",
    "thoughts": "thinking",
    "max_tokens": "options.num_predict",
    **{name: f"options.{name}" for name in _SAMPLING_NAMES},
}
_ROLES = {"system": Role.SYSTEM, "user": Role.USER}


def read_chat(body: bytes, losses: Losses) -> Conversation:
    """The conversation. Raises `NotTranslatable` for what has no neutral form."""
    asked = _CHAT.read(body, losses)
    messages = asked.messages or []
    if not messages:
        raise refuse("messages", "there are none; loading or unloading a model is something that only Ollama does.")
    check_count(len(messages), MAX_TURNS, "messages")
    check_count(len(asked.tools or ()), MAX_TOOLS, "tools")
    order = _Order()
    turns = tuple([order.turn(message) for message in _TURNS.read(messages, losses)])
    tools = tuple([tool for each in _TOOLS.read(asked.tools or (), losses) for tool in each.own])
    return _conversation(asked, turns, tools, losses)


def read_generate(body: bytes, losses: Losses) -> Conversation:
    """The same for a prompt: it becomes the one thing that the user says."""
    asked = _GENERATE.read(body, losses)
    for name in ("suffix", "template", "raw"):
        if getattr(asked, name):
            raise refuse(name, "the other format takes a conversation, not the text of a prompt.")
    if given(asked.context):
        raise refuse("context", "it is the state of an earlier answer, which only the Ollama that gave it can read.")
    if not asked.prompt and not asked.images:
        raise refuse("prompt", "there is none; loading or unloading a model is something that only Ollama does.")
    losses.drop(*(name for name in ("width", "height", "steps") if given(getattr(asked, name))))
    said: tuple[Part, ...] = (Text(asked.prompt),) if asked.prompt else ()
    turns: tuple[Turn, ...] = (Turn(Role.USER, (*said, *_images(asked.images))),)
    if asked.system:
        turns = (Turn(Role.SYSTEM, (Text(asked.system),)), *turns)
    return _conversation(asked, turns, (), losses)


def _conversation(asked: b.Shared, turns: tuple[Turn, ...], tools: tuple[Tool, ...], losses: Losses) -> Conversation:
    losses.drop(*(name for name in b.NUANCES if given(getattr(asked, name))))
    if asked.top_logprobs is not None and not asked.logprobs:
        losses.drop("top_logprobs")
    options = asked.options or b.Options()
    losses.drop(*(f"options.{name}" for name in b.OPTION_NUANCES if given(getattr(options, name))))
    limit = options.num_predict
    return Conversation(
        model=asked.model or asked.name or "",
        turns=turns,
        stream=asked.stream is not False,
        tools=tools,
        output=_output(asked),
        sampling=Sampling(
            max_tokens=limit if limit is not None and limit >= 0 else None,  # below zero: as many as there are
            temperature=options.temperature,
            top_p=options.top_p,
            top_k=options.top_k,
            min_p=options.min_p,
            seed=options.seed,
            presence_penalty=options.presence_penalty,
            frequency_penalty=options.frequency_penalty,
            stop=stop_sequences(options.stop),
            logprobs=bool(asked.logprobs),
            top_logprobs=asked.top_logprobs,
        ),
        thinking=_thinking(asked.think),
        names=_NAMES,
    )


def _thinking(think: bool | str | None) -> Thinking:  # noqa: FBT001 - as Ollama has it
    if isinstance(think, str):
        return Thinking(enabled=True, effort=think, is_shown=True) if think else Thinking()
    return Thinking(enabled=think, is_shown=bool(think))


def _output(asked: b.Shared) -> OutputFormat | None:
    if not given(asked.format):
        return None
    word = read(asked.format, TEXT)
    if word is None:
        return OutputFormat(asked.format)
    if word not in ("", "json"):
        raise refuse("format", f"it is {word!r}.")
    return OutputFormat() if word else None


def _read_tool(body: bytes, losses: Losses) -> ReadTool:
    tool = _TOOL.read(body, losses)
    function = tool.function
    if function is None:
        raise refuse("tools", f"a tool of the type {tool.type!r} has no function.")
    schema = function.parameters if given(function.parameters) else None
    return ReadTool(function.name, (Tool(function.name, function.description, schema, function.strict),))


_TOOLS = Kept(_read_tool)


def _images(images: list[str] | None) -> tuple[Image, ...]:
    for data in images or ():
        check_data(data)
    return tuple(Image(media_type_of(data), data) for data in images or ())


def _read_turn(body: bytes, losses: Losses) -> Said:
    """One message as it stands alone: ids and names that it does not give are empty."""
    message = _MESSAGE.read(body, losses)
    if message.name is not None:
        losses.drop("name")
    said: tuple[Text | Image, ...] = (Text(message.content),) if message.content else ()
    if message.role == "assistant":
        if message.images:  # no other format has pictures of a model's
            losses.drop("images")
        thought = (Thought(message.thinking),) if message.thinking else ()
        calls = message.tool_calls or ()
        return Role.ASSISTANT, (*thought, *said, *_signatures(calls), *[_call(call) for call in calls])
    if message.images:
        said = (*said, *_images(message.images))
    if message.role == "tool":
        return Role.USER, (ToolResult(message.tool_call_id or "", message.tool_name or "", said),)
    role = _ROLES.get(message.role)
    if role is None:
        raise refuse("messages[].role", f"it is {message.role!r}.")
    return role, said


_TURNS = kept_turns(_read_turn)


def _signatures(calls: Sequence[b.Call]) -> list[Thought]:
    signed = [call for call in calls if call.id and call.extra_content is not ABSENT]
    seals = [signature_of(call.id or "", call.extra_content) for call in signed]
    return [Thought("", seal, Origin.GOOGLE, is_hidden=True) for seal in seals if seal]


def _call(call: b.Call) -> ToolCall:
    function = call.function
    arguments = text_of(function.arguments) if given(function.arguments) else "{}"
    if not arguments.startswith("{"):  # some clients give the text of an object
        arguments = read(function.arguments, TEXT) or arguments
    return ToolCall(call.id or "", function.name, arguments)


class _Order:
    """Goes over the turns in order: results find their calls by id, by the tool's name, or by their order."""

    def __init__(self) -> None:
        self._open = OpenCalls()
        self._count = 0

    def turn(self, turn: Turn) -> Turn:
        """One turn, its calls and results with ids."""
        if turn.role is Role.ASSISTANT:
            return self._calling(turn) if turn.parts and type(turn.parts[-1]) is ToolCall else turn
        first = turn.parts[0] if turn.parts else None
        return self._answering(turn, first) if type(first) is ToolResult else turn

    def _calling(self, turn: Turn) -> Turn:
        before = self._count
        calls = [part for part in turn.parts if type(part) is ToolCall]
        self._count += len(calls)
        if not all(call.id for call in calls):
            turn = completed([turn], [str(before)], lambda: _numbered(turn.parts, before))
            calls = [part for part in turn.parts if type(part) is ToolCall]
        self._open.begin(calls)
        return turn

    def _answering(self, turn: Turn, result: ToolResult) -> Turn:
        call = self._open.answered(result)
        if call is None or result.call_id:
            return turn
        return completed([turn], [call.id], lambda: [ToolResult(call.id, result.name, result.parts)])


def _numbered(parts: tuple[Part, ...], before: int) -> Iterator[Part]:
    numbers = count(before + 1)
    for part in parts:
        if isinstance(part, ToolCall):
            number = next(numbers)
            yield part if part.id else ToolCall(f"call_{number}", part.name, part.arguments)
        else:
            yield part
