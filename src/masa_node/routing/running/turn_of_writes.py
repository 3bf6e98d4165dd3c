"""What is written to connections in one turn of the loop goes out at its end, one right after the other.

A write that has to wake the process on the other end costs 11 to 15 us on a virtual machine, one that finds it awake 1
to 4. So writes that come together are cheap, where one after each piece of work wakes a program that has just fallen
asleep. The only write of a turn is not put off: nothing would be gained, and somebody waits for it. Whether it will be
the only one is taken from the turn before. While each is the only one, just some turns are looked at: to have the end
of one told costs a turn of its own.

See docs/decisions/0045-writes-of-a-turn.md.
"""

import asyncio

MAX_HELD_BYTES = 64 * 1024  # of one connection; then its own buffer says when whoever writes has to wait
MAX_HELD_WRITERS = 64  # whoever was first has waited for so many
UNTIL_LOOKED_AT = 8  # writes that were each the only one of its turn, until that is seen to once more


class TurnOfWrites:
    """Those that are put off, for writers of one loop, which count their writes."""

    __slots__ = ("_loop", "_was_alone", "alone", "count", "waiting")

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None  # to ask which one runs is a system call
        self.waiting: list[Writer] = []
        self.count = 0  # writes in this turn
        self.alone = 0  # so many writes to come are taken to be the only one of their turn
        self._was_alone = True  # the last write, in its turn

    def begin(self) -> bool:
        """The first write of a turn: true where it will be the only one, if this turn is like the last."""
        loop = self._loop = self._loop or asyncio.get_running_loop()
        loop.call_soon(self._end)
        return self._was_alone

    def flush(self) -> None:
        """Write now what was put off."""
        waiting, self.waiting = self.waiting, []
        for writer in waiting:
            writer.flush()

    def _end(self) -> None:
        self._was_alone, self.count = self.count == 1, 0
        self.alone = UNTIL_LOOKED_AT if self._was_alone else 0
        self.flush()


class Writer:
    """Writes to one connection, in order, at the latest when the turn ends, or at `flush`.

    Whoever closes it, its end of it, or asks its transport how much is unsent, calls `flush` before; so does whoever is
    told that the other end was closed, for which the loop closes it. What is held when the connection is aborted is
    dropped, as what its transport holds is; `unwritten` is that. `write` returns at once, and tells of nothing
    that fails: the transport tells its protocol. `is_paused` is for whoever writes, and set by that protocol.
    """

    __slots__ = ("_held_bytes", "_transport", "_turn", "is_paused", "unwritten")

    def __init__(self, transport: asyncio.Transport, turn: TurnOfWrites) -> None:
        self._transport = transport
        self._turn = turn
        self.unwritten: list[bytes] = []  # mostly one
        self._held_bytes = 0
        self.is_paused = False

    def write(self, data: bytes) -> None:
        """Write this behind what was written; nothing, once the connection is being closed. What is large is not
        copied.
        """
        held, turn = self.unwritten, self._turn
        if turn.alone:  # then nothing is held
            turn.alone -= 1
            if not self._transport.is_closing():
                self._transport.write(data)
            return
        held.append(data)
        if len(held) == 1:
            turn.count += 1
            if turn.count == 1 and turn.begin():
                self.flush()
                return
            if len(turn.waiting) >= MAX_HELD_WRITERS:
                turn.flush()
            turn.waiting.append(self)
        size = self._held_bytes = self._held_bytes + len(data)
        if size > MAX_HELD_BYTES:
            self.flush()

    def write_now(self, data: bytes) -> None:
        """The same, but for waiting for the turn to end, where nothing waits already."""
        if self._held_bytes:
            self.write(data)
        elif not self._transport.is_closing():
            self._transport.write(data)

    def flush(self) -> None:
        """Write now what was put off. Idempotent."""
        held, size, transport = self.unwritten, self._held_bytes, self._transport
        if not held:
            return
        self.unwritten, self._held_bytes = [], 0
        if transport.is_closing():
            return
        if size > MAX_HELD_BYTES and len(held) > 1:
            # The last one by `write`, which tells when it is not read. What comes by `writelines` tells nothing of that
            # in asyncio's own transport of Python 3.12.0 to 3.12.8, and 3.13.0 to 3.13.1 (CVE-2024-12254).
            transport.writelines(held[:-1])
            transport.write(held[-1])
        else:
            transport.write(b"".join(held))
