"""Nodes to attack. Those of a whole session are shared: no attack may leave a trace that the next one could notice."""

from collections.abc import Iterator

import pytest

from tests.api.serving import ServingNode

KEY = "right-key"


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingNode]:
    """An ordinary node on loopback, without a key."""
    with ServingNode(tmp_path_factory.mktemp("node"), {"ALLOWED_ORIGINS": "https://chat.example.org"}) as running:
        yield running


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingNode]:
    """A node that wants a key."""
    settings = {"API_KEY": f"{KEY}, clé", "ALLOWED_ORIGINS": "https://chat.example.org"}
    with ServingNode(tmp_path_factory.mktemp("guarded"), settings) as running:
        yield running


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingNode]:
    """A node that takes small bodies only, and talks slowly."""
    constants: dict[str, object] = {"masa_node.api.http1.protocol.MAX_DROPPED_BYTES": 500_000}
    settings = {"MAX_BODY": "100000", "DEMO_PIECES_PER_S": "30"}
    with ServingNode(tmp_path_factory.mktemp("small"), settings, constants) as running:
        yield running


@pytest.fixture(scope="session")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingNode]:
    """A node that waits for nothing longer than 0.3 s, and talks longer than that."""
    protocol = ("HEAD_TIMEOUT_S", "DROP_TIMEOUT_S", "LINGER_S")
    slots = (*(f"http1.protocol.{name}" for name in protocol), "request_body.BODY_TIMEOUT_S")
    constants: dict[str, object] = {f"masa_node.api.{location}": 0.3 for location in slots}
    constants["masa_node.node.server.KEEP_ALIVE_S"] = 0.3
    with ServingNode(tmp_path_factory.mktemp("impatient"), {"DEMO_PIECES_PER_S": "30"}, constants) as running:
        yield running
