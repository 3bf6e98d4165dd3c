import itertools

import pytest

from masa_node.chat import errors
from masa_node.chat.errors import ProviderError
from masa_node.routing.racing.error_rank import best_error, is_refusal, is_the_callers_fault
from tests.routing.scripted import http_error

# Most useful first; those in one line are equal.
RANKING: list[list[ProviderError]] = [
    [http_error(400), http_error(422), http_error(413)],
    [http_error(404)],
    [http_error(429)],
    [http_error(401), http_error(403)],
    [http_error(405), http_error(418)],
    [errors.FirstPieceTimeout("m")],
    [errors.PeerBusy("m")],
    [errors.ErrorInStream("m")],
    [http_error(500), http_error(502), http_error(503)],
    [errors.BrokenAnswer("m"), errors.NotAnAnswer("m"), errors.Stalled("m")],
    [errors.ConnectionRefused("m"), errors.DnsFailed("m"), errors.ConnectionClosed("m")],
    [errors.PeerRefused("m"), errors.TlsFailed("m"), errors.EncodedAnswer("m")],  # asking again does not help
]


@pytest.mark.parametrize(("better", "worse"), list(itertools.combinations(range(len(RANKING)), 2)))
def test_the_more_useful_error_is_told_whoever_failed_first(better: int, worse: int) -> None:
    for useful, other in itertools.product(RANKING[better], RANKING[worse]):
        assert best_error([useful, other]) is useful
        assert best_error([other, useful]) is useful


@pytest.mark.parametrize("equals", RANKING, ids=range(len(RANKING)))
def test_of_equally_useful_errors_the_first_is_told(equals: list[ProviderError]) -> None:
    for order in itertools.permutations(equals):
        assert best_error(order) is order[0]


def test_a_400_outranks_a_timeout() -> None:
    told = http_error(400)
    assert best_error([errors.FirstPieceTimeout("m"), told]) is told


@pytest.mark.parametrize(
    ("status", "is_callers"),
    [
        *((status, True) for status in (400, 404, 405, 409, 411, 413, 414, 415, 418, 422, 431, 451)),
        *((status, False) for status in (401, 402, 403, 407, 408, 429, 499, 500, 503, 529)),
    ],
)
def test_only_what_any_well_server_would_refuse_is_the_callers_fault(status: int, *, is_callers: bool) -> None:
    assert is_the_callers_fault(http_error(status)) is is_callers


def test_no_answer_at_all_is_not_the_callers_fault() -> None:
    assert not is_the_callers_fault(errors.ConnectionRefused("m"))


@pytest.mark.parametrize(
    ("error", "refuses"),
    [
        *((http_error(status), True) for status in (400, 413, 422)),
        *((http_error(status), False) for status in (401, 403, 404, 429, 500, 503)),
        (errors.ConnectionRefused("m"), False),
        (errors.PeerBusy("m"), False),
    ],
)
def test_only_words_about_the_request_itself_refuse_it(error: ProviderError, *, refuses: bool) -> None:
    assert is_refusal(error) is refuses
