"""The body of a request to `/v1/responses`, with every field that the format has."""

import msgspec

from masa_node.dialects.fields import ABSENT

# Fields without which the answer is as right as before.
NUANCES = (
    "access_programs",
    "background_options",
    "client_metadata",
    "context_management",
    "image",
    "max_tool_calls",
    "metadata",
    "moderation",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "stream_options",
    "truncation",
    "user",
)
# They name something that an earlier answer left at the server; no state is kept here.
STATEFUL = ("previous_response_id", "conversation", "prompt")


class Part(msgspec.Struct, forbid_unknown_fields=True):
    """One part of a content; which fields it has depends on its type."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    detail: str | None = None
    file_id: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None
    annotations: msgspec.Raw = ABSENT
    logprobs: msgspec.Raw = ABSENT
    prompt_cache_breakpoint: msgspec.Raw = ABSENT


class Item(msgspec.Struct, forbid_unknown_fields=True):
    """One item of the input; which fields it has depends on its type."""

    type: str | None = None
    role: str | None = None
    content: str | list[Part] | None = None
    id: str | None = None
    status: str | None = None
    phase: str | None = None
    call_id: str | None = None
    name: str | None = None
    namespace: str | None = None
    arguments: str | None = None
    input: str | None = None
    output: str | list[Part] | None = None
    summary: list[Part] | None = None
    encrypted_content: str | None = None
    caller: msgspec.Raw = ABSENT
    tools: list[msgspec.Raw] | None = None  # each a `ToolBody`


class ToolBody(msgspec.Struct, forbid_unknown_fields=True):
    """A tool that is offered; which fields it has depends on its type."""

    type: str = ""
    name: str = ""
    description: str | None = None
    parameters: msgspec.Raw = ABSENT
    strict: bool | None = None
    format: msgspec.Raw = ABSENT
    output_schema: msgspec.Raw = ABSENT
    allowed_callers: msgspec.Raw = ABSENT
    defer_loading: msgspec.Raw = ABSENT
    tools: "list[ToolBody] | None" = None


class Choice(msgspec.Struct, forbid_unknown_fields=True):
    """Which tool has to be called."""

    type: str = ""
    name: str | None = None
    mode: str | None = None
    tools: list[ToolBody] | None = None


class Format(msgspec.Struct, forbid_unknown_fields=True):
    """The form of the answer."""

    type: str = "text"
    name: str | None = None
    description: str | None = None
    schema: msgspec.Raw = ABSENT
    strict: bool | None = None


class TextConfig(msgspec.Struct, forbid_unknown_fields=True):
    """What the answer's words have to be."""

    format: Format | None = None
    verbosity: str | None = None


class Reasoning(msgspec.Struct, forbid_unknown_fields=True):
    """How the model should think."""

    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None
    context: str | None = None
    mode: str | None = None


class ResponsesBody(msgspec.Struct, forbid_unknown_fields=True):
    """The whole body."""

    model: str = ""
    input: str | list[msgspec.Raw] | None = None  # each an `Item`
    instructions: str | None = None
    stream: bool | None = None
    tools: list[msgspec.Raw] | None = None  # each a `ToolBody`
    tool_choice: str | Choice | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    reasoning: Reasoning | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    include: list[str] | None = None
    store: bool | None = None
    background: bool | None = None
    previous_response_id: msgspec.Raw = ABSENT
    conversation: msgspec.Raw = ABSENT
    prompt: msgspec.Raw = ABSENT
    access_programs: msgspec.Raw = ABSENT
    background_options: msgspec.Raw = ABSENT
    client_metadata: msgspec.Raw = ABSENT
    context_management: msgspec.Raw = ABSENT
    image: msgspec.Raw = ABSENT
    max_tool_calls: msgspec.Raw = ABSENT
    metadata: msgspec.Raw = ABSENT
    moderation: msgspec.Raw = ABSENT
    prompt_cache_key: msgspec.Raw = ABSENT
    prompt_cache_options: msgspec.Raw = ABSENT
    prompt_cache_retention: msgspec.Raw = ABSENT
    safety_identifier: msgspec.Raw = ABSENT
    service_tier: msgspec.Raw = ABSENT
    stream_options: msgspec.Raw = ABSENT
    truncation: msgspec.Raw = ABSENT
    user: msgspec.Raw = ABSENT
