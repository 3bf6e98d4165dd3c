"""What a test does on a machine that lacks something which can be had, such as a program."""

import os
from typing import NoReturn

import pytest

REQUIRED = "MASA_REAL_REQUIRED"  # .ci/run sets it: there a skipped test would look like one that passed


def lacking(why: str) -> NoReturn:
    """Skip the test, or fail it where all are required."""
    if os.environ.get(REQUIRED):
        pytest.fail(f"{why} ({REQUIRED} is set, so this is no reason to skip)", pytrace=False)
    pytest.skip(why)
