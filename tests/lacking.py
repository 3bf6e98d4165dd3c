"""What a test does on a machine that lacks something which can be had, such as a program."""

import os
from pathlib import Path
from typing import NoReturn

import pytest

from tests.run_summary import said, say

# What not every machine can build: these tests are skipped there, also in CI, and the end of the output says so.
SLOW_TO_HAVE = {"iroh-relay": "two minutes of one core: `tools/get_iroh_relay.sh .cache/iroh-relay` builds it once"}
CACHE = Path(__file__).parents[1] / ".cache"
REQUIRED = "MASA_REAL_REQUIRED"  # .ci/run sets it: there a skipped test would look like one that passed


def lacking(why: str) -> NoReturn:
    """Skip the test, or fail it where all are required."""
    if os.environ.get(REQUIRED):
        pytest.fail(f"{why} ({REQUIRED} is set, so this is no reason to skip)", pytrace=False)
    pytest.skip(why)


def lacking_what_takes_long(config: pytest.Config, name: str) -> NoReturn:
    """Skip the test, also where all are required; `name` stands in SLOW_TO_HAVE."""
    why_not = CACHE / name / "why_not"  # by the script that builds it
    why = why_not.read_text().strip() if why_not.exists() else SLOW_TO_HAVE[name]
    title = f"NOTHING WAS TESTED WITH {name.upper()}"
    if title not in said(config):
        say(config, title, why)
    pytest.skip(f"no {name}: {why}")
