"""An estimate of how many tokens a request has, for servers that cannot count them."""

from masa_node.chat.request import Endpoint
from masa_node.dialects.translation.codecs import REQUEST_READERS
from masa_node.dialects.translation.conversation import (
    Conversation,
    Document,
    Image,
    Part,
    Refusal,
    Text,
    Thought,
    ToolCall,
    ToolResult,
)
from masa_node.dialects.translation.losses import Losses
from masa_node.dialects.translation.wire import encode

BYTES_A_TOKEN = 4  # of UTF-8: English has about four letters a token, Chinese 1.3 tokens of three bytes
TURN_TOKENS = 4  # what templates put around each turn
TOOL_TOKENS = 12  # the same around each definition
IMAGE_TOKENS = 1_600  # Anthropic's figure for the largest picture that it does not scale down

ESTIMATED = "x-masa-estimated"


_FIELDS = {Endpoint.ANTHROPIC_COUNT_TOKENS: "input_tokens", Endpoint.GEMINI_COUNT_TOKENS: "totalTokens"}


def counted(body: bytes, endpoint: Endpoint) -> tuple[bytes, str]:
    """The answer to a request for one of `COUNTS`, and the field in which the estimate stands.

    Raises `NotTranslatable` as a request itself would.
    """
    conversation, field = REQUEST_READERS[endpoint](body, Losses()), _FIELDS[endpoint]
    return encode({field: tokens_in(conversation)}), field


def tokens_in(conversation: Conversation) -> int:
    """About how many tokens a model would read."""
    size = sum(_size(part) for turn in conversation.turns for part in turn.parts)
    for tool in conversation.tools:
        schema = len(bytes(tool.schema)) if tool.schema is not None else 0
        size += len(tool.name) + len((tool.description or "").encode("utf-8", "replace")) + schema
    around = TURN_TOKENS * len(conversation.turns) + TOOL_TOKENS * len(conversation.tools)
    return -(-size // BYTES_A_TOKEN) + around


def _size(part: Part) -> int:
    match part:
        case Text(text=text) | Refusal(text=text):
            return len(text.encode("utf-8", "replace"))
        case Thought(text=text, seal=seal):
            return len(text.encode("utf-8", "replace")) or len(seal or "")
        case ToolCall(name=name, arguments=arguments):
            return len(name) + len(arguments.encode("utf-8", "replace"))
        case ToolResult(parts=parts):
            return sum(_size(inner) for inner in parts)
        case Image():
            return IMAGE_TOKENS * BYTES_A_TOKEN
        case Document(text=text, data=data):
            return len((text or "").encode("utf-8", "replace")) + len(data or "") * 3 // 4
