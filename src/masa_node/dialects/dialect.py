"""The small set of questions that every dialect answers about bytes."""

from enum import Enum
from typing import Protocol

import msgspec

from masa_node.chat.answer import Usage
from masa_node.chat.request import DialectName
from masa_node.dialects.choices import Choices
from masa_node.dialects.framing import Framing


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


class Dialect(Protocol):
    """One wire format. Stateless; every method is total: any bytes give an answer, none raise."""

    @property
    def name(self) -> DialectName:
        """Its name."""
        ...

    @property
    def framing(self) -> Framing:
        """How its frames are delimited."""
        ...

    @property
    def needs_end(self) -> bool:
        """Does a whole stream always have the terminal frame?"""
        ...

    @property
    def needs_finish(self) -> bool:
        """Does a whole stream always say why the model stopped?"""
        ...

    @property
    def end_is_piece(self) -> bool:
        """May the terminal frame be all there is of an answer?"""
        ...

    def plain_frames(self, frames: bytes) -> int:
        """Quickly: how many frames are these, if surely nothing but PIECEs or META of the first choice? 0 if in doubt.

        Then there is no usage, no end and no error in them.
        """
        ...

    def mark(self, frame: bytes, usage: Usage, choices: Choices | None = None) -> Mark:
        """What this one frame is; token counts found in it are written into `usage`, its choices into `choices`."""
        ...

    def fault_of_whole(self, body: bytes, usage: Usage, choices: Choices | None = None) -> str | None:
        """Why this complete 2xx body is not an answer, in words for its reader; None if it is one.

        With `choices` it is left to whoever gives them to judge whether all have ended.
        """
        ...

    def error_message(self, body: bytes) -> str | None:
        """The message inside this dialect's error body or error frame payload; None if there is none."""
        ...

    def error_body(self, error: ErrorText) -> bytes:
        """A whole error answer."""
        ...

    def error_frame(self, error: ErrorText) -> bytes:
        """An error in the middle of a stream."""
        ...
