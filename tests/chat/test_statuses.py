import pytest

from masa_node.chat import errors as e
from masa_node.chat.statuses import STATUS, is_final, status_of, status_of_kind


def kinds(of: type[e.MasaError] = e.MasaError) -> list[type[e.MasaError]]:
    return [of, *(kind for each in of.__subclasses__() for kind in kinds(each))]


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_every_error_has_a_status_of_its_own_or_of_the_nearest_class_above(kind: type[e.MasaError]) -> None:
    nearest = next(each for each in kind.__mro__ if each in STATUS)
    assert status_of_kind(kind) == STATUS[nearest]
    assert 400 <= status_of_kind(kind) < 600


@pytest.mark.parametrize(("given", "told"), [(429, 429), (400, 400), (599, 599), (200, 502), (302, 502)])
def test_an_llms_own_status_is_kept_where_it_is_an_error(given: int, told: int) -> None:
    assert status_of(e.ErrorAnswer("its own words", status=given, headers=(), body=b"{}", is_json=True)) == told


def test_asking_again_helps_against_what_passes_and_not_against_what_somebody_must_change() -> None:
    assert is_final(e.BadJson("no JSON"))
    assert is_final(e.StakeRequired("not staked"))
    assert not is_final(e.StakeUnknown("no RPC answers"))
    assert not is_final(e.CallerStalled("slow"))
    assert not is_final(e.Overloaded("full", 1))
