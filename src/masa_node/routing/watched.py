"""A response whose bytes are signs of life until its first piece is there."""

from masa_node.chat.request import Headers
from masa_node.routing.answer_reader import Response
from masa_node.routing.provider import Sign

_SUCCESS = range(200, 300)


class Watched:
    """The same response; `sign` is called for the head of a 2xx answer and for each read, until `done`.

    An error's head is none: what matters of an error is here at once, or never comes.
    """

    __slots__ = ("_response", "_sign", "close", "content_type", "headers", "read_piece", "read_trailer", "status")

    def __init__(self, response: Response, sign: Sign) -> None:
        self._response = response
        self._sign = sign
        self.status: int = response.status
        self.headers: Headers = response.headers
        self.content_type: str = response.content_type
        self.close = response.close
        self.read_trailer = response.read_trailer
        self.read_piece = response.read_piece
        if response.status in _SUCCESS:
            sign()
            self.read_piece = self._read

    def done(self) -> None:
        """From here on it costs nothing."""
        self.read_piece = self._response.read_piece

    async def _read(self) -> bytes:
        piece = await self._response.read_piece()
        self._sign()
        return piece
