"""Seals of thoughts in foreign formats: a caller carries them over a turn, and their maker gets them back unchanged."""

import msgspec

from masa_node.dialects.fields import read
from masa_node.dialects.translation.conversation import Fields, Origin, Thought

_PREFIX = "masa"
_HIDDEN = "hidden"
# The field in which an open thought came, as its seal: Groq and Cerebras refuse `reasoning_content`, the usual one.
NAMED_REASONING = "reasoning"


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
            return Thought(text, inner or None)
        return Thought(text, inner, known, is_hidden=kind == _HIDDEN)
    return Thought(text, seal, own, is_hidden=is_hidden)


class _Google(msgspec.Struct):
    thought_signature: str | None = None


class Extra(msgspec.Struct):
    """Gemini's, beside a call or words."""

    google: _Google | None = None


_EXTRA = msgspec.json.Decoder(Extra)


def seal_beside(call_id: str, extra: Extra) -> str | None:
    """The seal of a call ("" for words); None if there is none."""
    signature = extra.google.thought_signature if extra.google is not None else None
    return f"{call_id} {signature}" if signature else None


def signature_of(call_id: str, extra_content: msgspec.Raw) -> str | None:
    """The same of what a caller sends back, of any shape."""
    extra = read(extra_content, _EXTRA)
    return seal_beside(call_id, extra) if extra is not None else None


def beside_a_call(signature: str) -> Fields:
    """What Gemini wants to find beside a call, or words."""
    return {"extra_content": {"google": {"thought_signature": signature}}}
