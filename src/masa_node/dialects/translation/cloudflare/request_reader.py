"""From a body of `/ai/run/{model}` to a conversation. Its messages are OpenAI's; the rest has names of its own."""

import msgspec

from masa_node.dialects.fields import ABSENT
from masa_node.dialects.translation.conversation import (
    Conversation,
    OutputFormat,
    Role,
    Sampling,
    Text,
    Tool,
    Turn,
)
from masa_node.dialects.translation.losses import Losses, refuse
from masa_node.dialects.translation.openai_chat import body as chat
from masa_node.dialects.translation.openai_chat.request_reader import PART_NAMES, choice_of, turns_of
from masa_node.dialects.translation.wire import MAX_TOOLS, MAX_TURNS, BodyReader, check_count, given, stop_sequences

_NUANCES = ("repetition_penalty", "lora")
_NAMES = {"output": "response_format", **PART_NAMES}


class _Tool(msgspec.Struct, forbid_unknown_fields=True):
    type: str | None = None
    name: str = ""
    description: str | None = None
    parameters: msgspec.Raw = ABSENT
    function: chat.Function | None = None


class _Format(msgspec.Struct, forbid_unknown_fields=True):
    type: str = ""
    json_schema: msgspec.Raw = ABSENT


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    model: str = ""
    messages: list[msgspec.Raw] | None = None  # each a `chat.Message`
    prompt: str | None = None
    stream: bool | None = None
    raw: bool | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: str | list[str] | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | chat.Choice | None = None
    response_format: _Format | None = None
    repetition_penalty: msgspec.Raw = ABSENT
    lora: msgspec.Raw = ABSENT
    functions: msgspec.Raw = ABSENT


_BODY = BodyReader(_Body)


def read_request(body: bytes, losses: Losses) -> Conversation:
    """The conversation. Raises `NotTranslatable` for what has no neutral form."""
    asked = _BODY.read(body, losses)
    if asked.raw:
        raise refuse("raw", "the other format takes a conversation, not the text of a prompt.")
    if given(asked.functions):
        raise refuse("functions", "they run at Cloudflare.")
    losses.drop(*(name for name in _NUANCES if given(getattr(asked, name))))
    messages = asked.messages or []
    check_count(len(messages), MAX_TURNS, "messages")
    check_count(len(asked.tools or ()), MAX_TOOLS, "tools")
    prompt = (Turn(Role.USER, (Text(asked.prompt),)),) if asked.prompt else ()
    return Conversation(
        model=asked.model,
        turns=turns_of(messages, losses) or prompt,
        stream=bool(asked.stream),
        tools=tuple(_tool(tool) for tool in asked.tools or ()),
        tool_choice=choice_of(asked.tool_choice),
        output=_output(asked.response_format),
        sampling=Sampling(
            max_tokens=asked.max_tokens,
            temperature=asked.temperature,
            top_p=asked.top_p,
            top_k=asked.top_k,
            seed=asked.seed,
            presence_penalty=asked.presence_penalty,
            frequency_penalty=asked.frequency_penalty,
            stop=stop_sequences(asked.stop),
        ),
        names=_NAMES,
    )


def _tool(tool: _Tool) -> Tool:
    function = tool.function
    name, description, schema, strict = tool.name, tool.description, tool.parameters, None
    if function is not None:
        name, description, schema, strict = function.name, function.description, function.parameters, function.strict
    return Tool(name, description, schema if given(schema) else None, strict)


def _output(form: _Format | None) -> OutputFormat | None:
    if form is None or form.type == "text":
        return None
    return OutputFormat(form.json_schema if given(form.json_schema) else None)
