"""Settings of few words, and settings that are lists."""

from typing import get_args


def what_fits(kind: object) -> str:
    """The values of a setting that has few; "" of others, of which msgspec tells more."""
    plain = get_args(kind)[0]
    words = ("1", "0") if plain is bool else words_of(plain)
    return f". It may be {' or '.join(words)}." if words else ""


def words_of(kind: object) -> tuple[str, ...]:
    """What a setting of few words may be set to; the empty word stands for not being set."""
    return tuple(word for word in get_args(kind) if word)


def listed(text: str) -> tuple[str, ...]:
    """The parts of a comma-separated setting."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
