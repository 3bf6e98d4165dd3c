"""What may be written for a setting: from its text to its value, and what fits where that cannot be."""

from pathlib import Path
from typing import get_args

import msgspec

from masa_node.chat.errors import ConfigurationError

_NUMBERS: dict[object, str] = {int: "a whole number", float: "a number"}
_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


def from_text(name: str, text: str, kind: object, *, is_secret: bool) -> object:
    """The value of a setting that was given as text. Raises `ConfigurationError`."""
    text = text.lower() if words_of(get_args(kind)[0]) else text
    return converted(name, text, kind, is_secret=is_secret, strict=False)


def converted(name: str, value: object, kind: object, *, is_secret: bool, strict: bool = True) -> object:
    """The value, within its bounds. Raises `ConfigurationError` naming the variable and what it may be."""
    try:
        found: object = msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as exc:
        what = "its value" if is_secret else repr(value)
        raise ConfigurationError(f"{name.upper()}: {what} is not valid. {what_fits(kind) or f'{exc}.'}") from exc
    return found


def read_text(path: Path) -> str:
    """What a person wrote into a file; editors of Windows put a mark before it. Raises `ConfigurationError`."""
    try:
        return path.read_text("utf-8-sig")
    except OSError as exc:
        raise ConfigurationError(f"{path} cannot be read: {exc.strerror or exc}.") from exc
    except UnicodeDecodeError as exc:
        raise ConfigurationError(
            f"{path} cannot be read: it is no UTF-8 text. Save it as UTF-8 in your editor."
        ) from exc


def check_home(name: str, folder: str) -> None:
    """Raises `ConfigurationError` where `~` leads nowhere: this user has no home, as in a container."""
    try:
        Path(folder).expanduser()
    except RuntimeError as exc:
        raise ConfigurationError(f"{name}: nobody knows the home folder in {folder!r}. Write a whole path.") from exc


def what_fits(kind: object) -> str:
    """A sentence that says what a setting may be; "" of a text."""
    plain, *about = get_args(kind)
    words = ("1", "0") if plain is bool else words_of(plain)
    if words:
        return f"It may be {' or '.join(words)}."
    if plain not in _NUMBERS:
        return ""
    metas = [each for each in about if isinstance(each, msgspec.Meta)]
    bounds = [
        f", {how} {bound}"
        for meta in metas
        for name, how in _BOUNDS.items()
        if (bound := getattr(meta, name)) is not None
    ]
    return f"It is {_NUMBERS[plain]}{''.join(bounds)}."


def words_of(kind: object) -> tuple[str, ...]:
    """What a setting of few words may be set to; the empty word stands for not being set."""
    return tuple(word for word in get_args(kind) if word)


def listed(text: str) -> tuple[str, ...]:
    """The parts of a comma-separated setting."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
