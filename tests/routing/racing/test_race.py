"""Races as scripts: what happens, and what is to be done then. Times are seconds since the start."""

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from masa_node.routing.racing.hedging import HedgeBudget
from masa_node.routing.racing.race import (
    LOOK_AGAIN_S,
    Cancel,
    Candidate,
    Command,
    Event,
    Failed,
    FirstPiece,
    GiveUp,
    Race,
    RaceStarted,
    Stage,
    Start,
    Tick,
    WakeAt,
    Win,
)
from tests.examples import times

USUAL_S = 0.2
Script = list[tuple[float, Event, list[Command]]]


def field(*numbers: int) -> tuple[Candidate, ...]:
    return tuple(Candidate(number) for number in numbers)


def ask(*numbers: int) -> list[Command]:
    return [Start(candidate) for candidate in field(*numbers)]


def hedge(number: int) -> Start:
    return Start(Candidate(number), is_hedge=True)


def cancel(*numbers: int) -> list[Command]:
    return [Cancel(candidate) for candidate in field(*numbers)]


def first(number: int) -> FirstPiece:
    return FirstPiece(Candidate(number))


def failed(number: int) -> Failed:
    return Failed(Candidate(number))


def refused(number: int) -> Failed:
    return Failed(Candidate(number), is_refusal=True)


def win(number: int) -> Win:
    return Win(Candidate(number))


def own(*numbers: int) -> Stage:
    return Stage(field(*numbers), is_own=True)


def all_of(*numbers: int, width: int = 64, patience_s: float | None = None) -> Stage:
    return Stage(field(*numbers), width, width, None, patience_s)


def best_of(*numbers: int, width: int = 64, patience_s: float | None = None) -> Stage:
    return Stage(field(*numbers), 1, width, USUAL_S, patience_s)


def roomy() -> HedgeBudget:
    """A budget of many requests, so that hedges are not held back."""
    budget = HedgeBudget()
    for _ in range(1_000):
        budget.asked(0.0)
    return budget


def play(stages: Sequence[Stage], script: Script, budget: HedgeBudget | None = None) -> Race:
    race = Race(iter(stages), budget if budget is not None else roomy())
    for number, (at_s, event, commands) in enumerate(script):
        assert race.happened(event, at_s) == commands, f"step {number}: {event}"
    return race


# ---- own servers first ----


def test_an_own_server_is_asked_alone_and_wins_alone() -> None:
    race = play([own(0, 1), all_of(2, 3)], [(0, RaceStarted(), ask(0)), (1, first(0), [win(0)])])
    assert race.is_over


def test_own_servers_are_asked_in_turn_and_then_all_peers_at_once() -> None:
    play(
        [own(0, 1), all_of(2, 3, 4)],
        [
            (0, RaceStarted(), ask(0)),
            (1, failed(0), ask(1)),
            (2, failed(1), ask(2, 3, 4)),
            (3, first(3), [win(3), *cancel(2, 4)]),
        ],
    )


def test_while_an_own_server_is_slow_no_peer_is_asked() -> None:
    play([own(0), best_of(1, 2)], [(0, RaceStarted(), ask(0)), (20, Tick(), []), (29, first(0), [win(0)])])


def test_without_an_own_server_the_peers_begin() -> None:
    play([own(), all_of(0, 1)], [(0, RaceStarted(), ask(0, 1))])


def test_what_an_own_llm_refuses_does_not_go_out_to_peers() -> None:
    play(
        [own(0, 1), all_of(2)],
        [(0, RaceStarted(), ask(0)), (0.1, refused(0), ask(1)), (0.2, failed(1), [GiveUp()])],
    )


def test_what_a_peer_refuses_is_still_asked_of_others() -> None:
    play(
        [own(), all_of(0, 1, width=1), all_of(2), own(3)],
        [
            (0, RaceStarted(), ask(0)),
            (1, refused(0), ask(1)),
            (2, refused(1), ask(2)),
            (3, refused(2), ask(3)),
            (4, first(3), [win(3)]),
        ],
    )


def test_peers_are_not_even_chosen_while_an_own_server_may_answer() -> None:
    chosen: list[str] = []

    def stages() -> object:
        yield own(0)
        chosen.append("peers")
        yield all_of(1)

    race = Race(stages(), HedgeBudget())  # type: ignore[arg-type]
    race.happened(RaceStarted(), 0)
    assert chosen == []
    race.happened(failed(0), 1)
    assert chosen == ["peers"]


# ---- all at once ----


def test_a_fast_error_does_not_win() -> None:
    play(
        [all_of(0, 1, 2)],
        [
            (0, RaceStarted(), ask(0, 1, 2)),
            (0.001, failed(0), []),
            (0.002, refused(1), []),
            (9, first(2), [win(2)]),
        ],
    )


def test_when_all_have_failed_it_is_given_up() -> None:
    race = play([all_of(0, 1)], [(0, RaceStarted(), ask(0, 1)), (1, failed(1), []), (2, failed(0), [GiveUp()])])
    assert race.is_over


def test_a_failed_peer_brings_in_one_that_the_width_held_back() -> None:
    play(
        [all_of(0, 1, 2, 3, width=2)],
        [
            (0, RaceStarted(), ask(0, 1)),
            (1, failed(1), ask(2)),
            (2, failed(0), ask(3)),
            (3, failed(3), []),
            (4, first(2), [win(2)]),
        ],
    )


def test_who_is_not_well_is_asked_when_all_well_ones_have_failed() -> None:
    play(
        [all_of(0, 1), all_of(2, 3)],
        [(0, RaceStarted(), ask(0, 1)), (1, failed(0), []), (2, failed(1), ask(2, 3)), (3, failed(2), [])],
    )


def test_a_second_first_piece_wins_nothing() -> None:
    play(
        [all_of(0, 1)],
        [
            (0, RaceStarted(), ask(0, 1)),
            (1, first(1), [win(1), *cancel(0)]),
            (1, first(0), []),
            (1, failed(0), []),
            (1, Tick(), []),
        ],
    )


def test_who_failed_cannot_win_and_who_was_not_asked_neither() -> None:
    play(
        [all_of(0, 1, 2, width=2)],
        [
            (0, RaceStarted(), ask(0, 1)),
            (1, first(2), []),
            (1, failed(0), ask(2)),
            (2, first(0), []),
            (2, failed(0), []),
        ],
    )


# ---- hedge ----


def test_the_best_peer_is_asked_alone_while_it_is_as_fast_as_usual() -> None:
    play([best_of(0, 1, 2)], [(0, RaceStarted(), [*ask(0), WakeAt(0.2)]), (0.19, first(0), [win(0)])])


def test_slower_than_usual_brings_in_the_next_and_then_the_next() -> None:
    play(
        [best_of(0, 1, 2)],
        [
            (0, RaceStarted(), [*ask(0), WakeAt(0.2)]),
            (0.2, Tick(), [hedge(1), WakeAt(0.4)]),
            (0.4, Tick(), [hedge(2)]),
            (0.6, Tick(), []),
            (0.7, first(1), [win(1), *cancel(0, 2)]),
        ],
    )


def test_a_failure_brings_in_the_next_at_once_and_is_no_hedge() -> None:
    play(
        [best_of(0, 1, 2)],
        [
            (0, RaceStarted(), [*ask(0), WakeAt(0.2)]),
            (0.1, failed(0), [*ask(1), WakeAt(pytest.approx(0.3))]),  # type: ignore[arg-type]
            (0.2, failed(1), ask(2)),
            (0.3, failed(2), [GiveUp()]),
        ],
        budget=HedgeBudget(),
    )


def test_an_early_tick_asks_nobody() -> None:
    play([best_of(0, 1)], [(0, RaceStarted(), [*ask(0), WakeAt(0.2)]), (0.1, Tick(), [WakeAt(0.2)])])


def test_the_width_holds_hedges_back() -> None:
    play(
        [best_of(0, 1, 2, width=2)],
        [
            (0, RaceStarted(), [*ask(0), WakeAt(0.2)]),
            (0.2, Tick(), [hedge(1)]),
            (0.4, Tick(), []),
            (0.5, failed(0), ask(2)),
        ],
    )


def test_a_width_of_one_never_hedges() -> None:
    play([best_of(0, 1, width=1)], [(0, RaceStarted(), ask(0)), (5, Tick(), []), (6, failed(0), ask(1))])


def test_without_budget_nobody_is_hedged_until_there_is_some_again() -> None:
    budget = HedgeBudget()
    assert budget.take(0.0)
    play(
        [best_of(0, 1)],
        [
            (0, RaceStarted(), [*ask(0), WakeAt(0.2)]),
            (0.2, Tick(), [WakeAt(0.2 + LOOK_AGAIN_S)]),
            (62, Tick(), [hedge(1)]),
        ],
        budget,
    )


def test_a_race_counts_once_in_the_budget_however_many_are_asked() -> None:
    budget = HedgeBudget()
    for _ in range(20):
        play([best_of(0), best_of(1)], [(0, RaceStarted(), ask(0)), (0, failed(0), ask(1))], budget)
    assert [budget.take(0.0) for _ in range(3)] == [True, True, False]


# ---- patience ----


def test_after_so_much_silence_the_next_peers_are_asked_beside_the_silent_ones() -> None:
    play(
        [all_of(0, 1, patience_s=10), all_of(2, 3)],
        [
            (0, RaceStarted(), [*ask(0, 1), WakeAt(10)]),
            (9.9, Tick(), [WakeAt(10)]),
            (10, Tick(), [hedge(2), hedge(3)]),
            (11, first(2), [win(2), *cancel(0, 1, 3)]),
        ],
    )


def test_who_was_silent_for_long_may_still_win() -> None:
    play(
        [all_of(0, patience_s=10), all_of(1)],
        [
            (0, RaceStarted(), [*ask(0), WakeAt(10)]),
            (10, Tick(), [hedge(1)]),
            (11, failed(1), []),
            (12, first(0), [win(0)]),
        ],
    )


def test_hedges_come_first_and_then_patience_runs_from_the_newest_request() -> None:
    play(
        [best_of(0, 1, patience_s=10), best_of(2, 3)],
        [
            (0, RaceStarted(), [*ask(0), WakeAt(0.2)]),
            (0.2, Tick(), [hedge(1), WakeAt(10.2)]),
            (1, failed(0), []),
            (10.2, Tick(), [hedge(2), WakeAt(pytest.approx(10.4))]),  # type: ignore[arg-type]
        ],
    )


def test_without_budget_a_hedging_race_is_patient_for_longer() -> None:
    budget = HedgeBudget()
    assert budget.take(0.0)
    play(
        [best_of(0, patience_s=10), best_of(1)],
        [
            (0, RaceStarted(), [*ask(0), WakeAt(10)]),
            (10, Tick(), [WakeAt(10 + LOOK_AGAIN_S)]),
            (62, Tick(), [hedge(1)]),
        ],
        budget,
    )


def test_a_full_width_waits_and_a_failure_starts_the_clock() -> None:
    play(
        [all_of(0, 1, width=2, patience_s=10), all_of(2, 3, width=2)],
        [
            (0, RaceStarted(), ask(0, 1)),
            (20, Tick(), []),
            (21, failed(0), [WakeAt(31)]),
            (31, Tick(), [hedge(2)]),
            (32, failed(1), ask(3)),
        ],
    )


def test_a_width_of_one_is_patient_to_the_end() -> None:
    play(
        [best_of(0, width=1, patience_s=10), best_of(1, width=1)],
        [(0, RaceStarted(), ask(0)), (29, Tick(), []), (29.5, failed(0), ask(1))],
    )


def test_own_servers_run_one_at_a_time_also_when_peers_asked_before_them_fail() -> None:
    play(
        [all_of(0, 1, width=3, patience_s=10), own(2, 3)],
        [
            (0, RaceStarted(), [*ask(0, 1), WakeAt(10)]),
            (10, Tick(), []),
            (11, failed(0), []),
            (12, failed(1), ask(2)),
            (13, failed(2), ask(3)),
        ],
    )


def test_what_a_peer_refuses_beside_an_own_server_ends_no_race() -> None:
    play(
        [all_of(0, patience_s=10), own(1), all_of(2)],
        [
            (0, RaceStarted(), [*ask(0), WakeAt(10)]),
            (10, Tick(), []),  # an own server runs alone
            (11, refused(0), ask(1)),
            (12, failed(1), ask(2)),
        ],
    )


# ---- whatever happens ----

LINES = st.lists(
    st.tuples(
        st.sampled_from(["own", "all", "hedge"]),
        st.integers(0, 5),
        st.integers(1, 4),
        st.sampled_from([None, 0.1, 9.0]),
    ),
    min_size=1,
    max_size=4,
)


def stages_of(lines: list[tuple[str, int, int, float | None]]) -> list[Stage]:
    stages, at = [], 0
    for kind, count, width, patience_s in lines:
        numbers = range(at, at + count)
        at += count
        stages.append(
            own(*numbers)
            if kind == "own"
            else all_of(*numbers, width=width, patience_s=patience_s)
            if kind == "all"
            else best_of(*numbers, width=width, patience_s=patience_s)
        )
    return stages


class RaceMachine(RuleBasedStateMachine):
    """Any order of answers, failures and ticks."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = HedgeBudget()
        self.now_s = 0.0
        self.asked: list[Candidate] = []
        self.hedged = 0
        self.ended: dict[Candidate, str] = {}
        self.gave_up = False

    @initialize(lines=LINES)
    def start(self, lines: list[tuple[str, int, int, float | None]]) -> None:
        self.stages = stages_of(lines)
        self.stage_of = {candidate: stage for stage in self.stages for candidate in stage.candidates}
        self.race = Race(iter(self.stages), self.budget)
        self.tell(RaceStarted())

    def running(self) -> list[Candidate]:
        return [candidate for candidate in self.asked if candidate not in self.ended]

    def tell(self, event: Event) -> None:
        was_over, was_hedging = self.race.is_over, self.race.stage.hedge_after_s is not None
        commands = self.race.happened(event, self.now_s)
        assert not (was_over and commands)
        self.hedged += was_hedging and any(isinstance(command, Start) and command.is_hedge for command in commands)
        for command in commands:
            match command:
                case Start(candidate=candidate, is_hedge=is_hedge):
                    assert candidate not in self.asked
                    assert not is_hedge or self.running()
                    self.asked.append(candidate)
                case Win(candidate=candidate):
                    self.end(candidate, "the winner")
                case Cancel(candidate=candidate):
                    self.end(candidate, "cancelled")
                case WakeAt(at_s=at_s):
                    assert at_s > self.now_s
                case GiveUp():
                    self.gave_up = True

    def end(self, candidate: Candidate, how: str) -> None:
        assert candidate in self.running()
        self.ended[candidate] = how

    @rule(passed_s=st.floats(0, 5))
    def time_passes(self, passed_s: float) -> None:
        self.now_s += passed_s
        self.tell(Tick())

    @precondition(lambda self: self.running())
    @rule(data=st.data(), is_refusal=st.booleans())
    def one_fails(self, data: st.DataObject, *, is_refusal: bool) -> None:
        candidate = data.draw(st.sampled_from(self.running()))
        self.end(candidate, "failed")
        self.tell(Failed(candidate, is_refusal))

    @precondition(lambda self: self.running())
    @rule(data=st.data())
    def one_answers(self, data: st.DataObject) -> None:
        self.tell(FirstPiece(data.draw(st.sampled_from(self.running()))))

    @rule(number=st.integers(0, 20), is_failure=st.booleans())
    def something_late_or_unknown(self, number: int, *, is_failure: bool) -> None:
        candidate = Candidate(number)
        if candidate not in self.running():
            self.tell(Failed(candidate) if is_failure else FirstPiece(candidate))

    @invariant()
    def there_is_one_win_at_most(self) -> None:
        assert list(self.ended.values()).count("the winner") <= 1

    @invariant()
    def no_more_than_the_width_run_and_all_of_one_stage_or_of_impatient_ones_before(self) -> None:
        stages = list({id(self.stage_of[candidate]): self.stage_of[candidate] for candidate in self.running()}.values())
        assert all(stage.patience_s is not None for stage in stages if stage is not self.race.stage)
        assert len(self.running()) <= max((stage.width for stage in stages), default=0)

    @invariant()
    def the_budget_holds(self) -> None:
        assert self.hedged <= 1 + self.now_s // 60  # one race: one hedge a minute

    @invariant()
    def it_is_over_when_one_is_crowned_or_all_have_failed_and_else_somebody_runs(self) -> None:
        if not hasattr(self, "race"):
            return
        crowned = "the winner" in self.ended.values()
        assert self.race.is_over == (crowned or self.gave_up)
        assert not (crowned and self.gave_up)
        assert bool(self.running()) != self.race.is_over
        if self.gave_up:
            assert set(self.ended.values()) <= {"failed"}


TestRaceMachine = pytest.mark.untraced(RaceMachine.TestCase)
TestRaceMachine.settings = settings(max_examples=times(2), stateful_step_count=30)


def test_a_race_that_has_ended_holds_its_stages_no_longer_and_asks_nobody() -> None:
    let_go = []

    def stages() -> Iterator[Stage]:
        try:
            yield own(0)
            yield own(1)
        finally:
            let_go.append("stages")

    race = Race(stages(), HedgeBudget())
    race.happened(RaceStarted(), 0.0)
    race.end()
    assert let_go == ["stages"]
    assert race.happened(failed(0), 0.0) == []


@given(LINES)
def test_if_all_fail_without_a_refusal_everybody_was_asked(lines: list[tuple[str, int, int, float | None]]) -> None:
    race = Race(iter(stages_of(lines)), HedgeBudget())
    waiting = race.happened(RaceStarted(), 0.0)
    asked = []
    while True:
        requests = [command.candidate for command in waiting if isinstance(command, Start)]
        asked += requests
        if GiveUp() in waiting:
            break
        waiting = [command for each in requests for command in race.happened(Failed(each), 0.0)]
    assert asked == list(field(*range(sum(count for _, count, _, _ in lines))))
