"""The parts of one answer that each have an end of their own: OpenAI's choices, the items of a response."""

import msgspec

from masa_node.dialects.fields import ABSENT, FIELDS, is_empty, is_given, read

MAX_CHOICES = 4096  # OpenAI takes at most 128 of a request, and 2048 prompts in one


class _Choice(msgspec.Struct):
    index: msgspec.Raw = ABSENT
    delta: msgspec.Raw = ABSENT
    message: msgspec.Raw = ABSENT
    text: msgspec.Raw = ABSENT
    finish_reason: msgspec.Raw = ABSENT
    finishReason: msgspec.Raw = ABSENT  # noqa: N815 - Gemini's, in the last chunk, beside a null `finish_reason`


_CHOICES = msgspec.json.Decoder(list[_Choice])
_INDEX: msgspec.json.Decoder[int] = msgspec.json.Decoder(int)


class Choices:
    """Which were seen, which have ended. `is_told` tells whether any was ever said not to have ended.

    A part whose end is never spoken of may be of a server that never speaks of one; one that "has not ended" was cut.
    """

    __slots__ = ("_ended", "_is_plain_noted", "_seen", "is_told")

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._ended: set[int] = set()
        self._is_plain_noted = False
        self.is_told = False

    @property
    def have_ended(self) -> bool:
        """Were there any, and did all end?"""
        return bool(self._seen) and len(self._ended) == len(self._seen)

    @property
    def are_open(self) -> bool:
        """Was there any that did not end?"""
        return len(self._ended) < len(self._seen)

    @property
    def any_ended(self) -> bool:
        """Did at least one?"""
        return bool(self._ended)

    @property
    def are_cut_of_whole(self) -> bool:
        """Did one not end beside one that did? Where none did, the server of a complete body gives no reasons."""
        return self.any_ended and self.are_open

    def seen(self, index: int, *, is_told: bool = False) -> None:
        """There is this part; `is_told`: and it was said not to have ended."""
        if len(self._seen) < MAX_CHOICES:
            self._seen.add(index)
        self.is_told = self.is_told or is_told

    def ended(self, index: int) -> None:
        """This part is complete."""
        self.seen(index)
        if index in self._seen:
            self._ended.add(index)

    def note_plain(self, frames: bytes) -> None:
        """Frames went by unread that hold words of the first choice, and of no other."""
        if not self._is_plain_noted:
            self.seen(0, is_told=b'"finish_reason"' in frames)
            self._is_plain_noted = self.is_told

    def note(self, raw: msgspec.Raw) -> tuple[bool, bool]:
        """A list of choices: is there a part of an answer in it, is there a reason why one stopped?

        What is no list of objects is taken for a part: it is not for us to judge.
        """
        listed = read(raw, _CHOICES)
        if listed is None:
            return is_given(raw), False
        has_part = has_reason = False
        for position, choice in enumerate(listed[:MAX_CHOICES]):
            index = read(choice.index, _INDEX)
            has_reason = self._note_end(choice, position if index is None else index) or has_reason
            has_part = has_part or _has_part(choice)
        return has_part, has_reason

    def _note_end(self, choice: _Choice, index: int) -> bool:
        if not (is_empty(choice.finish_reason) and is_empty(choice.finishReason)):
            self.ended(index)
            return True
        self.seen(index, is_told=bytes(choice.finish_reason) != b"")
        return False


def _has_part(choice: _Choice) -> bool:
    """Who speaks is no part of what it says."""
    if not is_empty(choice.text):
        return True
    for raw in (choice.delta, choice.message):
        fields = read(raw, FIELDS)
        if fields is not None and any(name != "role" and not is_empty(value) for name, value in fields.items()):
            return True
    return False
