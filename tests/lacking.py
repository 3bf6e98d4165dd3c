"""What a test does on a machine that lacks something which can be had, such as a program."""

import os
from typing import NoReturn

import pytest

from tests.run_summary import said, say

# What takes too long for every run of CI: these tests are skipped there too, and the end of the output says so.
SLOW_TO_HAVE = {
    "iroh-relay": "three and a half minutes of one core: `tools/get_iroh_relay.sh .cache/iroh-relay` builds it once"
}
REQUIRED = "MASA_REAL_REQUIRED"  # .ci/run sets it: there a skipped test would look like one that passed


def lacking(why: str) -> NoReturn:
    """Skip the test, or fail it where all are required."""
    if os.environ.get(REQUIRED):
        pytest.fail(f"{why} ({REQUIRED} is set, so this is no reason to skip)", pytrace=False)
    pytest.skip(why)


def lacking_what_takes_long(config: pytest.Config, name: str) -> NoReturn:
    """Skip the test, also where all are required; `name` stands in SLOW_TO_HAVE."""
    title = f"NOTHING WAS TESTED WITH {name.upper()}"
    if title not in said(config):
        say(config, title, SLOW_TO_HAVE[name])
    pytest.skip(f"no {name}: {SLOW_TO_HAVE[name]}")
