"""A caller that takes nothing of its answer keeps its slot only while nobody else waits for one."""

import asyncio
from types import TracebackType

from masa_node.chat.errors import CallerStalled
from masa_node.routing.admission import SlotPool

# A change of Wi-Fi cells, or a slow line with what one pause stands for (48 kB), takes less.
STALL_S = 10.0


class StalledCaller:
    """Around the wait until a caller takes something: one of `peer`, "" for the owner's, with a slot of `slots`.

    Raises `CallerStalled` once it has waited STALL_S or more while another waits for that slot: one of these for each
    that waits, the longest stalled first, as the sweep looks at them in the order in which they came.
    """

    __slots__ = ("_is_given_up", "_peer", "_since_s", "_slots", "_timeout")

    def __init__(self, slots: SlotPool, peer: str) -> None:
        self._slots = slots
        self._peer = peer
        self._is_given_up = False
        self._since_s = asyncio.get_running_loop().time()
        self._timeout = asyncio.timeout(None)

    def look(self, now_s: float) -> None:
        """See `Waiting`."""
        if now_s - self._since_s >= STALL_S and not self._is_given_up and self._slots.is_wanted(self._peer):
            self._is_given_up = True
            self._slots.promise(1)
            self._timeout.reschedule(now_s)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()
        self._slots.sweep.add(self)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._slots.sweep.discard(self)
        if self._is_given_up:
            self._slots.promise(-1)
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            waited_s = asyncio.get_running_loop().time() - self._since_s
            raise CallerStalled(
                f"The caller had not read on for {waited_s:.0f} s, and another waited for its slot (MAX_CONCURRENT)."
            ) from None
