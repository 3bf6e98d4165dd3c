"""How long each directory of tests took: printed at the end of every run, so that what has become slow is seen."""

from collections import Counter
from collections.abc import Iterable

import pytest


def seconds_by_directory(reports: Iterable[object]) -> list[str]:
    """A line for each directory right below the first, the longest first, and one for all of them.

    The seconds are those of the tests and their fixtures, whatever ran beside them: workers are not divided by.
    """
    seconds: Counter[str] = Counter()
    for report in reports:
        if isinstance(report, pytest.TestReport):
            folders = report.nodeid.partition("::")[0].split("/")[:-1]
            seconds["/".join(folders[:2])] += report.duration
    return [f"{spent:8.1f} s  {folder}" for folder, spent in [*seconds.most_common(), ("all", seconds.total())]]
