"""The body of a request to `/v1/chat/completions`, with every field that the format has."""

import msgspec

from masa_node.dialects.fields import ABSENT

# Fields without which the answer is as right as before: left out by name wherever the target is another format.
NUANCES = (
    "cache_control",
    "logit_bias",
    "metadata",
    "moderation",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "user",
    "verbosity",
)


class Function(msgspec.Struct, forbid_unknown_fields=True):
    """A called or named function, or the definition of one."""

    name: str = ""
    arguments: str | None = None
    description: str | None = None
    parameters: msgspec.Raw = ABSENT
    strict: bool | None = None
    cache_control: msgspec.Raw = ABSENT


class Custom(msgspec.Struct, forbid_unknown_fields=True):
    """A free-form tool, or a call of one."""

    name: str = ""
    input: str | None = None
    description: str | None = None
    format: msgspec.Raw = ABSENT


class Call(msgspec.Struct, forbid_unknown_fields=True):
    """A tool call in an assistant's message."""

    id: str | None = None
    type: str | None = None
    index: int | None = None
    function: Function | None = None
    custom: Custom | None = None
    cache_control: msgspec.Raw = ABSENT


class ImageUrl(msgspec.Struct, forbid_unknown_fields=True):
    """Where a picture is, or the picture itself as a data URL."""

    url: str = ""
    detail: str | None = None


class File(msgspec.Struct, forbid_unknown_fields=True):
    """A document, as a data URL."""

    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class Part(msgspec.Struct, forbid_unknown_fields=True):
    """One part of a content; which fields it has depends on its type."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None
    image_url: ImageUrl | str | None = None
    input_audio: msgspec.Raw = ABSENT
    file: File | None = None
    thinking: "str | list[Part] | None" = None  # Mistral's
    prompt_cache_breakpoint: msgspec.Raw = ABSENT
    cache_control: msgspec.Raw = ABSENT


class ThinkingBlock(msgspec.Struct, forbid_unknown_fields=True):
    """A thought with its seal, as answers of ours (and LiteLLM's) give it and clients send it back.

    `after` is how many characters of the content, and how many calls, came before it.
    """

    type: str = "thinking"
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    index: int | None = None
    after: tuple[int, int] | None = None


class Message(msgspec.Struct, forbid_unknown_fields=True):
    """One message of any role; the last rows are what answers hold and clients send back."""

    role: str = ""
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[Call] | None = None
    tool_call_id: str | None = None
    function_call: Function | None = None
    refusal: str | None = None
    audio: msgspec.Raw = ABSENT
    reasoning_content: str | None = None
    reasoning: str | None = None
    thinking_blocks: list[ThinkingBlock] | None = None
    annotations: msgspec.Raw = ABSENT
    cache_control: msgspec.Raw = ABSENT


class ToolBody(msgspec.Struct, forbid_unknown_fields=True):
    """A tool that is offered."""

    type: str = "function"
    function: Function | None = None
    custom: Custom | None = None
    cache_control: msgspec.Raw = ABSENT


class Allowed(msgspec.Struct, forbid_unknown_fields=True):
    """Only these of the tools may be called."""

    mode: str = "auto"
    tools: list[ToolBody] = []


class Choice(msgspec.Struct, forbid_unknown_fields=True):
    """Which tool has to be called."""

    type: str = ""
    function: Function | None = None
    custom: Custom | None = None
    allowed_tools: Allowed | None = None


class JsonSchema(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The form of a structured answer."""

    name: str = "answer"
    description: str | None = None
    schema: msgspec.Raw = ABSENT
    strict: bool | None = None


class ResponseFormat(msgspec.Struct, forbid_unknown_fields=True):
    """What the answer has to be."""

    type: str = "text"
    json_schema: JsonSchema | None = None


class StreamOptions(msgspec.Struct, forbid_unknown_fields=True):
    """What a stream tells beside the answer."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ChatBody(msgspec.Struct, forbid_unknown_fields=True):
    """The whole body."""

    model: str = ""
    messages: list[msgspec.Raw] = []  # each a `Message`
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: list[msgspec.Raw] | None = None  # each a `ToolBody`
    tool_choice: str | Choice | None = None
    parallel_tool_calls: bool | None = None
    functions: list[Function] | None = None
    function_call: str | Function | None = None
    response_format: ResponseFormat | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: str | list[str] | None = None
    n: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    reasoning_effort: str | None = None
    modalities: list[str] | None = None
    audio: msgspec.Raw = ABSENT
    store: bool | None = None
    web_search_options: msgspec.Raw = ABSENT
    cache_control: msgspec.Raw = ABSENT
    logit_bias: msgspec.Raw = ABSENT
    metadata: msgspec.Raw = ABSENT
    moderation: msgspec.Raw = ABSENT
    prediction: msgspec.Raw = ABSENT
    prompt_cache_key: msgspec.Raw = ABSENT
    prompt_cache_options: msgspec.Raw = ABSENT
    prompt_cache_retention: msgspec.Raw = ABSENT
    safety_identifier: msgspec.Raw = ABSENT
    service_tier: msgspec.Raw = ABSENT
    user: msgspec.Raw = ABSENT
    verbosity: msgspec.Raw = ABSENT
