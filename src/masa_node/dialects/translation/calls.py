"""Tool calls in streams: to which call does a piece of OpenAI's belong, which are whole, which has a result?

Servers number them badly, leave out ids, repeat names.
"""

from collections import deque
from collections.abc import Iterable
from itertools import takewhile
from typing import NamedTuple

from masa_node.dialects.translation.collecting import ThoughtBlock
from masa_node.dialects.translation.conversation import Origin, ToolCall, ToolResult
from masa_node.dialects.translation.events import CallBegun, CallPiece, Event, ThoughtSealed
from masa_node.dialects.translation.wire import GrowingObject

_NO_ARGUMENTS = "null"  # as some models write them
MAX_CALLS = 256  # of one answer; a model that calls more is a hostile one


class _Call:
    """One call that is being made; it is passed on once its name is known."""

    __slots__ = ("arguments", "given_id", "id", "name", "number")

    def __init__(self, number: int, given_id: str) -> None:
        self.number = number
        self.given_id = given_id
        self.id = given_id
        self.name = ""
        self.arguments = GrowingObject()


class CallTracker:
    """The calls of one choice. `id_prefix` makes ids for servers that give none."""

    __slots__ = ("_by_index", "_choice", "_id_prefix", "are_named", "count")

    def __init__(self, choice: int, id_prefix: str) -> None:
        self._choice = choice
        self._id_prefix = id_prefix
        self._by_index: dict[int, _Call] = {}
        self.count = 0
        self.are_named = False  # is there any that has a name, and so was passed on?

    def piece(self, index: int, call_id: str, name: str, arguments: str) -> list[Event]:
        """What this piece of a call means; "" for what it does not say."""
        call = self._by_index.get(index)
        if call is None or self._is_another(call, call_id, name):
            if self.count >= MAX_CALLS:
                return []
            call = self._by_index[index] = _Call(self.count, call_id)
            self.count += 1
        return self._more(call, call_id, name, arguments)

    def id_at(self, index: int) -> str:
        """The id of the call that pieces of this index belong to, "" as long as there is none."""
        call = self._by_index.get(index)
        return call.id if call is not None else ""

    def _is_another(self, call: _Call, call_id: str, name: str) -> bool:
        """Some servers give every call the index 0: another id, or a name after whole arguments, begins another. Others
        give each piece an id of its own: one without a name is more of arguments that are not whole.
        """
        if call_id and call.given_id:
            return call_id != call.given_id and bool(name or not call.name or call.arguments.is_whole())
        return bool(name and call.name and call.arguments.is_whole())

    def _more(self, call: _Call, call_id: str, name: str, arguments: str) -> list[Event]:
        call.given_id = call.given_id or call_id
        if arguments == _NO_ARGUMENTS and not call.arguments.text:
            arguments = ""
        if arguments:
            call.arguments.add(arguments)
        if call.name:
            return [CallPiece(call.number, arguments, self._choice)] if arguments else []
        if not name:
            return []
        call.name = name
        self.are_named = True
        call.id = call.given_id or f"call_{self._id_prefix}_{self._choice}_{call.number}"
        events: list[Event] = [CallBegun(call.number, call.id, name, self._choice)]
        if pending := call.arguments.text:
            events.append(CallPiece(call.number, pending, self._choice))
        return events


class WholeCall(NamedTuple):
    """A call with all of its arguments, as JSON text. `signature` is Gemini's beside it, "" if there is none."""

    id: str
    name: str
    arguments: str
    signature: str


def signatures_in(thoughts: Iterable[ThoughtBlock]) -> dict[str, str]:
    """Gemini's signatures among these, by the ids of the calls beside which they stand."""
    seals = [each.seal for each in thoughts if each.origin is Origin.GOOGLE and each.seal]
    return {call_id: signature for call_id, _, signature in (seal.partition(" ") for seal in seals)}


class WholeCalls:
    """Those of one choice, for formats that have each whole: given as soon as it is complete, in their order."""

    __slots__ = ("_open", "_signatures")

    def __init__(self) -> None:
        self._open: dict[int, tuple[CallBegun, GrowingObject]] = {}
        self._signatures: dict[str, str] = {}  # by the ids of calls

    def begin(self, begun: CallBegun) -> list[WholeCall]:
        """Another one begins: those before it that are complete."""
        complete = takewhile(lambda item: item[1][1].is_whole(), self._open.items())
        given = self._given([call for call, _ in complete])
        self._open[begun.call] = (begun, GrowingObject())
        return given

    def add(self, piece: CallPiece) -> None:
        """More of one."""
        if piece.call in self._open:
            self._open[piece.call][1].add(piece.arguments)

    def seal(self, sealed: ThoughtSealed) -> None:
        """A signature of Gemini's belongs to a call, begun or not; others to none."""
        if sealed.origin is Origin.GOOGLE and len(self._signatures) < MAX_CALLS:
            call_id, _, signature = sealed.seal.partition(" ")
            self._signatures[call_id] = signature

    def rest(self) -> list[WholeCall]:
        """All that were not given: nothing more comes."""
        return self._given(list(self._open))

    def _given(self, calls: list[int]) -> list[WholeCall]:
        given: list[WholeCall] = []
        for call in calls:
            begun, arguments = self._open.pop(call)
            signature = self._signatures.get(begun.id, "")
            given.append(WholeCall(begun.id, begun.name, arguments.text, signature))
        return given


class OpenCalls:
    """The calls of a history that have no result yet, and which of them a result is of: where results may
    come without an id. No step takes longer for many calls.
    """

    __slots__ = ("_by_id", "_by_name", "_open")

    def __init__(self) -> None:
        self._open: dict[int, ToolCall] = {}
        self._by_id: dict[str, deque[int]] = {}
        self._by_name: dict[str, deque[int]] = {}

    def begin(self, calls: Iterable[ToolCall]) -> None:
        """The model calls these; those before get no result any more."""
        self._open = dict(enumerate(calls))
        self._by_id, self._by_name = {}, {}
        for number, call in self._open.items():
            self._by_id.setdefault(call.id, deque()).append(number)
            self._by_name.setdefault(call.name, deque()).append(number)

    def answered(self, result: ToolResult) -> ToolCall | None:
        """The call that this is the result of: by id, else by the tool's name, else the first. It is open no more."""
        number = self._first_of(self._by_id.get(result.call_id))
        if number is None:
            number = self._first_of(self._by_name.get(result.name))
        if number is None:
            number = next(iter(self._open), None)
        return None if number is None else self._open.pop(number)

    def _first_of(self, numbers: "deque[int] | None") -> int | None:
        while numbers:
            number = numbers.popleft()
            if number in self._open:
                return number
        return None
