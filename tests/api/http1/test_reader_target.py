"""The target of a request: a path as it came, or nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.api.http1.reader import path_and_query

HERE = [(b"accept", b"*/*"), (b"host", b"Localhost:80")]


@pytest.mark.parametrize("target", [b"/", b"/a?b", b"//a", b"/%2e%2e/", b"/a?http://x/", b"/*"])
def test_a_path_is_left_as_it_came(target: bytes) -> None:
    assert path_and_query(target, b"GET", HERE) == target


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"http://localhost:80/a?b", b"/a?b"),
        (b"HTTPS://LOCALHOST:80", b"/"),
        (b"http://localhost:80?b", b"/?b"),
        (b"http://localhost:80//x", b"//x"),
    ],
)
def test_a_url_of_this_host_is_its_path(target: bytes, path: bytes) -> None:
    assert path_and_query(target, b"GET", HERE) == path


@pytest.mark.parametrize(
    "target",
    [
        b"",
        b"a",
        b"*",
        b"/#",
        b"http://",
        b"http:/x",
        b"http://localhost/",
        b"http://x@localhost:80/",
        b"ftp://localhost:80",
    ],
)
def test_anything_else_is_refused(target: bytes) -> None:
    with pytest.raises(ValueError, match=r"target|path"):
        path_and_query(target, b"GET", HERE)


def test_a_url_needs_just_one_host_to_be_compared_with() -> None:
    for headers in ([], HERE + HERE):
        with pytest.raises(ValueError, match="host"):
            path_and_query(b"http://localhost:80/", b"GET", headers)


def test_the_asterisk_is_for_options_only() -> None:
    assert path_and_query(b"*", b"OPTIONS", HERE) == b"*"


@given(st.binary(max_size=40))
def test_what_is_accepted_begins_with_a_slash(target: bytes) -> None:
    try:
        path = path_and_query(target, b"GET", HERE)
    except ValueError:
        return
    assert path.startswith(b"/")
    assert b"#" not in path
