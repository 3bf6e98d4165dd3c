from masa_node.chat.request import CHAT_DIALECTS, DIALECT_OF_ENDPOINT, Endpoint
from masa_node.dialects.registry import DIALECTS


def test_every_dialect_is_there_under_its_own_name() -> None:
    assert {name: dialect.name for name, dialect in DIALECTS.items()} == {name: name for name in DIALECTS}


def test_what_is_spoken_at_any_endpoint_is_there() -> None:
    assert DIALECT_OF_ENDPOINT.keys() == {*Endpoint}
    assert DIALECTS.keys() >= {*DIALECT_OF_ENDPOINT.values(), *CHAT_DIALECTS}
