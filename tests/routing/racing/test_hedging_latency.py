import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.routing.racing import hedging
from masa_node.routing.racing.hedging import FEWEST, MAX_TIMED_MODELS, SHORTEST_S, START_S, WINDOW, LatencyBook


def test_while_too_little_is_known_a_sensible_time_is_taken() -> None:
    book = LatencyBook()
    assert book.usual_s("m") == START_S
    for _ in range(FEWEST - 1):
        book.note("m", 0.2)
    assert book.usual_s("m") == START_S
    book.note("m", 0.2)
    assert book.usual_s("m") == 0.2


def test_it_is_the_95th_percentile() -> None:
    book = LatencyBook()
    for hundredth in range(1, 101):
        book.note("m", hundredth / 100)
    assert book.usual_s("m") == 0.95


def test_it_is_never_shorter_than_50_ms() -> None:
    book = LatencyBook()
    for _ in range(FEWEST):
        book.note("m", 0.001)
    assert book.usual_s("m") == SHORTEST_S == 0.05


def test_only_recent_ones_count() -> None:
    book = LatencyBook()
    for took_s in [9.0] * WINDOW + [0.1] * WINDOW:
        book.note("m", took_s)
    assert book.usual_s("m") == 0.1
    assert len(book._recent["m"]) == WINDOW


def test_each_model_has_its_own_and_both_of_its_names_share_it() -> None:
    book = LatencyBook()
    for _ in range(FEWEST):
        book.note("a:latest", 3.0)
    assert (book.usual_s("a"), book.usual_s("b")) == (3.0, START_S)


def test_the_number_of_models_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hedging, "MAX_TIMED_MODELS", 2)
    book = LatencyBook()
    for model in ("a", "b", "a", "c"):
        book.note(model, 0.1)
    assert list(book._recent) == ["a", "c"]
    assert MAX_TIMED_MODELS == 1_000


@given(st.lists(st.floats(0, 100), min_size=FEWEST, max_size=WINDOW))
def test_at_most_one_in_twenty_is_slower(took: list[float]) -> None:
    book = LatencyBook()
    for each_s in took:
        book.note("m", each_s)
    assert sum(each_s > book.usual_s("m") for each_s in took) <= len(took) * 0.05
