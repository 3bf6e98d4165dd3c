"""The neutral request: what every format says in its own words. Frozen values; JSON that nobody reads stays raw."""

from collections.abc import Callable
from enum import StrEnum

import msgspec

from masa_node.dialects.translation.losses import Losses


class Role(StrEnum):
    """The speaker of a message. `developer` messages are the system's."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


class Origin(StrEnum):
    """The maker of these thoughts: only it can read its seal again."""

    OPEN = "open"  # plain text without a seal, as open models give it
    ANTHROPIC = "anthropic"
    OPENAI = "openai"
    OPENROUTER = "openrouter"  # its seal is all that it told of a thought, as JSON
    COPILOT = "copilot"
    GOOGLE = "google"  # its seal is the id of a call, "" for words, and the signature


class Text(msgspec.Struct, frozen=True, gc=False):
    """Words that the reader of the conversation sees.

    `mark` here and in other parts is Anthropic's: its server may keep what comes before, and this, in its cache.
    """

    text: str
    mark: msgspec.Raw | None = None


class Image(msgspec.Struct, frozen=True, gc=False):
    """A picture: `data` in base64, or the `url` where it is. `detail` is how closely it is looked at, if said."""

    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    detail: str | None = None
    mark: msgspec.Raw | None = None


class Document(msgspec.Struct, frozen=True, gc=False):
    """A file (PDF, text): `data` in base64, its plain `text`, or a `url`."""

    name: str | None = None
    media_type: str | None = None
    data: str | None = None
    text: str | None = None
    url: str | None = None
    mark: msgspec.Raw | None = None


class Thought(msgspec.Struct, frozen=True, gc=False):
    """What the model thought. `seal` proves or hides it for its maker; `is_hidden`: there is nothing but the seal."""

    text: str = ""
    seal: str | None = None
    origin: Origin = Origin.OPEN
    is_hidden: bool = False


class ToolCall(msgspec.Struct, frozen=True, gc=False):
    """The model calls a tool. `arguments` is the JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str
    mark: msgspec.Raw | None = None


class ToolResult(msgspec.Struct, frozen=True, gc=False):
    """What the tool answered. `name` is the tool's, where it is known."""

    call_id: str
    name: str
    parts: tuple["Text | Image | Document", ...]
    is_error: bool = False
    mark: msgspec.Raw | None = None


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """The model's words why it does not answer."""

    text: str


Part = Text | Image | Document | Thought | ToolCall | ToolResult | Refusal


class KeptTurn(msgspec.Struct, eq=False, gc=False):
    """What was made of a turn that comes again: no part of what it says, so it is equal to any other.

    `written` by what wrote it, with what was left out. `whole` is the turn of which this one is the end, behind these
    turns and with these names. Nothing in it leads back to the turn. See `kept.py`.
    """

    written: "dict[WriteTurn, tuple[list[Fields], tuple[str, ...]]] | None" = None
    whole: "tuple[list[Turn], list[str], Turn] | None" = None

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


class Turn(msgspec.Struct, frozen=True, gc=False):
    """What one side says until the other speaks."""

    role: Role
    parts: tuple[Part, ...]
    cached: KeptTurn | None = None


Fields = dict[str, object]
Names = dict[str, str]  # what the caller calls a neutral field, where they call it otherwise
WriteTurn = Callable[[Turn, Names, Losses], list[Fields]]


class Tool(msgspec.Struct, frozen=True, gc=False):
    """A function that the model may call. `schema` is the JSON schema of its arguments, byte for byte.

    `is_free_form`: it takes any text (OpenAI's custom tools), which travels as the one argument `input`.
    `prefix` is the part of the name that stands for the group (OpenAI's namespace) in which it was offered.
    """

    name: str
    description: str | None = None
    schema: msgspec.Raw | None = None
    strict: bool | None = None
    is_free_form: bool = False
    prefix: str = ""
    namespace: str | None = None
    mark: msgspec.Raw | None = None


class ChoiceMode(StrEnum):
    """May, must or must not a tool be called?"""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"
    NAMED = "named"


class ToolChoice(msgspec.Struct, frozen=True):
    """Which tools may be called; `name` with `NAMED`."""

    mode: ChoiceMode
    name: str | None = None


class OutputFormat(msgspec.Struct, frozen=True):
    """The answer has to be JSON: of this schema, or of any (`schema` None)."""

    schema: msgspec.Raw | None = None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How tokens are chosen, and when it is enough. None: not given, which is not the same as zero."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: tuple[str, ...] = ()
    choices: int | None = None
    logprobs: bool = False
    top_logprobs: int | None = None


class Thinking(msgspec.Struct, frozen=True, kw_only=True):
    """Whether and how much the model should think; `effort` in OpenAI's words, `budget_tokens` in Anthropic's.

    `is_shown`: the caller has asked to see what it thinks.
    """

    enabled: bool | None = None
    is_shown: bool = False
    effort: str | None = None
    budget_tokens: int | None = None


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """One request. `names` are the caller's own for what they call otherwise."""

    model: str
    turns: tuple[Turn, ...]
    stream: bool
    with_usage: bool = True
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_calls: bool | None = None
    output: OutputFormat | None = None
    sampling: Sampling = Sampling()
    thinking: Thinking = Thinking()
    names: Names = {}
    mark: msgspec.Raw | None = None
    dimensions: int | None = None  # of each vector, where one is made of each turn
