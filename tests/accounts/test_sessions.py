"""Tokens and sessions of the console: used once, over in time, few, and known by their hash alone."""

import itertools
import re

import pytest

from masa_node.accounts.sessions import (
    MAX_SESSIONS,
    MAX_TOKENS,
    PREFIX,
    SESSION_LASTS_S,
    TOKEN_LASTS_S,
    Session,
    Sessions,
    hash_of,
)
from masa_node.chat.errors import Unauthorized

NOW = 1_800_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now_unix_s = NOW

    def __call__(self) -> float:
        return self.now_unix_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(clock: Clock) -> Sessions:
    return Sessions(clock)


def offered(sessions: Sessions, token: str = "token", at_unix_s: float = NOW) -> bool:
    return sessions.offer(hash_of(token.encode()), at_unix_s)


def begun(sessions: Sessions, token: str = "token") -> tuple[bytes, Session]:
    assert offered(sessions, token)
    text, session = sessions.exchange(token)
    return text.encode(), session


def test_a_token_gives_a_session_of_twelve_hours(sessions: Sessions, clock: Clock) -> None:
    text, session = begun(sessions)
    assert (sessions.find(text), session.expires_at_unix_s) == (session, NOW + SESSION_LASTS_S)
    clock.now_unix_s += SESSION_LASTS_S - 1
    assert sessions.find(text) is session
    clock.now_unix_s += 1
    assert sessions.find(text) is None
    assert not sessions.is_in_force(session)


def test_what_is_promised_of_tokens_and_sessions() -> None:
    assert (TOKEN_LASTS_S, SESSION_LASTS_S, MAX_TOKENS, MAX_SESSIONS) == (60, 43_200, 16, 64)


def test_a_session_is_named_by_64_bits_and_known_by_256_of_chance(sessions: Sessions) -> None:
    text, session = begun(sessions)
    others, found = begun(sessions)
    assert re.fullmatch(rb"masa-session-([0-9a-f]{16})-[A-Za-z0-9_-]{43}", text)
    assert text.split(b"-")[2] == session.id.encode()
    assert (others[-43:] != text[-43:], found.id != session.id) == (True, True)


def test_a_token_is_used_once(sessions: Sessions) -> None:
    begun(sessions)
    with pytest.raises(Unauthorized, match="masa-node console"):
        sessions.exchange("token")


def test_a_token_is_good_for_a_minute(sessions: Sessions, clock: Clock) -> None:
    assert offered(sessions)
    clock.now_unix_s += TOKEN_LASTS_S
    with pytest.raises(Unauthorized, match="older than 60 s"):
        sessions.exchange("token")
    assert not offered(sessions, at_unix_s=NOW), "read too late"


def test_a_clock_that_was_ahead_gives_no_token_more_time(sessions: Sessions, clock: Clock) -> None:
    assert offered(sessions, at_unix_s=NOW + 3_600)
    clock.now_unix_s += TOKEN_LASTS_S
    with pytest.raises(Unauthorized):
        sessions.exchange("token")


@pytest.mark.parametrize("guess", ["", "Token", "token ", "tokentoken", hash_of(b"token"), "\u2603"])
def test_a_guess_is_no_token_and_spends_none(sessions: Sessions, guess: str) -> None:
    offered(sessions)
    with pytest.raises(Unauthorized):
        sessions.exchange(guess)
    assert sessions.exchange("token")


def test_a_session_is_only_found_by_its_whole_text(sessions: Sessions) -> None:
    text, session = begun(sessions)
    parts = text.rpartition(b"-")
    wrong = [b"", text[:-1], text + b"x", parts[0] + b"-", PREFIX, PREFIX + b"-", session.hash.encode(), text.upper()]
    wrong += [PREFIX + session.id.encode() + b"-" + b"x" * 43, b"\xff" * 99, PREFIX + b"\xff-\xff"]
    assert [sessions.find(each) for each in wrong] == [None] * len(wrong)
    assert sessions.find(text) is session


def test_a_session_that_was_ended_is_over(sessions: Sessions) -> None:
    text, session = begun(sessions)
    sessions.end(session)
    sessions.end(session)
    assert (sessions.find(text), bool(sessions)) == (None, False)


def test_another_start_knows_none(sessions: Sessions) -> None:
    text, _ = begun(sessions)
    assert Sessions().find(text) is None


def test_neither_tokens_nor_sessions_become_many(sessions: Sessions) -> None:
    texts = [begun(sessions, str(number))[0] for number in range(MAX_SESSIONS + 5)]
    assert [sessions.find(each) is not None for each in texts] == [False] * 5 + [True] * MAX_SESSIONS
    for number in range(MAX_TOKENS + 1):
        offered(sessions, f"late {number}")
    with pytest.raises(Unauthorized):
        sessions.exchange("late 0")
    assert all(sessions.exchange(f"late {number}") for number in range(1, MAX_TOKENS + 1))


def test_only_hashes_are_kept(sessions: Sessions) -> None:
    text, session = begun(sessions, "first")
    offered(sessions, "second")
    kept = repr([vars(sessions), session])
    secrets = itertools.chain(["first", "second"], [text.decode(), text.decode().rpartition("-")[2]])
    assert not [each for each in secrets if each in kept]
