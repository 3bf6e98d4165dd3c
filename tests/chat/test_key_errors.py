import pytest

from masa_node.chat.key_errors import KeyLimited, KeyRefused, KeySpent
from masa_node.chat.statuses import is_final, status_of


@pytest.mark.parametrize(
    ("error", "status", "is_over"),
    [(KeyRefused("m"), 403, True), (KeyLimited("m", 3), 429, False), (KeySpent("m", 9_000), 429, True)],
)
def test_asking_again_soon_helps_only_against_a_limit_of_the_minute(
    error: KeyRefused | KeyLimited | KeySpent, status: int, is_over: object
) -> None:
    assert status_of(error) == status
    assert is_final(error) is is_over


def test_limits_carry_when_to_ask_again() -> None:
    assert KeyLimited("m", 3).retry_after_s == 3
    assert KeySpent("m", 9).retry_after_s == 9
