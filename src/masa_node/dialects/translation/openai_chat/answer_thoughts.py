"""Thoughts in chat completions' answers, as each vendor has them: Databricks, Gemini, LiteLLM, Mistral, OpenRouter."""

import msgspec

from masa_node.dialects.fields import ABSENT, is_given, read
from masa_node.dialects.translation.conversation import Origin
from masa_node.dialects.translation.events import Event, TextPiece, ThoughtPiece, ThoughtSealed
from masa_node.dialects.translation.thoughts import NAMED_REASONING, Extra, seal_beside
from masa_node.dialects.translation.wire import encode


class Part(msgspec.Struct):
    """A part of a content; Mistral's thoughts are some, and Databricks', which have a summary."""

    type: str = ""
    text: str | None = None
    thinking: msgspec.Raw = ABSENT
    summary: msgspec.Raw = ABSENT


class Block(msgspec.Struct):
    """Anthropic's seal of a thought, as LiteLLM gives it."""

    signature: str | None = None
    data: str | None = None


_PARTS = msgspec.json.Decoder(list[Part])
_DETAILS = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_TEXT = msgspec.json.Decoder(str)
# The field of each kind of detail that comes in pieces, and is there to be seen.
_WORDS = {b'"reasoning.text"': "text", b'"reasoning.summary"': "summary"}


class Details:
    """OpenRouter's `reasoning_details` of one thought: it wants all of them back as they were.

    In a stream, details of one kind and index that follow each other are pieces of one. `is_named`: there may be none,
    and the thought came in the field `reasoning`, where it is to go back.
    """

    __slots__ = ("_items", "_words", "is_named")

    def __init__(self) -> None:
        self.is_named = False
        self._items: list[dict[str, msgspec.Raw]] = []
        self._words: list[str] = []  # of the last one

    def add(self, raw: msgspec.Raw) -> str:
        """More of them; the words in them that are there to be seen."""
        seen: list[str] = []
        for item in read(raw, _DETAILS) or ():
            field = _WORDS.get(bytes(item.get("type", ABSENT)))
            words = read(item[field], _TEXT) or "" if field is not None and field in item else ""
            seen.append(words)
            last = self._items[-1] if self._items else None
            if last is None or field is None or any(last.get(each) != item.get(each) for each in ("type", "index")):
                self._complete()
                self._items.append(item)
                self._words = [words]
            else:
                last.update((name, value) for name, value in item.items() if name != field and is_given(value))
                self._words.append(words)
        return "".join(seen)

    def _complete(self) -> None:
        """The last one is whole: its words are put together."""
        if self._items and (field := _WORDS.get(bytes(self._items[-1].get("type", ABSENT)))):
            self._items[-1][field] = msgspec.Raw(encode("".join(self._words)))

    def sealed(self, choice: int) -> list[Event]:
        """All of them, as what proves the thought."""
        if not self._items:
            return [ThoughtSealed(NAMED_REASONING, Origin.OPEN, choice=choice)] if self.is_named else []
        self._complete()
        is_hidden = not any(bytes(item.get("type", ABSENT)) in _WORDS for item in self._items)
        return [ThoughtSealed(encode(self._items).decode(), Origin.OPENROUTER, is_hidden, choice)]


def words_of(part: Part, index: int) -> list[Event]:
    """What a part of a content says."""
    thought = read(part.thinking, _PARTS) or read(part.summary, _PARTS)
    events: list[Event] = [ThoughtPiece(each.text, index) for each in thought or () if each.text]
    if part.text and part.type != "thinking":
        events.append(TextPiece(part.text, index))
    return events


def seals_of(blocks: list[Block], index: int) -> list[Event]:
    """LiteLLM's seals."""
    return [
        ThoughtSealed(seal, Origin.ANTHROPIC, is_hidden=bool(block.data), choice=index)
        for block in blocks
        if (seal := block.signature or block.data)
    ]


def signed(call_id: str, extra: Extra, index: int) -> list[Event]:
    """Gemini's signature of a call or of words, which it wants back with them."""
    seal = seal_beside(call_id, extra)
    return [ThoughtSealed(seal, Origin.GOOGLE, is_hidden=True, choice=index)] if seal is not None else []
