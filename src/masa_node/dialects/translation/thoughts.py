"""Seals of thoughts in foreign formats: a caller carries them over a turn, and their maker gets them back unchanged."""

from masa_node.dialects.translation.conversation import Origin, Thought

_PREFIX = "masa"
_HIDDEN = "hidden"


def sealed_for_caller(seal: str, origin: Origin, own: Origin, *, is_hidden: bool = False) -> str:
    """The seal as written in the format whose own thoughts are of `own`."""
    if origin is own:
        return seal
    return ".".join((_PREFIX, origin, _HIDDEN if is_hidden else "shown", seal))


def thought_of(text: str, seal: str | None, own: Origin, *, is_hidden: bool = False) -> Thought:
    """The thought that a caller sent back in the format whose own thoughts are of `own`."""
    if not seal:
        return Thought(text)
    prefix, _, rest = seal.partition(".")
    origin, _, rest = rest.partition(".")
    kind, _, inner = rest.partition(".")
    if prefix == _PREFIX and origin in set(Origin):
        known = Origin(origin)
        if known is Origin.OPEN:
            return Thought(text)
        return Thought(text, inner, known, is_hidden=kind == _HIDDEN)
    return Thought(text, seal, own, is_hidden=is_hidden)
