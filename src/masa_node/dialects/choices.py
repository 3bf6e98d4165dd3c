"""The parts of one answer that each have an end of their own (OpenAI's choices, the items of a response), and how
servers end their streams. Pure.
"""

import re
from collections.abc import Callable

import msgspec

from masa_node.dialects.fields import ABSENT, FIELDS, is_empty, is_given, is_reason, read

# ---- choices ----

MAX_CHOICES = 2048  # OpenAI takes at most 128 of a request, and 2048 prompts in one


class _Choice(msgspec.Struct):
    index: msgspec.Raw = ABSENT
    delta: msgspec.Raw = ABSENT
    message: msgspec.Raw = ABSENT
    text: msgspec.Raw = ABSENT
    finish_reason: msgspec.Raw = ABSENT
    finishReason: msgspec.Raw = ABSENT  # noqa: N815 - Gemini's, in the last chunk, beside a null `finish_reason`


_CHOICES = msgspec.json.Decoder(list[_Choice])
_MAX_DIGITS = 9  # of an index
_FILLED = re.compile(rb'"choices"\s*:\s*\[\s*\{')
_LIMIT = b'"length"'
_FEW = 2  # pieces, which may be of two choices


class Choices:
    """Which were seen, which have ended. `is_told` tells whether any was ever said not to have ended.

    A part whose end is never spoken of may be of a server that never speaks of one; one that "has not ended" was cut.
    """

    __slots__ = ("_counted", "_ended_at", "_has_ended", "_is_plain_noted", "any_done", "any_ended", "is_told", "open")

    def __init__(self) -> None:
        self._has_ended: dict[int, bool] = {}  # of those that were seen
        self.open = 0  # how many of them have not
        self._is_plain_noted = False
        self._counted = 0  # pieces of which each had the next index; -1 once one had not
        self._ended_at = 0  # of them
        self.is_told = False
        self.any_ended = False  # did at least one?
        self.any_done = False  # and not at a limit?

    @property
    def have_ended(self) -> bool:
        """Were there any, and did all end?"""
        return self.any_ended and not self.are_open

    @property
    def are_open(self) -> bool:
        """Was there any that did not end? Foundry Local counts the pieces of one answer; its last one has ended."""
        return self.open > 0 and not _FEW < self._counted == self._ended_at

    @property
    def are_cut_of_whole(self) -> bool:
        """Did one not end beside one that did? Where none did, the server of a complete body gives no reasons."""
        return self.any_ended and self.are_open

    def seen(self, index: int, *, is_told: bool = False) -> None:
        """There is this part; `is_told`: and it was said not to have ended."""
        if self._counted >= 0:
            self._counted = self._counted + 1 if index == self._counted else -1
        if index not in self._has_ended and len(self._has_ended) < MAX_CHOICES:
            self._has_ended[index] = False
            self.open += 1
        self.is_told = self.is_told or is_told

    def ended(self, index: int, *, at_limit: bool = False) -> None:
        """This part is complete; `at_limit`: as far as it was to go."""
        self.seen(index)
        self.any_ended, self._ended_at = True, self._counted
        self.any_done = self.any_done or not at_limit
        if self._has_ended.get(index) is False:
            self._has_ended[index] = True
            self.open -= 1

    def note_plain(self, frames: bytes) -> None:
        """Frames went by unread that hold words of the first choice, and of no other, where the format has choices."""
        if not self._is_plain_noted and _FILLED.search(frames):
            self.seen(0, is_told=frames.count(b'"finish_reason":') > 0)
            self._is_plain_noted = self.is_told

    def note(self, raw: msgspec.Raw) -> tuple[bool, bool]:
        """A list of choices: is there a part of an answer in it, is there a reason why one stopped?

        What is no list of objects is taken for a part: it is not for us to judge.
        """
        listed = read(raw, _CHOICES)
        if listed is None:
            return is_given(raw), False
        return any(map(_has_part, listed[:MAX_CHOICES])), self._note_ends(listed)

    def note_whole(self, raw: msgspec.Raw) -> None:
        """A list of choices of a complete body: only how they ended is looked at."""
        self._note_ends(read(raw, _CHOICES) or [])

    def _note_ends(self, listed: list[_Choice]) -> bool:
        if len(listed) > 1:
            self._counted = -1
        choices = enumerate(listed[:MAX_CHOICES])
        have_reasons = [self._note_end(choice, _index(choice.index, position)) for position, choice in choices]
        return any(have_reasons)

    def _note_end(self, choice: _Choice, index: int) -> bool:
        if is_reason(choice.finish_reason) or is_reason(choice.finishReason):
            self.ended(index, at_limit=bytes(choice.finish_reason) == _LIMIT)
            return True
        self.seen(index, is_told=bytes(choice.finish_reason) != b"")
        return False


def _index(raw: msgspec.Raw, position: int) -> int:
    """Without a decoder: to find out that there is none takes that as long as to read fifty."""
    digits = bytes(raw)
    return int(digits) if len(digits) <= _MAX_DIGITS and digits.isdigit() else position


def _has_part(choice: _Choice) -> bool:
    """The speaker's role is no part of what it says."""
    if not is_empty(choice.text):
        return True
    for raw in (choice.delta, choice.message):
        if not bytes(raw).startswith(b"{"):
            continue
        fields = read(raw, FIELDS)
        if fields is None:
            return False  # what is no JSON in one place is none, and to find that out takes long
        if any(name != "role" and not is_empty(value) for name, value in fields.items()):
            return True
    return False


# ---- endings ----

# How one LLM server ends its streams, as far as it has shown: some never say why an answer stopped.

MAX_MODELS = 256  # of one server; a hundred bytes each, and what is forgotten is learnt again


class Endings:
    """What was seen of one server and one model. Each stream calls `begin`, and at its terminal frame what it returns.
    `has_shown`: that the server gives no reasons. Whoever has a stream judged once more first puts back what it was.
    `asked` numbers the requests as they are sent, streams and others: the next one's number is one more.

    A stream whose choices "have not ended" until its terminal frame was cut - unless the server never says otherwise:
    then it has shown so with an earlier stream. One that others ran into shows nothing: that is when the server
    of llama-cpp-python cuts them. See docs/decisions/0014-how-an-answer-ends.md.
    """

    __slots__ = ("_gives_reasons", "asked", "has_shown")

    def __init__(self, *, has_shown: bool = False) -> None:
        self.asked = 0
        self._gives_reasons = False
        self.has_shown = has_shown

    def begin(self, asked: int = 0) -> Callable[[Choices], bool]:
        """The stream with this number begins; 0: it has none yet.

        What is returned tells, at its terminal frame, whether these choices make it a whole one. A server that cuts it
        for another request does so before there is any answer to that one.
        """
        if not asked:
            asked = self.asked = self.asked + 1
        return lambda choices: self._judge(choices, is_alone=asked == self.asked)

    def judge_whole(self, choices: Choices) -> bool:
        """Is a complete body with these choices a whole answer? Without any reason it shows that its server gives none.

        No SDK asks for one, and a body that is cut is no JSON: only a choice beside one that has ended tells of a cut.
        """
        self._gives_reasons = self._gives_reasons or choices.any_done
        if choices.any_ended:
            return not choices.open
        self.has_shown = self.has_shown or choices.are_open
        return True

    def _judge(self, choices: Choices, *, is_alone: bool) -> bool:
        self._gives_reasons = self._gives_reasons or choices.any_done
        if not choices.are_open:
            return True
        if choices.any_ended or self._gives_reasons:
            return False
        if not choices.is_told:  # nothing was said of an end at all
            return True
        is_whole = self.has_shown
        self.has_shown = self.has_shown or is_alone
        return is_whole


class AskedEndings:
    """The same, for the answer to the request with this number."""

    __slots__ = ("_asked", "_endings")

    def __init__(self, endings: Endings, asked: int) -> None:
        self._endings = endings
        self._asked = asked

    def begin(self) -> Callable[[Choices], bool]:
        """See `Endings`."""
        return self._endings.begin(self._asked)

    def judge_whole(self, choices: Choices) -> bool:
        """See `Endings`."""
        return self._endings.judge_whole(choices)


AnyEndings = Endings | AskedEndings


class EndingsByModel:
    """Those of one server, of at most MAX_MODELS models: the one that was first seen goes first."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[str, Endings] = {}

    def of(self, model: str) -> Endings:
        """What was seen of this model; a gateway may have servers of several kinds behind it."""
        endings = self._known.get(model)
        if endings is None:
            if len(self._known) >= MAX_MODELS:
                del self._known[next(iter(self._known))]
            endings = self._known[model] = Endings()
        return endings
