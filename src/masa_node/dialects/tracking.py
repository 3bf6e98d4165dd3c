"""Follows a streamed answer: when is the first valid piece there, is it whole at its end, what did it use.

Only whole frames are let through, so that an answer that is cut can be ended with a clean error frame.
"""

from masa_node.chat.answer import Usage
from masa_node.chat.errors import BrokenAnswer, ErrorInStream, NotAnAnswer, ProviderError
from masa_node.dialects.dialect import Dialect, Mark
from masa_node.dialects.framing import FrameCutter, event_of


class StreamTracker:
    """One streamed answer. `feed` pieces as they come, `finish` when the connection ended in good order.

    After each call: `started` - a valid first piece was seen; `ended` - the terminal frame was seen;
    `fault` - the stream cannot be a whole answer any more, what `feed` returned before it is all there will be.
    """

    __slots__ = ("_cutter", "_dialect", "_error_seen", "_finish_seen", "ended", "fault", "frames", "started", "usage")

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._cutter = FrameCutter(dialect.framing)
        self._finish_seen = False
        self._error_seen = False
        self.started = False
        self.ended = False
        self.fault: ProviderError | None = None
        self.frames = 0
        self.usage = Usage()

    def feed(self, piece: bytes) -> bytes:
        """The bytes that may go on to the caller now: whole frames, as they came; b"" if none is complete."""
        try:
            whole = self._cutter.feed(piece)
        except NotAnAnswer as exc:
            self.fault = exc
            return b""
        if not whole:
            return b""
        if self.started and self._dialect.is_plain(whole):
            self.frames += self._dialect.framing.count(whole)
            return whole
        return self._look_at(whole)

    def finish(self) -> bytes:
        """The connection ended in good order: the last bytes, if any. Sets `fault` if the answer is not whole."""
        rest = self._cutter.rest()
        if self._is_cut_inside(rest):
            if not self._error_seen:
                self.fault = BrokenAnswer("its stream ended inside a frame, so the answer was cut")
            return b""
        out = self._look_at(rest) if rest.strip() else rest
        if self.fault is None and not self.is_whole():
            self.fault = BrokenAnswer(self._what_is_missing())
            return b""
        return out

    def is_whole(self) -> bool:
        """Would this be a whole answer if nothing more came? An error frame of the LLM's own is an ending too."""
        if self._error_seen:
            return True
        finished = self._finish_seen or not self._dialect.needs_finish
        return self.started and finished and (self.ended or not self._dialect.needs_end)

    def _is_cut_inside(self, rest: bytes) -> bool:
        if not rest.strip() or self.ended or not self.started:
            return False
        return self._dialect.mark(rest, Usage()) in (Mark.NOISE, Mark.ALIEN)  # not even a frame without its delimiter

    def _look_at(self, whole: bytes) -> bytes:
        passed = 0
        for frame in self._dialect.framing.frames(whole):
            mark = self._dialect.mark(frame, self.usage)
            self.frames += mark is not Mark.NOISE
            self._note(mark, frame)
            if self.fault is not None:
                return whole[:passed] if mark is Mark.END else b""
            passed += len(frame)
        return whole

    def _note(self, mark: Mark, frame: bytes) -> None:
        if mark is Mark.ERROR:
            self._error_seen = True
        if not self.started and mark is not Mark.NOISE:
            self._note_first(mark, frame)
        if mark is Mark.FINISH:
            self._finish_seen = True
        elif mark is Mark.END:
            self.ended = True
            if self._dialect.needs_finish and not self._finish_seen and not self._error_seen:
                self.fault = BrokenAnswer(self._what_is_missing())

    def _note_first(self, mark: Mark, frame: bytes) -> None:
        if mark is Mark.ERROR:
            text = self._dialect.error_message(event_of(frame)[1] or frame) or "it gave no message"
            self.fault = ErrorInStream(f"its stream began with an error: {text}")
        elif mark is Mark.ALIEN:
            self.fault = NotAnAnswer(f"its stream is not in the {self._dialect.name} format")
        elif mark is Mark.END and not self._dialect.end_is_piece:
            self.fault = BrokenAnswer(self._what_is_missing())
        else:
            self.started = True

    def _what_is_missing(self) -> str:
        if not self.started:
            return "its stream ended without a piece of an answer"
        if self._dialect.needs_finish:
            return "its stream ended without saying why (no finish_reason), so the answer was cut"
        return "its stream ended without the terminal frame, so the answer was cut"
