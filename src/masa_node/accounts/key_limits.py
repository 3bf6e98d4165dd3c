"""What each key with a name has used of its limits: requests of the last minute, requests under way, tokens of the day.

Pure: time is given. A refusal costs nothing of what is left.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil

from masa_node.accounts.keys import NamedKey, check_model
from masa_node.accounts.usage import DAY_S, tokens_of
from masa_node.chat.key_errors import KeyLimited, KeySpent
from masa_node.chat.outcome import Outcome
from masa_node.chat.request import CHAT_DIALECTS, DIALECT_OF_ENDPOINT, DialectName

MINUTE_S = 60.0
BUSY_RETRY_AFTER_S = 1  # one of the key's own requests may end at any moment
DAYS_KNOWN = 2
_BYTES_A_TOKEN = 4  # of a request whose LLM did not count: about what English text has
# Cloudflare's one endpoint gives pictures and sounds, too.
_WRITES_TEXT = frozenset({*CHAT_DIALECTS, DialectName.GEMINI}) - {DialectName.CLOUDFLARE}


@dataclass(slots=True)
class _Use:
    """`full_at_s` is when the whole minute's requests would be free again (the generic cell rate algorithm).

    `tokens` are those of each of the last DAYS_KNOWN days: a clock that is set to another day and back forgets nothing.
    """

    running: int = 0
    full_at_s: float = 0.0
    tokens: dict[int, int] = field(default_factory=dict[int, int])

    def add(self, day: int, count: int) -> None:
        """More was used on this day."""
        self.tokens[day] = self.tokens.get(day, 0) + count
        if len(self.tokens) > DAYS_KNOWN:
            del self.tokens[next(iter(self.tokens))]


class KeyLimits:
    """Asked before each request of a key with a name, and fed by its outcomes. As many entries as there are keys."""

    def __init__(self) -> None:
        self._uses: dict[str, _Use] = {}

    def load(self, day: int, tokens: Mapping[str, int]) -> None:
        """What the ledger knows of this day, at the start of the node."""
        for name, count in tokens.items():
            self._uses.setdefault(name, _Use()).add(day, count)

    def enter(self, key: NamedKey, names: tuple[str, ...], now_s: float, now_unix_s: float) -> None:
        """One of its requests begins; when it has ended, `leave`. `names` are the model's: as asked for, and its own.

        Raises `KeyRefused`, `KeySpent`, `KeyLimited`; then there is nothing to leave.
        """
        self._check(key, names, now_unix_s)
        use = self._uses.setdefault(key.name, _Use())
        _take_turn(key, use, now_s)
        use.running += 1

    def leave(self, key: NamedKey) -> None:
        """One of its requests has ended."""
        self._uses[key.name].running -= 1

    def undo(self, key: NamedKey) -> None:
        """The one that has just begun has not, after all: it counts for nothing."""
        use = self._uses[key.name]
        use.running -= 1
        if key.rules.rpm is not None:
            use.full_at_s -= MINUTE_S / key.rules.rpm

    def observe(self, outcome: Outcome, day: int) -> None:
        """Count its tokens: an estimate where the LLM does not say, so that silence is no way around a limit."""
        use = self._uses.get(outcome.key)
        if use is None or outcome.requester is not None or outcome.served_by is None:
            return
        given, made = tokens_of(outcome)
        if given is None:
            given = outcome.body_bytes // _BYTES_A_TOKEN
        if made is None:
            made = _estimated_output(outcome)
        elif outcome.error is not None:  # Anthropic's streams begin with a count of 1, and end with the real one
            made = max(made, outcome.pieces)
        use.add(day, given + made)

    def _check(self, key: NamedKey, names: tuple[str, ...], now_unix_s: float) -> None:
        check_model(key, names)
        use, most = self._uses.get(key.name), key.rules.tokens_per_day
        if most is not None and use is not None and use.tokens.get(int(now_unix_s // DAY_S), 0) >= most:
            left_s = ceil(DAY_S - now_unix_s % DAY_S)
            raise KeySpent(
                f"The key {key.name!r} has used its {most} tokens of today (UTC). It may ask again in {left_s} s.",
                left_s,
            )


def _estimated_output(outcome: Outcome) -> int:
    """A token a piece of a stream; of one body about what its bytes hold, if these are words."""
    if outcome.pieces <= 1 and DIALECT_OF_ENDPOINT[outcome.endpoint] in _WRITES_TEXT:
        return outcome.answer_bytes // _BYTES_A_TOKEN
    return outcome.pieces


def _take_turn(key: NamedKey, use: _Use, now_s: float) -> None:
    """Count it in this minute: `rpm` at once, and from then on one in each part of the minute."""
    most, rpm = key.rules.concurrent, key.rules.rpm
    if most is not None and use.running >= most:
        raise KeyLimited(
            f"The key {key.name!r} has {use.running} requests under way, and is allowed {most}. Try again when one has "
            "ended.",
            BUSY_RETRY_AFTER_S,
        )
    if rpm is None:
        return
    full_at_s = max(use.full_at_s, now_s) + MINUTE_S / rpm
    wait_s = full_at_s - MINUTE_S - now_s
    if wait_s > 1e-6:  # noqa: PLR2004 - less is what adding fractions makes
        raise KeyLimited(
            f"The key {key.name!r} is allowed {rpm} requests a minute. Try again in {ceil(wait_s)} s.", ceil(wait_s)
        )
    use.full_at_s = full_at_s
