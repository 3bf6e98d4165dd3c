"""Nodes with the demo model behind them, shared by a whole session."""

from collections.abc import Iterator

import pytest

from tests.api.serving import ServingNode


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingNode]:
    """An ordinary node."""
    with ServingNode(tmp_path_factory.mktemp("node"), {}) as running:
        yield running


@pytest.fixture(scope="session")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingNode]:
    """A node whose model says four words a second: an answer takes about five."""
    with ServingNode(tmp_path_factory.mktemp("slow"), {"DEMO_PIECES_PER_S": "4"}) as running:
        yield running
