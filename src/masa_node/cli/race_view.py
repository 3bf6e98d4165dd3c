"""Shows races as they happen: one block a request, one bar a peer, growing until it is known what became of him."""

import time
from collections import OrderedDict

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from masa_node.routing.experience import RaceEvent, RaceStep

SHOWN = 4  # races: more would scroll the command away
BAR_CHARS = 30
LEAST_SPAN_S = 0.05  # a bar's whole length; races that take longer stretch it
FRAMES_PER_S = 20
_STYLE = {RaceStep.WON: "bold green", RaceStep.FAILED: "red", RaceStep.CANCELLED: "dim"}


class _Lane:
    """One peer in one race."""

    def __init__(self, asked_s: float) -> None:
        self.asked_s = asked_s
        self.ended_s: float | None = None
        self.step = RaceStep.ASKED
        self.why = ""


class _Race:
    def __init__(self, now_s: float) -> None:
        self.began_s = now_s
        self.lanes: OrderedDict[str, _Lane] = OrderedDict()

    def span_s(self, now_s: float) -> float:
        """From the first ask to the last thing that happened."""
        ends = [lane.ended_s if lane.ended_s is not None else now_s - self.began_s for lane in self.lanes.values()]
        return max([LEAST_SPAN_S, *ends])


class RaceView:
    """Give it every `RaceEvent`; it keeps the last SHOWN races. `names` are what providers are called."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self._races: OrderedDict[str, _Race] = OrderedDict()
        self.seen = 0

    def happened(self, event: RaceEvent) -> None:
        """Note one event."""
        race = self._races.get(event.request_id)
        if race is None:
            race = self._races[event.request_id] = _Race(time.monotonic() - event.after_s)
            self.seen += 1
            while len(self._races) > SHOWN:
                self._races.popitem(last=False)
        if event.step is RaceStep.ASKED:
            race.lanes[event.provider] = _Lane(event.after_s)
            return
        lane = race.lanes.setdefault(event.provider, _Lane(event.after_s))
        lane.ended_s, lane.step, lane.why = event.after_s, event.step, event.why or ""

    def __rich__(self) -> RenderableType:
        """The last races, the newest at the bottom."""
        now_s = time.monotonic()
        return Group(*(self._block(name, race, now_s) for name, race in self._races.items()))

    def _block(self, request_id: str, race: _Race, now_s: float) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        span_s = race.span_s(now_s)
        for provider, lane in race.lanes.items():
            name = "  " + self.names.get(provider, provider[:10])
            table.add_row(name, _bar(lane, span_s, now_s - race.began_s), _words(lane))
        return Group(Text(f"race {request_id}", style="bold"), table)


def live(view: RaceView) -> Live:
    """A context that keeps the view on the terminal."""
    return Live(view, refresh_per_second=FRAMES_PER_S, transient=False)


def _bar(lane: _Lane, span_s: float, now_s: float) -> Text:
    def at(seconds: float) -> int:
        return min(BAR_CHARS, round(seconds / span_s * BAR_CHARS))

    start, end = at(lane.asked_s), at(lane.ended_s if lane.ended_s is not None else now_s)
    length = max(1, end - start)
    return Text(" " * start + "━" * length + " " * (BAR_CHARS - start - length), style=_STYLE.get(lane.step, "yellow"))


def _words(lane: _Lane) -> Text:
    if lane.ended_s is None:
        return Text("asked ...")
    why = f" ({lane.why})" if lane.why else ""
    return Text(f"{lane.step.value} after {lane.ended_s * 1000:.0f} ms{why}", style=_STYLE.get(lane.step, ""))
