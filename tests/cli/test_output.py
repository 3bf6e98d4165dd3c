"""What the commands show to the node that they ask."""

import pytest

from masa_node.accounts.access import KEYS_OWNER
from masa_node.api.guard import Guard, GuardRules
from masa_node.cli.output import key_header


@pytest.mark.parametrize("key", ["key", "k\xe9y", "\u043a\u043b\u044e\u0447", "with a space"])
def test_any_key_that_the_node_takes_is_shown_as_it_takes_it(key: str) -> None:
    sent = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in key_header((key, "another"))]
    assert Guard(GuardRules((key,))).check_key(b"/v1/models", sent) is KEYS_OWNER


def test_without_a_key_none_is_shown() -> None:
    assert key_header(()) == ()
