"""What agents send again with each turn, read and written once: their history and their tools, message by message.

Only the first request of a session, and what is new in each later one, costs reading. Bounded, and of values that never
change: which caller sent the bytes makes no difference to what they mean.
"""

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

import msgspec

from masa_node.dialects.translation.conversation import (
    Fields,
    KeptTurn,
    Names,
    Part,
    Role,
    Tool,
    Turn,
    WriteTurn,
)
from masa_node.dialects.translation.losses import Losses

T = TypeVar("T")
Read = Callable[[bytes, Losses], T]
Said = tuple[Role, tuple[Part, ...]]

# Of the bytes of one message or tool; a longer one is read again: a picture, a file, of which few are sent again.
MAX_KEPT_BYTES = 16 * 1024
OBJECT_BYTES = 3 * 1024  # what the values of a usual message take, read and written, beside its bytes
# Of half of what one reader keeps; when it is full, the half that was not asked for lately goes. A session of 300
# messages and 135 tools takes 1.5 MB.
MAX_HALF_BYTES = 4 * 1024 * 1024


class ReadTool(msgspec.Struct, frozen=True, gc=False):
    """What is offered under this name: tools of the caller's own, or one that the server runs itself, by its type."""

    name: str
    own: tuple[Tool, ...] = ()
    hosted: str = ""


class Kept(Generic[T]):
    """Values by the JSON that they were read from, with `read`. What it raises is raised, and nothing is kept then."""

    __slots__ = ("_older", "_read", "_size", "_values")

    def __init__(self, read: Read[T]) -> None:
        self._read = read
        self._values: dict[bytes, tuple[T, tuple[str, ...]]] = {}
        self._older: dict[bytes, tuple[T, tuple[str, ...]]] = {}
        self._size = 0

    def read(self, raws: Iterable[msgspec.Raw], losses: Losses) -> list[T]:
        """The value of each; what reading leaves out is noted. Copies of the bytes are read: no body is held."""
        values: list[T] = []
        newer, own = self._values, Losses()
        for key in map(bytes, raws):
            found = newer.get(key)
            if found is None:
                found = self._older.get(key)
                if found is None:
                    if own.noted:
                        own = Losses()
                    found = (self._read(key, own), own.noted)
                self._keep(key, found)
            values.append(found[0])
            if found[1]:
                losses.drop(*found[1])
        return values

    def _keep(self, key: bytes, found: tuple[T, tuple[str, ...]]) -> None:
        if len(key) > MAX_KEPT_BYTES:
            return
        if self._size > MAX_HALF_BYTES:
            self._older, self._values, self._size = self._values, {}, 0
        self._values[key] = found
        self._size += len(key) + OBJECT_BYTES


def kept_turns(read: Read[Said]) -> Kept[Turn]:
    """Turns by the message that they were read from."""

    def read_turn(message: bytes, losses: Losses) -> Turn:
        role, parts = read(message, losses)
        return Turn(role, parts, KeptTurn() if len(message) <= MAX_KEPT_BYTES else None)

    return Kept(read_turn)


def joined(turns: list[Turn]) -> Turn:
    """What one side says in several messages, as one turn."""
    return completed(turns, [], lambda: [part for turn in turns for part in turn.parts])


def completed(turns: list[Turn], names: list[str], parts: Callable[[], Iterable[Part]]) -> Turn:
    """One turn of these `parts`, which are made of `turns` and of what others say (`names`) and of nothing else.

    The very same turn again for the same ones. It is kept with the last of them, which differs more often than the
    first: calls have ids.
    """
    *before, last = turns
    known = last.cached
    if known is not None and known.whole is not None and known.whole[1] == names and known.whole[0] == before:
        return known.whole[2]
    if known is None or any(turn.cached is None for turn in before):
        return Turn(last.role, tuple(parts()))
    whole = Turn(last.role, tuple(parts()), KeptTurn())
    known.whole = (before, names, whole)
    return whole


def written(turn: Turn, write: WriteTurn, names: Names, losses: Losses) -> list[Fields]:
    """What `write` makes of this turn; not to be changed. `names` are those of the caller's format."""
    cached = turn.cached
    if cached is None:
        return write(turn, names, losses)
    known = cached.written
    if known is None:
        known = cached.written = {}
    found = known.get(write)
    if found is None:
        left_out = Losses()
        fields = write(turn, names, left_out)
        found = known[write] = (fields, left_out.noted)
    if found[1]:
        losses.drop(*found[1])
    return found[0]
