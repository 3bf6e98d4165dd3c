"""Headers by which a caller routes a request, such as `X-Masa-Race`. They are not passed on."""

import re
from collections.abc import Sequence

from masa_node.chat.errors import BadHeader
from masa_node.chat.request import CHAT_DIALECTS, DialectName, Privacy, RaceMode, RaceRule
from masa_node.routing.racing.race import MAX_WIDTH

RACE = "X-Masa-Race"
PRIVACY = "X-Masa-Privacy"
STRICT = "X-Masa-Strict"
FORMAT = "X-Masa-Format"
RACE_FORM = f"all or hedge, each may be followed by ;width=n with n from 1 to {MAX_WIDTH}"
PRIVACY_FORM = ", ".join(Privacy)
FORMAT_FORM = ", ".join(CHAT_DIALECTS)

_RACE_NAME = RACE.lower().encode()
_PRIVACY_NAME = PRIVACY.lower().encode()
_STRICT_NAME = STRICT.lower().encode()
FORMAT_NAME = FORMAT.lower().encode()
_YES_OR_NO = {b"1": True, b"true": True, b"0": False, b"false": False}
_FROM_TIGHT_TO_LOOSE = (Privacy.LOCAL, Privacy.TRUSTED, Privacy.ANY)
_MAX_SHOWN_CHARS = 80
_RACE = re.compile(r"\s*(?P<mode>[a-z]+)\s*(?:;\s*width\s*=\s*(?P<width>[0-9]{1,4})\s*)?")


def route_of(headers: Sequence[tuple[bytes, bytes]], race: RaceRule, privacy: Privacy) -> tuple[RaceRule, Privacy]:
    """What the headers say; the given rule and privacy, which are the node's settings, where they say nothing.

    The given privacy is a ceiling. Raises `BadHeader` for a looser one: whoever asks for it must not believe that it
    holds. Also for anything that is not clear: a misspelt privacy must not let a request out.
    """
    said: dict[bytes, str] = {}
    for name, value in headers:
        if name in (_RACE_NAME, _PRIVACY_NAME):
            if name in said:
                raise BadHeader(f"{RACE if name == _RACE_NAME else PRIVACY} was sent twice. Send it once.")
            said[name] = value.decode("latin-1")
    if _RACE_NAME in said:
        race = _race(said[_RACE_NAME], race.width)
    if _PRIVACY_NAME in said:
        privacy = _privacy(said[_PRIVACY_NAME], privacy)
    return race, privacy


def is_strict(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Does the caller want no translation? Raises `BadHeader` for what is neither yes nor no."""
    said = [value for name, value in headers if name == _STRICT_NAME]
    if not said:
        return False
    strict = _YES_OR_NO.get(said[-1].strip().lower())
    if strict is None:
        raise _not_understood(STRICT, said[-1].decode("latin-1"), "1 or 0")
    return strict


def format_of(headers: Sequence[tuple[bytes, bytes]]) -> DialectName | None:
    """The format that the caller names for the product's own endpoint. Raises `BadHeader` for an unknown one."""
    said = {value.strip().lower() for name, value in headers if name == FORMAT_NAME}
    if not said:
        return None
    if len(said) > 1:
        raise BadHeader(f"{FORMAT} was sent twice, with different values. Send it once.")
    text = said.pop().decode("latin-1")
    if text not in CHAT_DIALECTS:
        raise _not_understood(FORMAT, text, FORMAT_FORM)
    return DialectName(text)


def _race(text: str, default_width: int | None) -> RaceRule:
    match = _RACE.fullmatch(text.lower())
    width = int(match["width"]) if match and match["width"] else default_width
    if match is None or match["mode"] not in {*RaceMode} or (width is not None and not 0 < width <= MAX_WIDTH):
        raise _not_understood(RACE, text, RACE_FORM)
    return RaceRule(RaceMode(match["mode"]), width)


def _privacy(text: str, ceiling: Privacy) -> Privacy:
    said = text.strip().lower()
    if said not in {*Privacy}:
        raise _not_understood(PRIVACY, text, PRIVACY_FORM)
    privacy = Privacy(said)
    if _FROM_TIGHT_TO_LOOSE.index(privacy) > _FROM_TIGHT_TO_LOOSE.index(ceiling):
        raise BadHeader(
            f"{PRIVACY}: {privacy} is looser than PRIVACY={ceiling} of this node, which a request can only tighten. "
            "Leave the header out, or have the node's owner set PRIVACY."
        )
    return privacy


def _not_understood(name: str, text: str, form: str) -> BadHeader:
    return BadHeader(f"{name}: {text[:_MAX_SHOWN_CHARS]!r} is not understood. It may be: {form}.")
