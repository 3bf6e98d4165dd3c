"""`X-Masa-Race` and `X-Masa-Privacy`: what they may say, and that nothing unclear is taken for anything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.api.route_headers import PRIVACY, RACE, route_of
from masa_node.chat.errors import BadHeader
from masa_node.chat.headers import TO_LLMS
from masa_node.chat.request import Privacy, RaceMode, RaceRule
from masa_node.routing.racing.race import MAX_WIDTH
from tests.api.raw_http import ask_once, chat, post
from tests.api.serving import ServingNode

RULE = RaceRule(RaceMode.ALL, 64)
RACE_NAME, PRIVACY_NAME = RACE.lower().encode(), PRIVACY.lower().encode()


def race(value: bytes) -> RaceRule:
    return route_of([(b"host", b"h"), (RACE_NAME, value)], RULE, Privacy.ANY)[0]


def privacy(value: bytes, ceiling: Privacy = Privacy.ANY) -> Privacy:
    return route_of([(PRIVACY_NAME, value)], RULE, ceiling)[1]


@pytest.mark.parametrize(
    ("ceiling", "value", "holds"),
    [
        (Privacy.LOCAL, b"local", Privacy.LOCAL),
        (Privacy.TRUSTED, b"local", Privacy.LOCAL),
        (Privacy.TRUSTED, b"trusted", Privacy.TRUSTED),
        (Privacy.ANY, b"local", Privacy.LOCAL),
        (Privacy.ANY, b"trusted", Privacy.TRUSTED),
        (Privacy.ANY, b"any", Privacy.ANY),
    ],
)
def test_a_request_may_tighten_the_nodes_privacy(ceiling: Privacy, value: bytes, holds: Privacy) -> None:
    assert privacy(value, ceiling) is holds


@pytest.mark.parametrize(
    ("ceiling", "value"), [(Privacy.LOCAL, b"trusted"), (Privacy.LOCAL, b"any"), (Privacy.TRUSTED, b" ANY ")]
)
def test_a_request_cannot_loosen_it_and_is_told_so(ceiling: Privacy, value: bytes) -> None:
    with pytest.raises(BadHeader, match=f"looser than PRIVACY={ceiling}"):
        privacy(value, ceiling)


def test_without_them_the_settings_hold() -> None:
    headers = [(b"x-masa-via", b"x"), (b"x-masa-other", b"x")]
    assert route_of(headers, RULE, Privacy.TRUSTED) == (RULE, Privacy.TRUSTED)


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (b"all", RaceRule(RaceMode.ALL, 64)),
        (b"hedge", RaceRule(RaceMode.HEDGE, 64)),
        (b" Hedge ; Width = 3 ", RaceRule(RaceMode.HEDGE, 3)),
        (b"ALL;width=1", RaceRule(RaceMode.ALL, 1)),
        (b"all;width=%d" % MAX_WIDTH, RaceRule(RaceMode.ALL, MAX_WIDTH)),
        (b"all;width=007", RaceRule(RaceMode.ALL, 7)),
    ],
)
def test_what_it_may_say_of_the_race(value: bytes, rule: RaceRule) -> None:
    assert race(value) == rule


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"first",
        b"all,hedge",
        b"all;",
        b"all;width",
        b"all;width=",
        b"all;width=0",
        b"all;width=-1",
        b"all;width=1.5",
        b"all;width=%d" % (MAX_WIDTH + 1),
        b"all;width=99999999999999999999",
        b"all;width=3;width=3",
        b"all;depth=3",
        b"width=3",
        "all;width=²".encode("latin-1"),
    ],
)
def test_anything_else_is_an_error_that_says_what_it_may_be(value: bytes) -> None:
    with pytest.raises(BadHeader, match=r"X-Masa-Race: .* all or hedge, .*;width=n with n from 1 to 1000"):
        race(value)


@pytest.mark.parametrize(("value", "meant"), [(b"local", "local"), (b" Trusted", "trusted"), (b"ANY ", "any")])
def test_what_it_may_say_of_privacy(value: bytes, meant: str) -> None:
    assert privacy(value) == meant


@pytest.mark.parametrize("value", [b"", b"none", b"locla", b"any, local", b"local;x=1", b"\xff"])
def test_a_misspelt_privacy_is_an_error(value: bytes) -> None:
    with pytest.raises(BadHeader, match=r"X-Masa-Privacy: .* local, trusted, any"):
        privacy(value)


@pytest.mark.parametrize("name", [RACE_NAME, PRIVACY_NAME])
def test_a_header_that_is_there_twice_is_an_error_even_if_both_agree(name: bytes) -> None:
    value = b"all" if name == RACE_NAME else b"any"
    with pytest.raises(BadHeader, match="sent twice"):
        route_of([(name, value), (name, value)], RULE, Privacy.ANY)


@given(st.binary(max_size=40))
def test_any_bytes_are_understood_or_refused(value: bytes) -> None:
    for read in (race, privacy):
        try:
            read(value)
        except BadHeader as refused:
            assert len(refused.message) < 400  # noqa: PT017 - the message, not that it is raised, is the fact here


def test_they_are_not_passed_up() -> None:
    assert not {RACE_NAME.decode(), PRIVACY_NAME.decode()} & TO_LLMS


async def test_a_node_takes_them_and_refuses_what_it_does_not_understand(node: ServingNode) -> None:
    well = await ask_once(node.port, post(chat(), b"X-Masa-Race: hedge;width=2\r\nX-Masa-Privacy: local\r\n"))
    assert (well.status, well.header("x-masa-served-by")) == (200, "local")
    bad = await ask_once(node.port, post(chat(), b"X-Masa-Privacy: secret\r\n"))
    assert (bad.status, bad.json()["error"]["code"]) == (400, "bad_header")  # type: ignore[index]
