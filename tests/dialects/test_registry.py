from masa_node.chat.request import DialectName
from masa_node.dialects.registry import DIALECTS


def test_every_dialect_is_there_under_its_own_name() -> None:
    assert {name: dialect.name for name, dialect in DIALECTS.items()} == {name: name for name in DialectName}
