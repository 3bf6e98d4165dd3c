import asyncio
import io
import itertools

from rich.console import Console

from masa_node.chat.request import RequestId
from masa_node.cli.race_view import FRAMES_PER_S, REMEMBERED, SHOWN, Painter, RaceView
from masa_node.routing.racing.provider_stats import RaceEvent, RaceStep
from tests.virtual_time import virtual_time

QUICK, STEADY, STRANGER = "aa" * 32, "bb" * 32, "cc" * 32


class Demo:
    """What a person sees of some races."""

    def __init__(self) -> None:
        self.view = RaceView()
        self.view.names = {QUICK: "quick", STEADY: "steady"}

    def happens(self, request: str, step: RaceStep, provider: str, after_ms: float = 0, why: str = "") -> None:
        self.view.happened(
            RaceEvent(
                request_id=RequestId(request),
                model="masa-demo",
                step=step,
                provider=provider,
                is_local=False,
                after_s=after_ms / 1000,
                why=why or None,
            )
        )

    def race(self, request: str, winner: str = QUICK, loser: str = STEADY) -> None:
        self.happens(request, RaceStep.ASKED, loser)
        self.happens(request, RaceStep.ASKED, winner)
        self.happens(request, RaceStep.WON, winner, 20)
        self.happens(request, RaceStep.CANCELLED, loser, 21)

    def lines(self) -> list[str]:
        console = Console(file=io.StringIO(), width=100)
        with console.capture() as shown:
            console.print(self.view)
        return [" ".join(line.split()) for line in shown.get().splitlines()]


def test_before_the_first_race_it_says_that_there_was_none() -> None:
    assert Demo().lines() == ["No request yet."]


def test_a_race_shows_who_won_and_who_was_cancelled() -> None:
    demo = Demo()
    demo.race("4711")
    head, quick, steady, sum_ = demo.lines()
    assert head == "race 1 request 4711"
    assert quick.startswith("quick")
    assert quick.endswith("won after 20 ms")
    assert steady.endswith("cancelled after 21 ms")
    assert sum_ == "1 race; won by: quick 1"


def test_each_peer_has_the_same_place_in_every_race() -> None:
    demo = Demo()
    demo.race("1", QUICK, STEADY)
    demo.race("2", STEADY, QUICK)
    names = [line.split()[0] for line in demo.lines()]
    assert names == ["race", "quick", "steady", "race", "quick", "steady", "2"]


def test_a_failure_says_why_and_a_peer_without_a_name_goes_by_its_id() -> None:
    demo = Demo()
    demo.happens("1", RaceStep.ASKED, STRANGER)
    assert demo.lines()[1].endswith("asked ...")
    demo.happens("1", RaceStep.FAILED, STRANGER, 3, "peer_busy")
    assert demo.lines()[1].startswith("cccccccccc")
    assert demo.lines()[1].endswith("failed after 3 ms (peer_busy)")
    assert demo.lines()[-1] == "1 race; won by: nobody yet"


def test_more_races_at_once_than_are_shown_are_each_counted_once() -> None:
    demo = Demo()
    requests = [str(number) for number in range(SHOWN + 3)]
    for request, provider in itertools.product(requests, (QUICK, STEADY)):
        demo.happens(request, RaceStep.ASKED, provider)
    for request in requests:
        demo.happens(request, RaceStep.WON, STEADY, 30)
        demo.happens(request, RaceStep.CANCELLED, QUICK, 31)
    lines = demo.lines()
    assert [line for line in lines if line.startswith("race")] == [
        f"race {int(request) + 1} request {request}" for request in requests[-SHOWN:]
    ]
    assert lines[-1] == f"{len(requests)} races; won by: steady {len(requests)}"


def test_what_is_remembered_is_bounded() -> None:
    demo = Demo()
    for number in range(REMEMBERED + 10):
        demo.race(str(number))
    demo.happens("0", RaceStep.CANCELLED, STEADY, 99)
    assert len(demo.lines()) == 3 * SHOWN + 1
    assert demo.lines()[-1].startswith(f"{REMEMBERED + 10} races")


@virtual_time
async def test_nothing_is_painted_while_nothing_moves() -> None:
    """Only what happens is, and bars as long as they grow."""
    demo = Demo()
    loop = asyncio.get_running_loop()
    painted: list[float] = []
    painter = Painter(demo.view, lambda: painted.append(loop.time()))
    await asyncio.sleep(60)
    assert painted == []
    for step, provider in ((RaceStep.ASKED, QUICK), (RaceStep.ASKED, STEADY)):
        painter.happened(event(step, provider))
    await asyncio.sleep(1)
    assert FRAMES_PER_S - 1 <= len(painted) <= FRAMES_PER_S + 2
    for step, provider in ((RaceStep.WON, QUICK), (RaceStep.CANCELLED, STEADY)):
        painter.happened(event(step, provider, 1.0))
    await asyncio.sleep(1)
    ended = len(painted)
    await asyncio.sleep(60)
    assert len(painted) == ended <= FRAMES_PER_S + 4


def event(step: RaceStep, provider: str, after_s: float = 0.0) -> RaceEvent:
    return RaceEvent(
        request_id=RequestId("r"),
        model="masa-demo",
        step=step,
        provider=provider,
        is_local=False,
        after_s=after_s,
        why=None,
    )
