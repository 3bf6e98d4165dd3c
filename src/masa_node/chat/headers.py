"""Which headers pass, and where: the only list of it. What is not named here goes no further. Pure."""

from collections.abc import Iterable
from functools import lru_cache

# From the caller to the LLM: what it needs, and the trace. Credentials are not among them.
TO_LLMS = frozenset(
    {"content-type", "accept", "anthropic-version", "anthropic-beta", "openai-beta", "traceparent", "tracestate"}
)

# From the caller to a peer, and from a peer to the LLM: all of those.
TO_PEERS = TO_LLMS

# An LLM's or a peer's word on whether to ask again, and when.
SHOULD_RETRY = "x-should-retry"  # "false": the SDKs of OpenAI and Anthropic do not ask again
WHEN_TO_ASK_AGAIN = frozenset({"retry-after", "retry-after-ms", "x-ms-retry-after-ms", SHOULD_RETRY})

# From an own LLM server to the caller: also rate limits, the vendor's request id, and how long it took.
_FROM_LLMS = frozenset({"content-type", *WHEN_TO_ASK_AGAIN, "request-id", "openai-processing-ms", "openai-version"})
_FROM_LLMS_PREFIXES = ("x-ratelimit-", "anthropic-ratelimit-", "ratelimit-")

# From a peer: the rest (rate limits, request ids) is about the other owner's account.
FROM_PEERS = frozenset({"content-type", *WHEN_TO_ASK_AGAIN})

# Between nodes and LLM servers: the nodes that a request has passed, so that it does not travel in circles.
VIA = "x-masa-via"


@lru_cache(maxsize=256)
def passes_from_llm(name: str) -> bool:
    """Does this header of an own LLM server's answer reach the caller?"""
    return name in _FROM_LLMS or name.startswith(_FROM_LLMS_PREFIXES)


def passed_back(headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Those of an LLM's or a peer's answer that the caller gets: content type, rate limits, the vendor's request id."""
    return tuple([pair for pair in headers if passes_from_llm(pair[0])])
