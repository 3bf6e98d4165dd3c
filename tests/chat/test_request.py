import pytest

from masa_node.chat.request import DIALECT_OF_DOOR, DOOR_PATHS, Ask, DialectName, Door, RequestId


def an_ask() -> Ask:
    return Ask(
        RequestId("r"),
        Door.OPENAI_CHAT,
        "m",
        wants_stream=True,
        body=b"{}",
        headers=(),
        first_piece_deadline_s=1.0,
        idle_timeout_s=1.0,
    )


def test_an_ask_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        an_ask().body = b"other"  # type: ignore[misc]


@pytest.mark.parametrize("door", Door)
def test_errors_at_every_door_have_a_dialect(door: Door) -> None:
    assert DIALECT_OF_DOOR[door] in DialectName


def test_no_path_belongs_to_two_doors() -> None:
    paths = [path for of_door in DOOR_PATHS.values() for path in of_door]
    assert len(paths) == len(set(paths))


def test_the_products_own_door_has_both_of_its_paths() -> None:
    assert DOOR_PATHS[Door.NATIVE] == ("/api/v1/chat", "/v1/api/chat")
