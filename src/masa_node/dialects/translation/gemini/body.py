"""The body of a request to `:generateContent`, with every field that the format has; in camel case, as SDKs write it.

Google reads each name with underscores as well, as many an example of its own has it: see `BodyReader`.
"""

import re
from typing import TypeVar

import msgspec

from masa_node.dialects.fields import ABSENT, LIST, is_given, read

# Fields without which the answer is as right as before: left out by name.
NUANCES = ("safety_settings", "labels", "store", "service_tier")
CONFIG_NUANCES = (
    "speech_config",
    "media_resolution",
    "response_logprobs",
    "logprobs",
    "audio_timestamp",
    "enable_enhanced_civic_answers",
    "routing_config",
    "model_selection_config",
    "enable_affective_dialog",
    "image_config",
)
PART_NUANCES = ("video_metadata", "media_resolution", "part_metadata")


_MAX_NAME_CHARS = 64
T = TypeVar("T", bound=msgspec.Struct)


def in_camel_case(name: str) -> str:
    """A name with underscores as this API spells it; the same where it is longer than any."""
    if len(name) > _MAX_NAME_CHARS:
        return name
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name.lstrip("_"))


def several(given: list[T] | T | None) -> list[T]:
    """What may be there more than once: one alone may stand without a list around it, as in Google's own examples."""
    return given if isinstance(given, list) else [] if given is None else [given]


def several_in(raw: msgspec.Raw) -> list[msgspec.Raw]:
    """The same of what is not read yet."""
    listed = read(raw, LIST)
    return listed if listed is not None else [raw] if is_given(raw) else []


class _Google(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Any message of this API."""


class Blob(_Google):
    """Bytes in base64."""

    mime_type: str = ""
    data: str = ""
    display_name: str | None = None


class FileData(_Google):
    """Where a file is."""

    mime_type: str = ""
    file_uri: str = ""
    display_name: str | None = None


class Call(_Google):
    """A call of a function. `args` is an object."""

    id: str | None = None
    name: str = ""
    args: msgspec.Raw = ABSENT
    partial_args: msgspec.Raw = ABSENT
    will_continue: bool | None = None


class Result(_Google):
    """What a function answered: an object, with `output` or `error` as a custom; and pictures beside it."""

    id: str | None = None
    name: str = ""
    response: msgspec.Raw = ABSENT
    parts: list[msgspec.Raw] | None = None
    will_continue: bool | None = None
    scheduling: msgspec.Raw = ABSENT


class Part(_Google):
    """A piece of what is said. One of these is there."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    inline_data: Blob | None = None
    file_data: FileData | None = None
    function_call: Call | None = None
    function_response: Result | None = None
    executable_code: msgspec.Raw = ABSENT
    code_execution_result: msgspec.Raw = ABSENT
    tool_call: msgspec.Raw = ABSENT
    tool_response: msgspec.Raw = ABSENT
    video_metadata: msgspec.Raw = ABSENT
    media_resolution: msgspec.Raw = ABSENT
    part_metadata: msgspec.Raw = ABSENT


class Content(_Google):
    """What one side says."""

    role: str | None = None
    parts: list[Part] | Part | None = None


class Declaration(_Google):
    """A function that may be called. Of the two schemas `parameters` is in OpenAPI's words."""

    name: str = ""
    description: str | None = None
    parameters: msgspec.Raw = ABSENT
    parameters_json_schema: msgspec.Raw = ABSENT
    response: msgspec.Raw = ABSENT
    response_json_schema: msgspec.Raw = ABSENT
    behavior: msgspec.Raw = ABSENT


class ToolBody(_Google):
    """Functions of the caller's, or one that Google runs itself."""

    function_declarations: msgspec.Raw = ABSENT  # `Declaration`s
    google_search: msgspec.Raw = ABSENT
    google_search_retrieval: msgspec.Raw = ABSENT
    google_maps: msgspec.Raw = ABSENT
    code_execution: msgspec.Raw = ABSENT
    url_context: msgspec.Raw = ABSENT
    computer_use: msgspec.Raw = ABSENT
    file_search: msgspec.Raw = ABSENT
    retrieval: msgspec.Raw = ABSENT
    enterprise_web_search: msgspec.Raw = ABSENT
    mcp_servers: msgspec.Raw = ABSENT


HOSTED_TOOLS = tuple(name for name in ToolBody.__struct_fields__ if name != "function_declarations")


class Calling(_Google):
    """May, must or must not a function be called; and which."""

    mode: str | int | None = None
    allowed_function_names: list[str] | None = None
    stream_function_call_arguments: bool | None = None


class ToolConfig(_Google):
    """How tools are used."""

    function_calling_config: Calling | None = None
    retrieval_config: msgspec.Raw = ABSENT
    include_server_side_tool_invocations: bool | None = None


class ThinkingConfig(_Google):
    """Whether and how much the model thinks: tokens (-1: as many as it likes), or a level."""

    include_thoughts: bool | None = None
    thinking_budget: int | None = None
    thinking_level: str | None = None


class Config(_Google):
    """How the answer is made."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: float | None = None
    candidate_count: int | None = None
    max_output_tokens: int | None = None
    stop_sequences: list[str] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    response_mime_type: str | None = None
    response_schema: msgspec.Raw = ABSENT
    response_json_schema: msgspec.Raw = ABSENT
    response_format: msgspec.Raw = ABSENT
    response_modalities: list[str | int] | None = None
    thinking_config: ThinkingConfig | None = None
    speech_config: msgspec.Raw = ABSENT
    media_resolution: msgspec.Raw = ABSENT
    response_logprobs: msgspec.Raw = ABSENT
    logprobs: msgspec.Raw = ABSENT
    audio_timestamp: msgspec.Raw = ABSENT
    enable_enhanced_civic_answers: msgspec.Raw = ABSENT
    routing_config: msgspec.Raw = ABSENT
    model_selection_config: msgspec.Raw = ABSENT
    enable_affective_dialog: msgspec.Raw = ABSENT
    image_config: msgspec.Raw = ABSENT


class Body(_Google):
    """The whole body."""

    contents: msgspec.Raw = ABSENT  # `Content`s
    system_instruction: Content | None = None
    tools: list[ToolBody] | ToolBody | None = None
    tool_config: ToolConfig | None = None
    generation_config: Config | None = None
    safety_settings: msgspec.Raw = ABSENT
    cached_content: str | None = None
    labels: msgspec.Raw = ABSENT
    store: msgspec.Raw = ABSENT
    service_tier: msgspec.Raw = ABSENT
    model: str | None = None


class CountBody(_Google):
    """The body of a request to `:countTokens`: what would be said, or the whole request."""

    contents: msgspec.Raw = ABSENT
    generate_content_request: Body | None = None
    system_instruction: Content | None = None
    tools: list[ToolBody] | ToolBody | None = None
    generation_config: Config | None = None
    model: str | None = None
