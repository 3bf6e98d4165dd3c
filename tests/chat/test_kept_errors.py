"""Errors that are kept: raised as often as asked, and never holding the one who keeps them."""

import gc

import pytest

from masa_node.chat.errors import ErrorAnswer
from masa_node.chat.kept_errors import fresh


def some_error() -> ErrorAnswer:
    error = ErrorAnswer("it answered 500: no", status=500, headers=(("a", "b"),), body=b"{}", is_json=True)
    error.location = "peer x"
    return error


class Keeper:
    """Keeps an error, as a connection does, and raises it to whoever asks."""

    def __init__(self) -> None:
        self.error = some_error()

    def read(self) -> None:
        raise fresh(self.error)


def test_a_fresh_error_is_the_same_in_all_but_where_it_was_raised() -> None:
    kept = some_error()
    copy = fresh(kept)
    assert copy is not kept
    assert (type(copy), copy.args, vars(copy)) == (type(kept), kept.args, vars(kept))


def test_what_keeps_an_error_and_raises_it_is_freed_without_the_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        keeper = Keeper()
        for _ in range(3):
            with pytest.raises(ErrorAnswer, match="500: no"):
                keeper.read()
        assert keeper.error.__traceback__ is None
        del keeper
        assert not any(isinstance(one, Keeper) for one in gc.get_objects())
    finally:
        gc.enable()
