import pytest

from masa_node.chat.errors import CallerError
from masa_node.chat.query import MAX_QUERY_CHARS, query_to_peer, query_up


@pytest.mark.parametrize(
    "raw", [b"a=" + b"x" * MAX_QUERY_CHARS, b'a="b"', b"a=<b>", b"a=\\b", b"a={b}", b"a=\xfc", b"a b"]
)
def test_a_query_that_no_url_can_hold_is_refused(raw: bytes) -> None:
    with pytest.raises(CallerError, match="query"):
        query_up(raw)


@pytest.mark.parametrize(
    ("query", "crosses"),
    [
        ("beta=true", "beta=true"),
        ("api-version=1&beta=true&model=x", "beta=true"),
        ("beta=a%2Fb", ""),
        ("beta=" + "x" * 33, ""),
        ("", ""),
    ],
)
def test_exactly_the_mark_of_a_beta_crosses_to_a_peer(query: str, crosses: str) -> None:
    assert query_to_peer(query) == crosses


@pytest.mark.parametrize(
    "part", ["api_base=x", "url=x", "Proxy=x", "x=http://evil", "x=%2F%2Fevil", "x=%252F%252Fevil", "ho%73t=x"]
)
def test_what_could_move_an_upstream_goes_nowhere(part: str) -> None:
    assert query_up(f"{part}&beta=true".encode()) == "beta=true"


@pytest.mark.parametrize(
    "part", ["model=x", "Model=x", "mo%64el=x", "model", "deployment_id=x", "engine=x", "user_model=x"]
)
def test_what_could_name_another_model_than_the_body_goes_nowhere(part: str) -> None:
    assert query_up(f"{part}&api-version=1".encode()) == "api-version=1"


@pytest.mark.parametrize("part", ["model=x", "api_key=x", "api_base=x", "y=//evil"])
def test_what_stands_behind_a_semicolon_is_looked_at_too(part: str) -> None:
    assert query_up(f"x=1;{part}&beta=true;x=2".encode()) == "beta=true;x=2"
