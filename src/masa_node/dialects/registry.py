"""The dialects by name."""

from masa_node.chat.request import DialectName
from masa_node.dialects.anthropic import Anthropic
from masa_node.dialects.cloudflare import Cloudflare
from masa_node.dialects.dialect import Dialect
from masa_node.dialects.ollama import Ollama
from masa_node.dialects.openai import OpenAi
from masa_node.dialects.openai_responses import OpenAiResponses

DIALECTS: dict[DialectName, Dialect] = {
    DialectName.OPENAI: OpenAi(),
    DialectName.OPENAI_RESPONSES: OpenAiResponses(),
    DialectName.ANTHROPIC: Anthropic(),
    DialectName.OLLAMA: Ollama(),
    DialectName.CLOUDFLARE: Cloudflare(),
}
