"""A line of the doctor's report, and the report."""

from collections.abc import Iterable
from enum import StrEnum

import msgspec


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"  # works, but not for everybody or not for long
    FAIL = "fail"


class Finding(msgspec.Struct, frozen=True):
    """One line: which `check`, what it `says`, and the one thing to do `next`; "" if there is nothing to do."""

    check: str
    level: Level
    says: str
    next: str = ""


class Report(msgspec.Struct, frozen=True):
    """All lines. `ok`: none is a fail. `masa_dir` is the folder of the node that they are about."""

    ok: bool
    findings: tuple[Finding, ...]
    masa_dir: str = ""


def report_of(findings: Iterable[Finding], masa_dir: str = "") -> Report:
    """These lines as a report."""
    lines = tuple(findings)
    return Report(all(line.level is not Level.FAIL for line in lines), lines, masa_dir)


def ok(check: str, says: str, then: str = "") -> Finding:
    """All is well with it."""
    return Finding(check, Level.OK, says, then)


def warn(check: str, says: str, then: str = "") -> Finding:
    """It works, but somebody will miss something."""
    return Finding(check, Level.WARN, says, then)


def fail(check: str, says: str, then: str = "") -> Finding:
    """It does not work."""
    return Finding(check, Level.FAIL, says, then)
