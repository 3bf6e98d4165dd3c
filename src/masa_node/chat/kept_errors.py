"""Errors that are kept in an object and raised later, or again.

A raised error holds the frames that it passed, and with them the object that keeps it. Such a circle is left to the
garbage collector, and a node's looks seldom (`node/run.py`).
"""

from typing import TypeVar

Error = TypeVar("Error", bound=BaseException)


def fresh(error: Error) -> Error:
    """The same error as if it had never been raised: raise this one, and go on keeping the other."""
    copy = type(error).__new__(type(error), *error.args)
    copy.__dict__.update(error.__dict__)
    return copy
