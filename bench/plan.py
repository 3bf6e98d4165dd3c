"""How long and how often each thing is measured."""

from __future__ import annotations

import math
from dataclasses import dataclass

PIECES_PER_S = 50  # of one stream: what a fast model on one GPU gives
CONNECTIONS = 64
RATES = (200, 1000)  # requests/s of the open-loop runs
STREAM_COUNTS = (1, 100, 1000)  # unpaced
PACED_COUNTS = (1, 100, 300, 1000, 2000)
HOP_STREAMS = 300  # paced streams to keep going over a peer hop
MOST_HOP_STREAMS = 1000  # more are not asked for there: two nodes share what one has
FIRST_RATES = (20, 200)  # streams begun a second; the first piece of each is timed
FIRST = "stream-5-0"  # begins at once, where the mock begins a paced one at any time within its first period
LARGE_BODY_BYTES = 100_000
WHOLE = "json"  # the mock's model that answers with one JSON object

# Unpaced streams: long enough that pieces are what is measured, short enough that a slow subject ends them soon.
PIECES_OF_A_STREAM = {1: 20_000, 100: 1_000, 1000: 100}


@dataclass(frozen=True, slots=True)
class Load:
    """One run of the load generator; the window that counts opens after ``ramp_s + settle_s``."""

    model: str
    connections: int
    seconds: float
    rate: int = 0  # requests/s, open loop; 0: each connection asks again when it is answered
    ramp_s: float = 0.0
    settle_s: float = 0.3
    body_bytes: int = 1024

    @property
    def arguments(self) -> list[str]:
        """The command line behind ``load port=...``."""
        return [
            f"model={self.model}",
            f"connections={self.connections}",
            f"rate={self.rate}",
            f"ramp={self.ramp_s}",
            f"settle={self.settle_s}",
            f"seconds={self.seconds}",
            f"body={self.body_bytes}",
        ]


@dataclass(frozen=True, slots=True)
class Plan:
    """All durations of a run, in seconds, and how often the noisy measurements are repeated."""

    repeats: int
    requests_s: float
    latency_s: float
    first_s: float
    pieces_s: float
    paced_s: dict[int, float]  # streams -> window
    ramp_s: dict[int, float]  # streams -> time over which they are opened
    memory_s: float
    starts: int
    races: int  # of each kind in the simulation
    leak_races: int  # after which nothing may be left

    def whole_answers(self) -> Load:
        """As many whole answers as can be had."""
        return Load(WHOLE, CONNECTIONS, self.requests_s)

    def large_bodies(self) -> Load:
        """The same, asked with much more: an agent's session, a picture."""
        return Load(WHOLE, CONNECTIONS, self.requests_s, body_bytes=LARGE_BODY_BYTES)

    def at_rate(self, rate: int) -> Load:
        """Whole answers at a fixed rate."""
        return Load(WHOLE, CONNECTIONS, self.latency_s, rate=rate)

    def first_pieces(self, rate: int) -> Load:
        """Short streams, begun at a fixed rate."""
        return Load(FIRST, CONNECTIONS, self.first_s, rate=rate)

    def unpaced(self, streams: int) -> Load:
        """Streams as fast as they go."""
        return Load(f"stream-{PIECES_OF_A_STREAM[streams]}-0", streams, self.pieces_s)

    def paced(self, streams: int, seconds: float | None = None) -> Load:
        """Streams of PIECES_PER_S, all of them open during the whole window."""
        window_s = self.paced_s[streams] if seconds is None else seconds
        ramp_s = self.ramp_s[streams]
        settle_s = 0.5
        pieces = math.ceil((ramp_s + settle_s + window_s) * PIECES_PER_S)
        return Load(f"stream-{pieces}-{PIECES_PER_S}", streams, window_s, ramp_s=ramp_s, settle_s=settle_s)

    def memory(self, streams: int) -> Load:
        """So many open streams, long enough to look at the memory they take."""
        return self.paced(streams, self.memory_s)

    def models(self) -> list[str]:
        """Every model name that is asked for: the node answers 404 for one that is not listed."""
        loads = [self.whole_answers(), self.first_pieces(1), self.memory(1000), self.memory(HOP_STREAMS)]
        loads += [self.unpaced(streams) for streams in STREAM_COUNTS]
        loads += [self.paced(streams) for streams in self.paced_s]
        return sorted({load.model for load in loads})


FULL = Plan(
    repeats=3,
    requests_s=2.5,
    latency_s=2.5,
    first_s=3.0,
    pieces_s=1.5,
    paced_s={1: 2.0, 100: 2.0, 300: 2.0, 1000: 3.0, 2000: 3.0},
    ramp_s={1: 0.1, 100: 0.3, 300: 0.5, 1000: 1.5, 2000: 3.0},
    memory_s=1.0,
    starts=5,
    races=2_000,
    leak_races=10_000,
)

QUICK = Plan(
    repeats=1,
    requests_s=1.0,
    latency_s=1.2,
    first_s=1.2,
    pieces_s=0.6,
    paced_s={1: 0.6, 100: 0.8, 300: 1.0, 1000: 1.2, 2000: 1.2},
    ramp_s={1: 0.1, 100: 0.2, 300: 0.4, 1000: 1.0, 2000: 2.5},
    memory_s=0.2,
    starts=1,
    races=500,
    leak_races=1_500,
)
