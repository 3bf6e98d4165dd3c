"""Follows a streamed answer: when is the first valid piece there, is it whole at its end, what did it use.

Only whole frames are let through, so that an answer that is cut can be ended with a clean error frame.
"""

import re
from collections.abc import Callable, Iterator

from masa_node.chat.answer import Usage
from masa_node.chat.errors import BrokenAnswer, ErrorAnswer, ErrorInStream, NotAnAnswer, ProviderError
from masa_node.dialects.choices import AnyEndings, Choices, Endings
from masa_node.dialects.dialect import Dialect, Mark
from masa_node.dialects.faults import bare_error_in, error_status, error_text, failed_response, is_json_error, quoted
from masa_node.dialects.fields import is_json
from masa_node.dialects.framing import SILENT_STARTS, SSE, FrameCutter, event_of, is_silent, parts_of

_JSON = (("content-type", "application/json"),)
# A model's words in a frame, where they stand in one string without escapes.
_WORDS = re.compile(rb'"(?:content|text|response|reasoning|reasoning_content|thinking)":\s?"([^"\\\r\n]+)(?=")')
QUOTE, LINE_FEED, RETURN = b'"\n\r'  # as numbers they are found in a third of the time
_PIECE, _FINISH, _META = Mark.PIECE, Mark.FINISH, Mark.META  # to read one off the enum takes a hundred steps
USUAL = 1 << 48  # more than the bytes of any stream
_COMPARED_BYTES = 4096  # in one go: some twenty frames, 20 us
_LEARN_FROM = 16  # frames at once: of more than these, none is known at a glance
_LEARN_EVERY = 4  # frames: where more than words changes, learning would be for nothing each time


class _Doubt:
    """Words that stood in a stream in no part of an answer, behind how many frames; and how it is judged else. If
    nothing but the end follows them, they are why it ended.
    """

    __slots__ = ("frames", "judge", "words")

    def __init__(self, judge: Callable[[Choices], bool], words: str, frames: int) -> None:
        self.judge: Callable[[Choices], bool] = judge.judge if isinstance(judge, _Doubt) else judge
        self.words = words
        self.frames = frames

    def __call__(self, choices: Choices) -> bool:
        return self.judge(choices)


class StreamTracker:
    """One streamed answer. `feed` pieces as they come, `finish` when the connection ended in good order.

    After each call:
    - `started`: a valid first piece was seen.
    - `ended`: the terminal frame was seen, and nothing that follows makes the answer less whole.
    - `fault`: the stream can no longer be a whole answer, and `feed` has returned all there will be.
    - `is_ours`: a frame of the dialect was seen.
    """

    __slots__ = (
        *("_choices", "_cutter", "_dialect", "_frames", "_judge", "_received", "ended", "fault"),
        *("is_ours", "started", "usage", "usual_after", "usual_before", "usual_counted"),
    )

    def __init__(self, dialect: Dialect, endings: AnyEndings | None = None) -> None:
        self._dialect = dialect
        self._cutter = FrameCutter(dialect.framing)
        self._choices = Choices()
        self._judge = (endings or Endings()).begin()
        self.usual_before: bytes | None = None  # the words of a plain frame; None: no frame is known by it
        self.usual_after = b""
        self.usual_counted = 0  # of frames that went on in their chunks: how many, times USUAL, and their bytes
        self.is_ours = False
        self.started = False
        self.ended = False
        self.fault: ProviderError | None = None
        self._frames = 0
        self._received = 0
        self.usage = Usage()

    def feed(self, piece: bytes) -> bytes:
        """The bytes that may go on to the caller now: whole frames, as they came; b"" if none is complete."""
        whole = self.cut(piece)
        return self.look(whole) if whole else b""

    def is_all_more(self, piece: bytes) -> bool:
        """Quickly: is all of this frames that differ from an earlier one, which was plain, in their words alone? Then
        they are noted, and may go on to the caller. False says nothing.
        """
        before, size = self.usual_before, len(piece)
        if before is None or not 0 < size <= _COMPARED_BYTES:
            return False
        frames = piece.split(self.usual_after)
        if frames.pop():
            return False
        words_at = len(before)
        for frame in frames:
            words = frame[words_at:]
            # In a string of JSON a quote is escaped: without one, these are words, and it ends where they do.
            if QUOTE in words or LINE_FEED in words or RETURN in words or not frame.startswith(before):
                return False
        self._frames += len(frames)
        self._received += size
        return True

    def _is_known(self, frame: bytes) -> bool:
        """The same of one whose bytes were counted when it was cut."""
        if not self.is_all_more(frame):
            return False
        self._received -= len(frame)
        return True

    @property
    def frames(self) -> int:
        """How many were seen that are no mere noise."""
        return self._frames + self.usual_counted // USUAL

    @property
    def received(self) -> int:
        """How many bytes came."""
        return self._received + self.usual_bytes

    @property
    def usual_bytes(self) -> int:
        """How many bytes the frames had that went on in their chunks."""
        return self.usual_counted % USUAL

    # `feed` in two parts, for what is too much to be looked at in one go.

    def cut(self, piece: bytes) -> bytes:
        """The whole frames that this piece completes."""
        self._received += len(piece)
        try:
            whole = self._cutter.feed(piece)
        except NotAnAnswer as exc:
            self.fault = None if self.ended else exc
            return b""
        if len(whole) != len(piece):
            self.usual_before = None  # a frame is begun
        return whole

    def parts(self, whole: bytes, most_bytes: int) -> Iterator[bytes]:
        """See `parts_of`."""
        return parts_of(self._dialect.framing, whole, most_bytes)

    def look_first(self, whole: bytes, most_bytes: int) -> bytes | None:
        """As `look_quickly`, for the first that came. None: some was looked at, so that it takes a new tracker."""
        first = whole if len(whole) <= most_bytes else next(self.parts(whole, most_bytes), b"")
        if max(len(first), self.held_bytes) > most_bytes:
            return None
        passed = self.look(first) if first else b""
        if len(first) == len(whole) or self.fault is not None:
            return passed
        rest = self.look_quickly(whole[len(first) :], most_bytes) if self.started else None
        return None if rest is None else passed + rest

    def look_quickly(self, whole: bytes, most_bytes: int) -> bytes | None:
        """As `look`, if it takes little time: frames of at most about so many bytes, or of an answer that has started
        and of which only so many, at their end, are more than its words. None, and nothing was looked at, if not.
        """
        if len(whole) <= most_bytes or self.ended:
            return self.look(whole)
        if self._is_plain(whole):
            return whole
        end = self._dialect.framing.end_of_last_frame(whole[:-most_bytes], 0)
        if len(whole) - end > 2 * most_bytes or not self._is_plain(whole[:end]):
            return None
        return whole[:end] + self.look(whole[end:])

    def _is_plain(self, frames: bytes) -> bool:
        """Are these frames nothing but more of an answer that has started? Then that is noted."""
        count = self._dialect.plain_frames(frames) if self.started else 0
        if not count:
            return False
        self._frames += count
        self._choices.note_plain(frames)
        if count <= _LEARN_FROM and (self.usual_before is None or (count == 1 and not self.frames % _LEARN_EVERY)):
            self._learn(frames)
        return True

    def _learn(self, frames: bytes) -> None:
        if self._cutter.held_bytes:
            return
        frame = frames[self._dialect.framing.end_of_last_frame(frames[:-1], 0) :]  # the last one
        words = _WORDS.search(frame)
        if words is not None:
            start, end = words.span(1)
            self.usual_before, self.usual_after = frame[:start], frame[end:]

    def look(self, whole: bytes, condensed: bytes | None = None) -> bytes:
        """What may go on of these frames; `condensed` is what to look at instead, of a large one."""
        if self.ended or (whole[:1] in SILENT_STARTS and is_silent(self._dialect.framing, whole)):
            return whole
        seen = whole if condensed is None else condensed
        if self._is_plain(seen):
            return whole
        passed = self._look_at(seen)
        if seen is whole or self.fault is None:
            return whole if self.fault is None else passed
        return b""

    def buffered(self) -> bytes:
        """The frame that has begun, as far as it came."""
        return self._cutter.buffered()

    @property
    def held_bytes(self) -> int:
        """How much of it came."""
        return self._cutter.held_bytes

    def finish(self, condensed: bytes | None = None) -> bytes:
        """The connection ended in good order: the last bytes, if any. Sets `fault` if the answer is not whole.

        `condensed` is what to look at instead of what is `buffered`.
        """
        rest = self._cutter.rest()
        seen = rest if condensed is None else condensed
        if self._is_cut_inside(seen):
            if not (self.usage.has_failed or self.ended):
                self.fault = BrokenAnswer("its stream ended inside a frame, so the answer was cut")
            return b""
        if rest.strip() and not self.ended:
            self._look_at(seen)
        if self.fault is None and not self.is_whole():
            self.fault = BrokenAnswer(self._what_is_missing())
        return rest if self.fault is None else b""  # an error frame behind it would be one with it

    def is_whole(self) -> bool:
        """Would this be a whole answer if nothing more came? An error frame of the LLM's own is an ending too."""
        if self.usage.has_failed or self.ended:
            return True
        return self.started and not self._dialect.needs_end and self._choices.have_ended

    def _is_cut_inside(self, rest: bytes) -> bool:
        if not rest.strip() or not self.started or self._has_bare_error(rest):
            return False
        return self._dialect.mark(rest, Usage()) in (Mark.NOISE, Mark.ALIEN)  # not even a frame without its delimiter

    def _look_at(self, whole: bytes) -> bytes:
        passed, frames = 0, self._dialect.framing.frames(whole)
        is_alone = len(frames) == 1
        for frame in frames:
            if not is_alone and (self._is_known(frame) or self._is_plain(frame)):
                passed += len(frame)
                continue
            self.usual_before = None
            mark = self._dialect.mark(frame, self.usage, self._choices)
            if mark is _PIECE or mark is _FINISH:
                self.started = True
                self._frames += 1
                passed += len(frame)
                continue
            self._frames += mark is not Mark.NOISE
            is_bare_error = mark is not _META and self._has_bare_error(frame)
            self._note(Mark.OVERLOOKED if is_bare_error else mark, frame)
            if self.fault is not None:
                return whole[: self._passed(mark, passed, frame)]
            if self.ended:
                return whole
            passed += len(frame)
        return whole

    def _passed(self, mark: Mark, before: int, frame: bytes) -> int:
        """How much of what came goes on where the frame with this mark is a fault: not an end that is none."""
        if mark in (Mark.END, Mark.CUT):
            return before
        return before + len(frame) if self.started else 0

    def _has_bare_error(self, frame: bytes) -> bool:
        return self._dialect.framing is SSE and bool(bare_error_in(frame))

    def _note(self, mark: Mark, frame: bytes) -> None:
        if mark is Mark.ERROR:
            self.usage.has_failed = True
        if not self.started and mark is not Mark.NOISE:
            self._note_first(mark, frame)
        elif mark is Mark.OVERLOOKED:
            self.fault = BrokenAnswer(f"its stream broke off with an error: {_words_of(frame)}")
        elif mark is Mark.CUT and not self.usage.has_failed:
            self.fault = BrokenAnswer(self._what_is_missing())
        elif mark is Mark.ALIEN and (words := _words_in(frame)):
            self._judge = _Doubt(self._judge, words, self.frames)
        if mark in (Mark.END, Mark.CUT) and self.fault is None:
            if self.usage.has_failed or (not self._last_words() and self._judge(self._choices)):
                self.ended = True
            else:
                self.fault = BrokenAnswer(self._what_is_missing())

    def _note_first(self, mark: Mark, frame: bytes) -> None:
        match mark:
            case Mark.ERROR | Mark.OVERLOOKED:
                self.fault = error_first(_said_in(frame))
            case Mark.ALIEN if not self.is_ours:
                self.fault = NotAnAnswer(
                    f"its stream is not in the {self._dialect.name} format; it begins with {quoted(frame)}"
                )
            case Mark.META | Mark.ALIEN:
                self.is_ours = True
            case Mark.CUT:
                self.fault = BrokenAnswer(self._what_is_missing())
            case Mark.END if not (self._dialect.end_is_piece or self._choices.have_ended):
                self.fault = BrokenAnswer(self._what_is_missing())
            case _:
                self.started = True

    def _last_words(self) -> str:
        """What stood before the end in no part of an answer, where no reason was told; "" if nothing did."""
        doubt = self._judge
        if not isinstance(doubt, _Doubt) or self._choices.any_ended or not self._dialect.needs_finish:
            return ""
        return doubt.words if self.frames - doubt.frames <= 1 else ""

    def _what_is_missing(self) -> str:
        if not self.started:
            return "its stream ended without a piece of an answer"
        if words := self._last_words():
            return f"its stream broke off, and its last words are no part of an answer: {words}"
        if self._choices.any_ended and self._choices.are_open:
            return "its stream ended although not all of its choices had, so the answer was cut"
        if self._dialect.needs_finish or self._choices.are_open:
            return "its stream ended without saying why (no finish_reason), so the answer was cut"
        return "its stream ended without the terminal frame, so the answer was cut"


def _said_in(frame: bytes) -> bytes:
    return bare_error_in(frame) or event_of(frame)[1] or frame


def _words_of(frame: bytes) -> str:
    data = _said_in(frame)
    return error_text(data) or quoted(data)


def _words_in(frame: bytes) -> str:
    """Those of an error, or what is no JSON; "" if there are none."""
    data = _said_in(frame)
    return error_text(data) or ("" if is_json(data) else quoted(data))


def error_first(data: bytes) -> ProviderError:
    """A stream that begins with this error. One that names a status is as good as any answer of that status."""
    data = failed_response(data) or data
    status = error_status(data)
    is_json = is_json_error(data)
    text = error_text(data) or (f"it gave no message but this: {quoted(data)}" if is_json else quoted(data))
    if status is None:
        return ErrorInStream(f"its stream began with an error: {text}")
    return ErrorAnswer(
        f"its stream began with the error {status}: {text}",
        status=status,
        headers=_JSON if is_json else (),
        body=data if is_json else b"",
        is_json=is_json,
    )
