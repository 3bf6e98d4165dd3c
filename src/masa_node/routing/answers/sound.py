"""A sound on its way: bytes without frames, passed on as they come.

Nothing but where they end tells whether all are there, so one that is cut ends as a broken connection.
"""

from dataclasses import dataclass

from masa_node.chat.answer import StreamedAnswer, Usage
from masa_node.chat.request import DialectName, Headers
from masa_node.routing.provider import Response


def sound_answer(response: Response, headers: Headers, begun: bytes) -> StreamedAnswer:
    """The answer that `begun` is the beginning of."""
    sound = _Sound(response, len(begun))
    return StreamedAnswer(
        response.status, headers, DialectName.OPENAI_AUDIO, begun, sound.next_piece, response.close,
        lambda: sound.pieces, Usage(), lambda: sound.is_over, lambda: sound.received, is_framed=False,
    )  # fmt: skip


@dataclass(slots=True, eq=False)
class _Sound:
    """Counts what goes by."""

    _response: Response
    received: int
    pieces: int = 1
    is_over: bool = False

    async def next_piece(self) -> bytes:
        """See `StreamedAnswer`. Raises `BrokenAnswer` for a sound that was cut."""
        if self.is_over:
            return b""
        piece = await self._response.read_piece()
        self.is_over = not piece
        self.pieces += bool(piece)
        self.received += len(piece)
        return piece
