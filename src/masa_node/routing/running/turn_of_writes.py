"""What is written to connections in one turn of the loop goes out at its end, one right after the other.

A write that has to wake the process on the other end costs 11 to 15 us on a virtual machine, one that finds it awake 1
to 4. So writes that come together are cheap, where one after each piece of work wakes a program that has just fallen
asleep. The only write of a turn is not put off: nothing would be gained, and somebody waits for it. Whether it will be
the only one is taken from the turn before.

See docs/decisions/0045-writes-of-a-turn.md.
"""

import asyncio
from collections.abc import Sequence

MAX_HELD_BYTES = 64 * 1024  # of one connection; then its own buffer says when whoever writes has to wait
MAX_HELD_WRITERS = 64  # whoever was first has waited for so many


class TurnOfWrites:
    """Those that are put off. For writers of one loop."""

    __slots__ = ("_count", "_waiting", "_was_alone")

    def __init__(self) -> None:
        self._waiting: list[Writer] = []
        self._count = 0  # writes in this turn
        self._was_alone = True  # the last write, in its turn

    def is_put_off(self, writer: "Writer") -> bool:
        """Will `writer` be flushed at the end of this turn, or earlier? False: it has to write now."""
        self._count += 1
        if self._count == 1:
            asyncio.get_running_loop().call_soon(self._end)
            if self._was_alone:
                return False
        if len(self._waiting) >= MAX_HELD_WRITERS:
            self._flush()
        self._waiting.append(writer)
        return True

    def _end(self) -> None:
        self._was_alone, self._count = self._count == 1, 0
        self._flush()

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for writer in waiting:
            writer.flush()


class Writer:
    """Writes to one connection, in order, at the latest when the turn ends, or at `flush`.

    Whoever closes it, its end of it, or asks its transport how much is unsent, calls `flush` before; so does whoever is
    told that the other end was closed, for which the loop closes it. What is held when the connection is aborted is
    dropped, as what its transport holds is. `write` returns at once, and tells of nothing
    that fails: the transport tells its protocol.
    """

    __slots__ = ("_later", "_later_bytes", "_transport", "_turn")

    def __init__(self, transport: asyncio.Transport, turn: TurnOfWrites) -> None:
        self._transport = transport
        self._turn = turn
        self._later: list[bytes] = []
        self._later_bytes = 0

    def write(self, *parts: bytes) -> None:
        """Write them one after the other; nothing, once the connection is being closed. Large ones are not copied."""
        if self._transport.is_closing():
            return
        later = self._later
        if not later and not self._turn.is_put_off(self):
            self._give(parts)
            return
        later += parts
        for part in parts:
            self._later_bytes += len(part)
        if self._later_bytes > MAX_HELD_BYTES:
            self.flush()

    @property
    def holds_any(self) -> bool:
        """Is something put off?"""
        return bool(self._later)

    def flush(self) -> None:
        """Write now what was put off. Idempotent."""
        later, size = self._later, self._later_bytes
        if later:
            self._later, self._later_bytes = [], 0
            if not self._transport.is_closing():
                self._give((b"".join(later),) if size <= MAX_HELD_BYTES else later)

    def _give(self, parts: Sequence[bytes]) -> None:
        """The last one by `write`, which tells when it is not read. What comes by `writelines` tells nothing of that in
        asyncio's own transport of Python 3.12.0 to 3.12.8, and 3.13.0 to 3.13.1 (CVE-2024-12254).
        """
        *before, last = parts
        if before:
            self._transport.writelines(before)
        self._transport.write(last)
