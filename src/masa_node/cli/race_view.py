"""Shows races as they happen: one block a request, and one bar a peer that grows until the peer's outcome is known."""

import asyncio
import sys
import time
from collections import Counter, OrderedDict
from collections.abc import Callable

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from masa_node.network.transport.interfaces import short_id
from masa_node.routing.racing.provider_stats import RaceEvent, RaceStep

SHOWN = 4  # races: more would scroll the command away
REMEMBERED = 256  # as many as may be under way at once (MAX_CONCURRENT), to know how they end
BAR_CHARS = 30
LEAST_SPAN_S = 0.05  # a bar's whole length; races that take longer stretch it
FRAMES_PER_S = 20
_STYLE = {RaceStep.WON: "bold green", RaceStep.FAILED: "red", RaceStep.CANCELLED: "dim"}


class _Row:
    """One peer in one race."""

    def __init__(self, asked_s: float) -> None:
        self.asked_s = asked_s
        self.ended_s: float | None = None
        self.step = RaceStep.ASKED
        self.why = ""


class _Race:
    def __init__(self, number: int, now_s: float) -> None:
        self.number = number
        self.began_s = now_s
        self.rows: OrderedDict[str, _Row] = OrderedDict()

    def span_s(self, now_s: float) -> float:
        """From the first request to the last thing that happened."""
        ends = [row.ended_s if row.ended_s is not None else now_s - self.began_s for row in self.rows.values()]
        return max([LEAST_SPAN_S, *ends])


class RaceView:
    """Give it every `RaceEvent`; it shows the last SHOWN races. `names` are what providers are called."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self._races: OrderedDict[str, _Race] = OrderedDict()
        self._seen = 0
        self._won: Counter[str] = Counter()

    def name_of(self, provider: str) -> str:
        """What people read."""
        return self.names.get(provider) or short_id(provider)

    def happened(self, event: RaceEvent) -> None:
        """Note one event."""
        if event.step is RaceStep.ASKED:
            self._race_of(event).rows[event.provider] = _Row(event.after_s)
            return
        if event.step is RaceStep.WON:
            self._won[self.name_of(event.provider)] += 1
        race = self._races.get(event.request_id)
        row = race.rows.get(event.provider) if race is not None else None
        if row is not None:
            row.ended_s, row.step, row.why = event.after_s, event.step, event.why or ""

    @property
    def is_moving(self) -> bool:
        """Does a bar that is shown still grow?"""
        newest = list(self._races.values())[-SHOWN:]
        return any(row.ended_s is None for race in newest for row in race.rows.values())

    def _race_of(self, event: RaceEvent) -> _Race:
        race = self._races.get(event.request_id)
        if race is None:
            self._seen += 1
            race = self._races[event.request_id] = _Race(self._seen, time.monotonic() - event.after_s)
            while len(self._races) > REMEMBERED:
                self._races.popitem(last=False)
        return race

    def __rich__(self) -> RenderableType:
        """The last races, the newest at the bottom, and what all of them came to."""
        if not self._races:
            return Text("No request yet.", style="dim")
        now_s = time.monotonic()
        table = Table.grid(padding=(0, 1))
        for request_id, race in list(self._races.items())[-SHOWN:]:
            table.add_row(Text(f"race {race.number}", style="bold"), Text(f"request {request_id}", style="dim"))
            self._add_rows(table, race, now_s)
        return Group(table, Text(self._summary(), style="dim"))

    def _add_rows(self, table: Table, race: _Race, now_s: float) -> None:
        span_s = race.span_s(now_s)
        for provider in sorted(race.rows, key=self._position):
            row = race.rows[provider]
            name = Text("  " + self.name_of(provider))
            table.add_row(name, _bar(row, span_s, now_s - race.began_s), _words(row))

    def _position(self, provider: str) -> int:
        """Each peer at the same place in every race."""
        return list(self.names).index(provider) if provider in self.names else len(self.names)

    def _summary(self) -> str:
        won = ", ".join(f"{name} {count}" for name, count in sorted(self._won.items()))
        races = "1 race" if self._seen == 1 else f"{self._seen} races"
        return f"{races}; won by: {won or 'nobody yet'}"


def live(view: RaceView) -> Live:
    """A context that keeps the view on the terminal; what is written to stderr meanwhile stands above it.

    It paints when it is told to (`Painter`): a view in which nothing moves costs nothing.
    """
    return Live(view, auto_refresh=False, transient=False, redirect_stderr=sys.stderr.isatty())


class Painter:
    """Paints the view when something happened, and FRAMES_PER_S times a second while a bar grows."""

    def __init__(self, view: RaceView, paint: Callable[[], None]) -> None:
        self._view = view
        self._paint = paint
        self._next: asyncio.TimerHandle | None = None

    def happened(self, event: RaceEvent) -> None:
        """Show one event."""
        self._view.happened(event)
        if self._next is None:
            self._show()

    def _show(self) -> None:
        self._next = None
        self._paint()
        if self._view.is_moving:
            self._next = asyncio.get_running_loop().call_later(1 / FRAMES_PER_S, self._show)


def _bar(row: _Row, span_s: float, now_s: float) -> Text:
    def at(seconds: float) -> int:
        return min(BAR_CHARS, round(seconds / span_s * BAR_CHARS))

    start = min(at(row.asked_s), BAR_CHARS - 1)
    end = at(row.ended_s if row.ended_s is not None else now_s)
    length = max(1, end - start)
    return Text(" " * start + "━" * length + " " * (BAR_CHARS - start - length), style=_STYLE.get(row.step, "yellow"))


def _words(row: _Row) -> Text:
    if row.ended_s is None:
        return Text("asked ...")
    why = f" ({row.why})" if row.why else ""
    return Text(f"{row.step.value} after {row.ended_s * 1000:.0f} ms{why}", style=_STYLE.get(row.step, ""))
