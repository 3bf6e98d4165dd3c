"""The dialects by name: a row for each."""

from masa_node.chat.request import DialectName
from masa_node.dialects.dialect import Dialect
from masa_node.dialects.formats.anthropic import Anthropic
from masa_node.dialects.formats.cloudflare import Cloudflare
from masa_node.dialects.formats.gemini import Gemini
from masa_node.dialects.formats.ollama import Ollama
from masa_node.dialects.formats.openai import OpenAi
from masa_node.dialects.formats.openai_responses import OpenAiResponses
from masa_node.dialects.passed.openai_media import OpenAiMedia

_ALL: tuple[Dialect, ...] = (
    OpenAi(),
    OpenAiResponses(),
    Anthropic(),
    Ollama(),
    Cloudflare(),
    Gemini(),
    OpenAiMedia(DialectName.OPENAI_JSON, takes_bytes=False),
    OpenAiMedia(DialectName.OPENAI_AUDIO, takes_bytes=True),
)

DIALECTS: dict[DialectName, Dialect] = {dialect.name: dialect for dialect in _ALL}
