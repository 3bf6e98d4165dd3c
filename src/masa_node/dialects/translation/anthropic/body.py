"""The body of a request to `/v1/messages` (and `count_tokens`), with every field that the format has."""

import msgspec

from masa_node.dialects.fields import ABSENT

# Fields without which the answer is as right as before.
NUANCES = (
    "cache_control",
    "context_management",
    "diagnostics",
    "inference_geo",
    "metadata",
    "service_tier",
    "speed",
    "user_profile_id",
    "workspace_id",
)


class Source(msgspec.Struct, forbid_unknown_fields=True):
    """Where a picture or document comes from; which fields it has depends on its type."""

    type: str = ""
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    content: msgspec.Raw = ABSENT


class Block(msgspec.Struct, forbid_unknown_fields=True):
    """One block of a content; which fields it has depends on its type."""

    type: str = ""
    text: str | None = None
    source: Source | str | None = None
    title: str | None = None
    context: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    tool_name: str | None = None
    input: msgspec.Raw = ABSENT
    tool_use_id: str | None = None
    content: "str | list[Block] | Block | None" = None
    is_error: bool | None = None
    cache_control: msgspec.Raw = ABSENT
    citations: msgspec.Raw = ABSENT
    caller: msgspec.Raw = ABSENT
    toolset_name: msgspec.Raw = ABSENT
    transformations: msgspec.Raw = ABSENT


class Message(msgspec.Struct, forbid_unknown_fields=True):
    """One message."""

    role: str = ""
    content: str | list[Block] | None = None


class ToolBody(msgspec.Struct, forbid_unknown_fields=True):
    """A tool that is offered: a function with a schema, or one of the server's own (told by its type)."""

    name: str = ""
    type: str | None = None
    description: str | None = None
    input_schema: msgspec.Raw = ABSENT
    strict: bool | None = None
    cache_control: msgspec.Raw = ABSENT
    defer_loading: msgspec.Raw = ABSENT
    allowed_callers: msgspec.Raw = ABSENT
    eager_input_streaming: msgspec.Raw = ABSENT
    input_examples: msgspec.Raw = ABSENT


class Choice(msgspec.Struct, forbid_unknown_fields=True):
    """Which tool has to be called."""

    type: str = "auto"
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class ThinkingBody(msgspec.Struct, forbid_unknown_fields=True):
    """Whether the model should think."""

    type: str = ""
    budget_tokens: int | None = None
    display: str | None = None


class Format(msgspec.Struct, forbid_unknown_fields=True):
    """The form of a structured answer."""

    type: str = ""
    schema: msgspec.Raw = ABSENT


class OutputConfig(msgspec.Struct, forbid_unknown_fields=True):
    """What the answer has to be, and how hard the model should try."""

    effort: str | None = None
    format: Format | None = None


class MessagesBody(msgspec.Struct, forbid_unknown_fields=True):
    """The whole body."""

    model: str = ""
    max_tokens: int | None = None
    messages: list[msgspec.Raw] = []  # each a `Message`
    system: str | list[Block] | None = None
    stream: bool | None = None
    tools: list[msgspec.Raw] | None = None  # each a `ToolBody`
    tool_choice: Choice | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    thinking: ThinkingBody | None = None
    output_config: OutputConfig | None = None
    output_format: Format | None = None
    container: msgspec.Raw = ABSENT
    mcp_servers: msgspec.Raw = ABSENT
    thread: msgspec.Raw = ABSENT
    compaction: msgspec.Raw = ABSENT
    cache_control: msgspec.Raw = ABSENT
    context_management: msgspec.Raw = ABSENT
    diagnostics: msgspec.Raw = ABSENT
    inference_geo: msgspec.Raw = ABSENT
    metadata: msgspec.Raw = ABSENT
    service_tier: msgspec.Raw = ABSENT
    speed: msgspec.Raw = ABSENT
    user_profile_id: msgspec.Raw = ABSENT
    workspace_id: msgspec.Raw = ABSENT
