"""The dialects by name: a row for each."""

from masa_node.chat.request import DialectName
from masa_node.dialects.anthropic import Anthropic
from masa_node.dialects.cloudflare import Cloudflare
from masa_node.dialects.dialect import Dialect
from masa_node.dialects.ollama import Ollama
from masa_node.dialects.openai import OpenAi
from masa_node.dialects.openai_responses import OpenAiResponses
from masa_node.dialects.passed.openai_media import OpenAiMedia

_ALL: tuple[Dialect, ...] = (
    OpenAi(),
    OpenAiResponses(),
    Anthropic(),
    Ollama(),
    Cloudflare(),
    OpenAiMedia(DialectName.OPENAI_JSON, takes_bytes=False),
    OpenAiMedia(DialectName.OPENAI_AUDIO, takes_bytes=True),
)

DIALECTS: dict[DialectName, Dialect] = {dialect.name: dialect for dialect in _ALL}
