import pytest

from masa_node.chat.errors import MasaError
from masa_node.chat.owner_errors import ChangeRefused, NoAddress, NotDone, UnknownInvite
from masa_node.chat.statuses import is_final, status_of


@pytest.mark.parametrize(
    ("error", "status"), [(ChangeRefused, 403), (UnknownInvite, 404), (NotDone, 409), (NoAddress, 409)]
)
def test_each_has_a_status_of_its_own_kind(error: type[MasaError], status: int) -> None:
    assert status_of(error("m")) == status


def test_a_change_that_is_not_allowed_is_not_asked_for_again() -> None:
    assert is_final(ChangeRefused("m"))
    assert not is_final(NotDone("m"))
