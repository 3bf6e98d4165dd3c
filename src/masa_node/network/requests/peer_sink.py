"""Writes one answer, or its failure, to the peer that asked."""

import asyncio
from collections.abc import Awaitable, Sequence

from masa_node.chat.answer import WRITTEN, Answer, StreamedAnswer, WholeAnswer
from masa_node.chat.errors import ErrorAnswer, MasaError
from masa_node.chat.outcome import Attempt
from masa_node.chat.request import DIALECT_OF_ENDPOINT, Request
from masa_node.network.requests.errors import ABOUT_THE_OWNERS_KEY, failure_of
from masa_node.network.requests.request_reader import RequesterGone
from masa_node.network.requests.response_writer import ResponseWriter
from masa_node.network.requests.sign_teller import SignTeller


class PeerSink:
    """See `Sink`. Raises `RequesterGone`, also when nothing is taken for the idle time: a peer that does not read does
    not hold the slot for ever.

    While the stream `has_room`, nothing that `head` and `end` give has to be waited for.
    """

    __slots__ = ("_answer", "_request", "_signs", "out", "piece")

    def __init__(self, request: Request, out: ResponseWriter, signs: SignTeller) -> None:
        self._request = request
        self._signs = signs
        self._answer: Answer | None = None
        self.out = out
        self.piece = out.write

    @property
    def chunks(self) -> None:
        """See `Sink`: a peer gets frames."""

    def head(self, answer: Answer, attempts: Sequence[Attempt]) -> Awaitable[None]:
        """See `Sink`. It is written with the first bytes that follow."""
        del attempts
        self._signs.stop()
        self._answer = answer
        if isinstance(answer, StreamedAnswer):
            self.out.begin(answer)
            self._signs.follow(answer)
        return WRITTEN

    def end(self, last: bytes) -> Awaitable[None]:
        """See `Sink`."""
        del last  # of a whole answer, which is here already
        self._signs.stop()
        if isinstance(self._answer, WholeAnswer):
            return self.out.whole(self._answer, self._request.idle_timeout_s)
        if self._answer is None:
            return WRITTEN
        ended = self.out.end(self._answer.usage)
        return ended if ended is WRITTEN else self._in_time(ended)

    async def failed(self, error: MasaError, attempts: Sequence[Attempt]) -> int:
        """See `Sink`. An LLM's own words are passed on as they are, but for those about the key of its owner."""
        del attempts
        self._signs.stop()
        if self._answer is None and isinstance(error, ErrorAnswer) and _may_be_read(error):
            await self.out.error(error, DIALECT_OF_ENDPOINT[self._request.endpoint], self._request.idle_timeout_s)
        else:
            await self._in_time(self.out.fail(failure_of(error)))
        return 0

    async def _in_time(self, last: Awaitable[None]) -> None:
        if last is WRITTEN:
            return
        try:
            async with asyncio.timeout(self._request.idle_timeout_s):
                await last
        except TimeoutError:
            raise RequesterGone from None


def _may_be_read(error: ErrorAnswer) -> bool:
    return error.is_json and error.status not in ABOUT_THE_OWNERS_KEY
