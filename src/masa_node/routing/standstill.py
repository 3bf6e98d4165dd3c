"""Ends the giving of a stream that stands still: nothing comes of it, or its caller takes nothing.

The sweep looks now and then, so that nothing is noted for each piece that comes.
"""

import asyncio
from collections.abc import Awaitable
from types import TracebackType

from masa_node.chat.answer import StreamedAnswer
from masa_node.chat.errors import CallerStalled, MasaError, Stalled
from masa_node.routing.admission import SlotPool

# Idle times without a piece, while signs of life come. Hosted models think for minutes between two pieces, and send
# comments or pings meanwhile. A frame of megabytes takes a while over a slow line.
LONGEST_WITHOUT_PIECE = 3
LOOKS = 8  # at the numbers, in an idle time
# A change of Wi-Fi cells, or a slow line with what one pause stands for (48 kB), takes less.
STALL_S = 10.0


class Standstill:
    """One streamed answer, to a caller that has a slot of `slots`; `peer` is "" for the owner's.

    An async context manager around the giving. When it is time, its body is cancelled, and it raises `Stalled`: nothing
    came for `idle_s`, or no piece for LONGEST_WITHOUT_PIECE times as long, for all the signs of life. Or it raises
    `CallerStalled`: the caller took nothing for `idle_s`, or for STALL_S while another waits for that slot. Of several
    that stall, one is ended for each that waits, the longest stalled first. A cancel from outside passes through.

    Never too early; where bytes that were passed on by calls were the last, late by an eighth of `idle_s`.
    """

    __slots__ = (
        *("_answer", "_given_up_after_s", "_has_signs", "_idle_s", "_look_s", "_peer", "_piece_s", "_pieces"),
        *("_received", "_sign_s", "_slots", "_timeout", "_waits_since_s", "was_slow"),
    )

    def __init__(self, answer: StreamedAnswer, idle_s: float, slots: SlotPool, peer: str, now_s: float) -> None:
        self._answer = answer
        self._idle_s = idle_s
        self._slots = slots
        self._peer = peer
        self._received: int = answer.received()
        self._pieces: int = answer.frames()
        self._sign_s = self._piece_s = now_s
        self._look_s = 0.0  # not to be looked at before
        self._has_signs = True  # were there any within `idle_s`, when it was looked at?
        self._waits_since_s: float | None = None
        self._given_up_after_s: float | None = None  # of that wait, for another
        self._timeout: asyncio.Timeout | None = None
        self.was_slow = False  # did the caller take nothing for STALL_S once?

    def is_silent(self, now_s: float) -> bool:
        """Did nothing come for too long?"""
        if now_s < self._look_s:
            return False
        received, pieces = self._answer.received(), self._answer.frames()
        if received != self._received:
            self._received, self._sign_s = received, now_s
        if pieces != self._pieces:
            self._pieces, self._piece_s = pieces, now_s
        due_s = self._sign_s + self._idle_s
        self._look_s = min(due_s, now_s + self._idle_s / LOOKS)
        self._has_signs = now_s < due_s
        return now_s >= min(due_s, self._piece_s + LONGEST_WITHOUT_PIECE * self._idle_s)

    def came(self) -> None:
        """Something came just now."""
        self._sign_s = asyncio.get_running_loop().time()

    async def taken(self, written: Awaitable[None]) -> None:
        """Wait for the caller to take this."""
        self._slots.sweep.discard(self)
        self._slots.sweep.add(self)  # behind those that have waited for longer
        since_s = self._waits_since_s = asyncio.get_running_loop().time()
        await written
        self._waits_since_s = None
        self.came()  # the caller's time and the LLM's are not added up
        self.was_slow |= self._sign_s - since_s >= STALL_S

    def look(self, now_s: float) -> None:
        """See `Waiting`."""
        timeout, since_s = self._timeout, self._waits_since_s
        if timeout is None or timeout.expired():
            return
        if since_s is not None and now_s - since_s >= STALL_S and self._slots.is_wanted(self._peer):
            self._given_up_after_s = now_s - since_s
            self._slots.promise(1)
            timeout.reschedule(now_s)
        elif self.is_silent(now_s):
            timeout.reschedule(now_s)

    async def __aenter__(self) -> None:
        self._timeout = asyncio.timeout(None)
        await self._timeout.__aenter__()
        self._slots.sweep.add(self)
        self.look(asyncio.get_running_loop().time())  # on the plain way it may have been seen to stand still

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        timeout, self._timeout = self._timeout, None  # it holds the task, and the task what has this
        self._slots.sweep.discard(self)
        if self._given_up_after_s is not None:
            self._slots.promise(-1)
        try:
            if timeout is not None:
                await timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            raise self._error() from None

    def _error(self) -> MasaError:
        idle_s, waited_s = self._idle_s, self._given_up_after_s
        if waited_s is not None:
            return CallerStalled(
                f"The caller had not read on for {waited_s:.0f} s, and another waited for its slot (MAX_CONCURRENT)."
            )
        if self._waits_since_s is not None:
            return CallerStalled(f"The caller read nothing for {idle_s:g} s (LLM_IDLE_TIMEOUT).")
        what = f"nothing came for {idle_s:g} s (LLM_IDLE_TIMEOUT)"
        if self._has_signs:
            what = (
                f"no piece of it came for {LONGEST_WITHOUT_PIECE * idle_s:g} s ({LONGEST_WITHOUT_PIECE} times "
                "LLM_IDLE_TIMEOUT), only comments or a part of one"
            )
        return Stalled(f"{what}, so the answer was cut.")
