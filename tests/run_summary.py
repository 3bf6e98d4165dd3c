"""What a test has to say at the end of the run beside its result; also one that runs in a worker."""

import pytest

_said = pytest.StashKey[dict[str, list[str]]]()


def say(config: pytest.Config, title: str, *lines: str) -> None:
    """Print these lines at the end, under this title; loudly if it is in capitals."""
    said(config).setdefault(title, []).extend(lines)


def said(config: pytest.Config) -> dict[str, list[str]]:
    """All lines so far, by title."""
    return config.stash.setdefault(_said, {})
