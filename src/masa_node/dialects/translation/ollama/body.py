"""The bodies of requests to `/api/chat` and `/api/generate`, with every field that they have."""

import msgspec

from masa_node.dialects.fields import ABSENT

# Options of llama.cpp as Ollama runs it, which no other server takes: left out by name.
OPTION_NUANCES = (
    "embedding_only",
    "f16_kv",
    "logits_all",
    "low_vram",
    "main_gpu",
    "mirostat",
    "mirostat_eta",
    "mirostat_tau",
    "num_batch",
    "num_ctx",
    "num_gpu",
    "num_keep",
    "num_thread",
    "numa",
    "penalize_newline",
    "repeat_last_n",
    "repeat_penalty",
    "tfs_z",
    "typical_p",
    "use_mlock",
    "use_mmap",
    "vocab_only",
)
NUANCES = ("keep_alive", "truncate", "shift", "dimensions")


class Function(msgspec.Struct, forbid_unknown_fields=True):
    """A called function, or the definition of one."""

    name: str = ""
    index: int | None = None
    arguments: msgspec.Raw = ABSENT
    description: str | None = None
    parameters: msgspec.Raw = ABSENT
    strict: bool | None = None


class Call(msgspec.Struct, forbid_unknown_fields=True):
    """A tool call; older Ollamas give no id. `extra_content` is Gemini's, as our answers give it."""

    id: str | None = None
    type: str | None = None
    function: Function = msgspec.field(default_factory=Function)
    extra_content: msgspec.Raw = ABSENT


class Message(msgspec.Struct, forbid_unknown_fields=True):
    """One message."""

    role: str = ""
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[Call] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None
    name: str | None = None


class ToolBody(msgspec.Struct, forbid_unknown_fields=True):
    """A tool that is offered."""

    type: str | None = None
    function: Function | None = None
    items: msgspec.Raw = ABSENT


class Options(msgspec.Struct, forbid_unknown_fields=True):
    """How the model runs."""

    num_predict: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: str | list[str] | None = None
    embedding_only: msgspec.Raw = ABSENT
    f16_kv: msgspec.Raw = ABSENT
    logits_all: msgspec.Raw = ABSENT
    low_vram: msgspec.Raw = ABSENT
    main_gpu: msgspec.Raw = ABSENT
    mirostat: msgspec.Raw = ABSENT
    mirostat_eta: msgspec.Raw = ABSENT
    mirostat_tau: msgspec.Raw = ABSENT
    num_batch: msgspec.Raw = ABSENT
    num_ctx: msgspec.Raw = ABSENT
    num_gpu: msgspec.Raw = ABSENT
    num_keep: msgspec.Raw = ABSENT
    num_thread: msgspec.Raw = ABSENT
    numa: msgspec.Raw = ABSENT
    penalize_newline: msgspec.Raw = ABSENT
    repeat_last_n: msgspec.Raw = ABSENT
    repeat_penalty: msgspec.Raw = ABSENT
    tfs_z: msgspec.Raw = ABSENT
    typical_p: msgspec.Raw = ABSENT
    use_mlock: msgspec.Raw = ABSENT
    use_mmap: msgspec.Raw = ABSENT
    vocab_only: msgspec.Raw = ABSENT


class Shared(msgspec.Struct, forbid_unknown_fields=True):
    """What both endpoints take."""

    model: str = ""
    name: str | None = None
    stream: bool | None = None
    options: Options | None = None
    format: msgspec.Raw = ABSENT
    think: bool | str | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    keep_alive: msgspec.Raw = ABSENT
    truncate: msgspec.Raw = ABSENT
    shift: msgspec.Raw = ABSENT
    dimensions: msgspec.Raw = ABSENT


class ChatBody(Shared):
    """The whole body of `/api/chat`."""

    messages: list[msgspec.Raw] | None = None  # each a `Message`
    tools: list[msgspec.Raw] | None = None  # each a `ToolBody`


class GenerateBody(Shared):
    """The whole body of `/api/generate`."""

    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    context: msgspec.Raw = ABSENT
    raw: bool | None = None
    images: list[str] | None = None
    width: msgspec.Raw = ABSENT
    height: msgspec.Raw = ABSENT
    steps: msgspec.Raw = ABSENT
