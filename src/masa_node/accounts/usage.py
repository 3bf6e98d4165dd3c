"""What requests add up to: by day, key, peer, model and provider. Pure."""

from dataclasses import dataclass

import msgspec

from masa_node.chat.outcome import CALLER_GONE, WON, Outcome
from masa_node.chat.request import Endpoint
from masa_node.chat.statuses import FIRST_ERROR

DAY_S = 86_400
_DAY_NS = DAY_S * 1_000_000_000
MAX_NAME_CHARS = 256  # of a model; names of providers and keys are shorter
MAX_TOKENS = 10**9  # of one request: a larger count is a lie, and some thousands of them would break sums of 64 bits
OTHER = "(other)"  # models and providers beyond a bound, together

# These generate nothing: that no output tokens are reported says that there are none.
_WITHOUT_OUTPUT = frozenset(
    {
        Endpoint.OPENAI_EMBEDDINGS,
        Endpoint.OPENAI_RERANK,
        Endpoint.OPENAI_MODERATIONS,
        Endpoint.OLLAMA_EMBED,
        Endpoint.OLLAMA_EMBEDDINGS,
        Endpoint.OLLAMA_SHOW,
        Endpoint.GEMINI_EMBED,
        Endpoint.GEMINI_BATCH_EMBED,
        Endpoint.GEMINI_COUNT_TOKENS,
        Endpoint.ANTHROPIC_COUNT_TOKENS,
    }
)
# No model reads anything.
_WITHOUT_INPUT = frozenset({Endpoint.OLLAMA_SHOW, Endpoint.ANTHROPIC_COUNT_TOKENS, Endpoint.GEMINI_COUNT_TOKENS})


class Account(msgspec.Struct, frozen=True, gc=False):
    """What one line of the ledger is about. `day` counts days since 1970 (UTC).

    `key` is the name of the key, "" for a peer's request; `requester` that peer, "" for requests of this node's own
    callers. `provider` is whoever answered, "" if nobody did; `is_peer`: it is a peer. `model` is "" where it is in no
    list and nobody answered.
    """

    day: int
    key: str
    requester: str
    model: str
    provider: str
    is_peer: bool

    def folded(self) -> "Account":
        """The same day and key, where there are too many models and peers to name each."""
        return Account(self.day, self.key, OTHER if self.requester else "", OTHER, OTHER, is_peer=False)


@dataclass(slots=True)  # a struct would be changed more slowly
class Sums:
    """Requests and what they took. Tokens are as the LLMs reported them.

    `input_unknown` and `output_unknown` count the requests that an LLM answered without saying how many tokens.
    `cancelled`: the caller went away, or another node was faster. `first_piece_s` is the sum over `first_pieces`.
    """

    requests: int = 0
    errors: int = 0
    cancelled: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    input_unknown: int = 0
    output_unknown: int = 0
    first_pieces: int = 0
    first_piece_s: float = 0.0
    total_s: float = 0.0

    def add(self, outcome: Outcome) -> None:
        """One more request."""
        self.requests += 1
        if outcome.error == CALLER_GONE:
            self.cancelled += 1
        elif outcome.error is not None or outcome.status >= FIRST_ERROR:
            self.errors += 1
        if outcome.first_piece_s is not None:
            self.first_pieces += 1
            self.first_piece_s += outcome.first_piece_s
        self.total_s += outcome.total_s
        if outcome.served_by is None:
            return
        given, made = tokens_of(outcome)
        if given is None:
            self.input_unknown += 1
        else:
            self.input_tokens += given
        if made is None:
            self.output_unknown += 1
        else:
            self.output_tokens += made

    def merge(self, other: "Sums") -> None:
        """What another part of the same account came to."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def tokens_of(outcome: Outcome) -> tuple[int | None, int | None]:
    """In and out, as far as they are known: what an endpoint never has is 0."""
    given, made = outcome.input_tokens, outcome.output_tokens
    if given is None or given > MAX_TOKENS:
        given = 0 if outcome.endpoint in _WITHOUT_INPUT else None
    if made is None or made > MAX_TOKENS:
        made = 0 if outcome.endpoint in _WITHOUT_OUTPUT else None
    return given, made


def account_of(outcome: Outcome) -> Account:
    """The account that this request belongs to."""
    provider = outcome.served_by or ""
    model = outcome.model[:MAX_NAME_CHARS] if outcome.model_known or provider else ""
    is_peer = False
    for each in outcome.attempts:  # nearly always one: a generator would cost more than all the rest
        if not each.is_local and each.result == WON and provider:
            is_peer = True
    key, requester = (outcome.key, "") if outcome.requester is None else ("", outcome.requester)
    return Account(outcome.ended_at_unix_ns // _DAY_NS, key, requester, model, provider, is_peer)
