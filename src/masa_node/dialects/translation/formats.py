"""Which formats are translated, and which endpoint of a server is best for a caller of another.

What reads and writes them is in `translator`, which is imported once there is something to translate.
"""

import re

from masa_node.chat.request import DIALECT_OF_ENDPOINT, Endpoint

# What callers may speak.
SOURCES = frozenset(
    {
        Endpoint.OPENAI_CHAT,
        Endpoint.OPENAI_COMPLETIONS,
        Endpoint.OPENAI_RESPONSES,
        Endpoint.ANTHROPIC_MESSAGES,
        Endpoint.ANTHROPIC_COUNT_TOKENS,
        Endpoint.OLLAMA_CHAT,
        Endpoint.OLLAMA_GENERATE,
        Endpoint.CLOUDFLARE_RUN,
        Endpoint.GEMINI_GENERATE,
        Endpoint.GEMINI_STREAM,
        Endpoint.GEMINI_COUNT_TOKENS,
    }
)
# What servers may speak, the format that carries most first.
TARGETS = (
    Endpoint.OPENAI_CHAT,
    Endpoint.ANTHROPIC_MESSAGES,
    Endpoint.OLLAMA_CHAT,
    Endpoint.OPENAI_RESPONSES,
    Endpoint.CLOUDFLARE_RUN,
)
# Where tokens are counted, and nothing is answered: an estimate where no server counts them.
COUNTS = frozenset({Endpoint.ANTHROPIC_COUNT_TOKENS, Endpoint.GEMINI_COUNT_TOKENS})
# Callers that ask for embeddings, and where they are had instead.
EMBEDDED_FROM = frozenset(
    {Endpoint.OLLAMA_EMBED, Endpoint.OLLAMA_EMBEDDINGS, Endpoint.GEMINI_EMBED, Endpoint.GEMINI_BATCH_EMBED}
)
EMBEDDED_BY = Endpoint.OPENAI_EMBEDDINGS
# Names of OpenAI's clients' fields that this server has, and most others have not: see `Losses`.
CARRIED: dict[Endpoint, frozenset[str]] = {
    Endpoint.ANTHROPIC_MESSAGES: frozenset({"cache_control", "reasoning.summary", "reasoning.generate_summary"})
}
# OpenAI's models from gpt-5.4 on take no tools in chat completions, unless they are not to think.
_NEEDS_RESPONSES = re.compile(r"(?:^|/)gpt-(?:5\.[4-9]|[6-9])")
_RESPONSES_FIRST = tuple(sorted(TARGETS, key=lambda target: target is not Endpoint.OPENAI_RESPONSES))


def is_translated_from(endpoint: Endpoint) -> bool:
    """Can a caller of this endpoint be served by a server that speaks another format?"""
    return endpoint in SOURCES or endpoint in EMBEDDED_FROM


def targets_for(endpoint: Endpoint, model: str = "") -> tuple[Endpoint, ...]:
    """The endpoints of servers that a request for this one can be translated to, the best for this model first."""
    if endpoint in EMBEDDED_FROM:
        return (EMBEDDED_BY,)
    best = _RESPONSES_FIRST if _NEEDS_RESPONSES.search(model) else TARGETS
    return tuple([target for target in best if target is not endpoint])


def label_of(source: Endpoint, target: Endpoint) -> str:
    """The translation in words: `anthropic>openai`."""
    return f"{DIALECT_OF_ENDPOINT[source]}>{DIALECT_OF_ENDPOINT[target]}"
