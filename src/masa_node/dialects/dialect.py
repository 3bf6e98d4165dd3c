"""The small set of questions that every dialect answers about bytes."""

from abc import ABC, abstractmethod
from enum import Enum

import msgspec

from masa_node.chat.answer import Usage
from masa_node.chat.request import DialectName
from masa_node.dialects.choices import Choices
from masa_node.dialects.faults import error_text, is_bare_error
from masa_node.dialects.framing import SSE, Framing, is_aside, is_heartbeat, is_heartbeat_name


class Mark(Enum):
    """What one frame of a streamed answer is."""

    NOISE = "a comment, a heartbeat, a blank line"
    META = "something about an answer, but no part of it: the speaker's role, the request"
    PIECE = "a part of an answer"
    FINISH = "the part that says why the model stopped"
    END = "the terminal frame"
    ERROR = "an error instead of an answer"
    OVERLOOKED = "an error in a shape that the dialect's SDK reads over"
    CUT = "what the dialect's SDK takes for the end, before the answer has ended"
    ALIEN = "not of this dialect"


class ErrorText(msgspec.Struct, frozen=True):
    """An error as a caller gets it: HTTP status, stable code, what happened and what to do."""

    status: int
    code: str
    message: str
    request_id: str


class Dialect(ABC):
    """One wire format. Stateless; every method is total: any bytes give an answer, none raise."""

    name: DialectName
    framing: Framing = SSE  # how its frames are delimited
    needs_end = True  # does a whole stream always have the terminal frame?
    needs_finish = False  # does a whole stream always say why the model stopped?
    end_is_piece = False  # may the terminal frame be all there is of an answer?

    @abstractmethod
    def plain_frames(self, frames: bytes) -> int:
        """Quickly: how many frames are these, if surely nothing but PIECEs or META of the first choice? 0 if in doubt.

        Then there is no usage, no end and no error in them.
        """

    @abstractmethod
    def mark(self, frame: bytes, usage: Usage, choices: Choices | None = None) -> Mark:
        """What this one frame is; token counts found in it are written into `usage`, its choices into `choices`."""

    @abstractmethod
    def fault_of_whole(self, body: bytes, usage: Usage, choices: Choices | None = None) -> str | None:
        """Why this complete 2xx body is not an answer, in words for its reader; None if it is one.

        With `choices` it is left to whoever gives them to judge whether all have ended.
        """

    @abstractmethod
    def error_body(self, error: ErrorText) -> bytes:
        """A whole error answer."""

    def error_frame(self, error: ErrorText) -> bytes:
        """An error in the middle of a stream."""
        return b"data: " + self.error_body(error) + b"\n\n"

    def error_message(self, body: bytes) -> str | None:
        """The message inside an error body or error frame payload, whoever worded it; None if there is none."""
        return error_text(body)


def mark_of_other(event: bytes, data: bytes, *, is_ours: bool = False) -> Mark:
    """What the frame of this event is, which has no part of an answer; `is_ours`: it is of the dialect."""
    if is_bare_error(data):
        return Mark.OVERLOOKED
    if is_heartbeat_name(event) or is_heartbeat(data):
        return Mark.NOISE
    if is_ours:
        return Mark.META
    return Mark.NOISE if is_aside(data) else Mark.ALIEN
