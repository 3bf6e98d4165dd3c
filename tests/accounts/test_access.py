"""What the HTTP side asks about callers: whose key it is, and what they may have."""

import time
from pathlib import Path
from unittest.mock import AsyncMock

import msgspec
import pytest
from structlog.testing import capture_logs

from masa_node.accounts import key_file, ledger
from masa_node.accounts.access import KEYS_OWNER, OWNERS, Access, Caller, LetInBy
from masa_node.accounts.key_file import change_keys
from masa_node.accounts.keys import KeyRules, NamedKey, made_key
from masa_node.accounts.ledger import Ledger
from masa_node.accounts.sessions import hash_of
from masa_node.accounts.usage import DAY_S
from masa_node.chat.errors import ConfigurationError, Unauthorized
from masa_node.chat.key_errors import KeyLimited, KeyRefused, KeySpent
from masa_node.chat.owner_errors import ChangeRefused
from masa_node.chat.request import OWNER, Endpoint, Privacy, Request, RequestId
from tests.fakes.outcomes import outcome

NOW = 1_800_000_000.0
ALICE = NamedKey("alice", "0" * 8, "0" * 64, 0, KeyRules(("m", "fast"), rpm=2, privacy="local"))
ADMIN = NamedKey("root", "1" * 8, "0" * 64, 0, KeyRules(is_admin=True))


def asked(model: str = "m", alias: str = "") -> Request:
    return Request(
        request_id=RequestId("r"),
        endpoint=Endpoint.OPENAI_CHAT,
        model=model,
        wants_stream=False,
        body=b"{}",
        headers=(),
        first_piece_deadline_s=0.0,
        idle_timeout_s=1.0,
        alias=alias,
    )


def test_by_what_a_caller_is_let_in_is_told_in_these_words() -> None:
    assert ",".join(LetInBy) == "session,api_key,key,local"


def test_the_owner_may_do_everything() -> None:
    OWNERS.check_owner()
    assert (OWNERS.name, OWNERS.is_owner, OWNERS.allows("any"), OWNERS.allows_all) == (OWNER, True, True, True)
    assert OWNERS.ceiling(Privacy.ANY) is Privacy.ANY


def test_a_key_with_a_name_may_do_what_it_allows() -> None:
    alice = Caller(ALICE)
    assert (alice.name, alice.is_owner, alice.allows("m"), alice.allows("n")) == ("alice", False, True, False)
    assert (alice.allows_all, Caller(ADMIN).allows_all) == (False, True)
    assert alice.ceiling(Privacy.ANY) is Privacy.LOCAL
    with pytest.raises(KeyRefused, match="'alice' may not see this"):
        alice.check_owner()
    Caller(ADMIN).check_owner()


async def test_the_owner_has_no_limits_and_leaves_nothing_behind() -> None:
    access = Access()
    for _ in range(3):
        access.enter(OWNERS, asked("anything"))
        access.leave(OWNERS)


async def test_a_key_is_limited_by_model_alias_and_rate() -> None:
    access, alice = Access(), Caller(ALICE)
    with pytest.raises(KeyRefused, match="does not allow the model 'gpt'"):
        access.enter(alice, asked("gpt"))
    with pytest.raises(KeyRefused, match="does not allow the model 'slow'"):
        access.enter(alice, asked("gpt", alias="slow"))
    for request in (asked("m"), asked("gpt", alias="fast")):
        access.enter(alice, request)
        access.leave(alice)
    with pytest.raises(KeyLimited):
        access.enter(alice, asked("m"))


async def test_each_request_that_ends_makes_room_for_another() -> None:
    access, caller = Access(), Caller(msgspec.structs.replace(ALICE, rules=KeyRules(concurrent=1)))
    for _ in range(2):
        access.enter(caller, asked())
        with pytest.raises(KeyLimited):
            access.enter(caller, asked())
        access.leave(caller)


async def test_a_request_that_has_not_begun_after_all_counts_for_nothing() -> None:
    access, caller = Access(), Caller(msgspec.structs.replace(ALICE, rules=KeyRules(rpm=1, concurrent=1)))
    for each in (caller, caller, OWNERS):
        access.enter(each, asked())
        access.undo(each)
    access.enter(caller, asked())
    with pytest.raises(KeyLimited):
        access.enter(caller, asked())


async def test_without_a_folder_there_are_no_keys() -> None:
    access = Access()
    access.start()
    assert not access.is_needed
    assert access.find(b"masa-00000000-x") is None
    await access.run()


def test_keys_are_there_before_the_first_request(tmp_path: Path) -> None:
    text = change_keys(tmp_path, lambda keys: made_key(keys, "alice", KeyRules(), NOW, 60))
    now_unix_s = NOW
    access = Access(tmp_path, lambda: now_unix_s)
    access.start()
    assert access.is_needed
    caller = access.find(text.encode())
    assert caller is not None
    assert caller.name == "alice"
    now_unix_s += 61
    with pytest.raises(Unauthorized):
        access.find(text.encode())


def test_keys_that_cannot_be_read_stop_the_start(tmp_path: Path) -> None:
    (tmp_path / key_file.FILE_NAME).write_text("no keys")
    with pytest.raises(ConfigurationError):
        Access(tmp_path).start()


async def test_a_ledger_that_cannot_be_read_costs_nobody_the_day(tmp_path: Path) -> None:
    change_keys(tmp_path, lambda keys: made_key(keys, "alice", KeyRules(tokens_per_day=1), NOW))
    (tmp_path / ledger.FILE_NAME).write_bytes(b"x" * 4_096)
    access = Access(tmp_path, lambda: NOW)
    access.start()
    with capture_logs() as lines:
        await access._load_used(tmp_path)
    assert [line["event"] for line in lines] == ["keys begin the day with all of their tokens"]


async def started(masa_dir: Path, monkeypatch: pytest.MonkeyPatch, rules: dict[str, KeyRules]) -> Access:
    """With these keys, up to where it would wait for the next change of them."""
    for name, each in rules.items():
        change_keys(masa_dir, lambda keys, name=name, each=each: made_key(keys, name, each, NOW))  # type: ignore[misc]
    monkeypatch.setattr(key_file.KeyWatch, "run", AsyncMock())
    access = Access(masa_dir, lambda: NOW)
    access.start()
    with capture_logs() as lines:
        await access.run()
    assert lines == []
    return access


async def test_what_was_used_of_the_day_is_gone_after_a_restart_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = outcome(key="silent", input_tokens=None, output_tokens=None)
    for at_unix_s, used in ((NOW - DAY_S, outcome(key="rested")), (NOW, outcome(key="spent")), (NOW, silent)):
        ledger_then = Ledger(tmp_path / ledger.FILE_NAME)
        ledger_then.observe(msgspec.structs.replace(used, ended_at_unix_ns=int(at_unix_s) * 10**9))
        await ledger_then._finish()
    used = 7 + 5
    limits = {"spent": used, "rested": 1, "silent": 1}
    names = {name: KeyRules(tokens_per_day=limit) for name, limit in limits.items()}
    access = await started(tmp_path, monkeypatch, names)
    for name in ("rested", "silent"):
        access.enter(Caller(NamedKey(name, "0" * 8, "0" * 64, 0, names[name])), asked())
    spent = NamedKey("spent", "0" * 8, "0" * 64, 0, names["spent"])
    with pytest.raises(KeySpent):
        access.enter(Caller(spent), asked())
    access.enter(Caller(msgspec.structs.replace(spent, rules=KeyRules(tokens_per_day=used + 1))), asked())


async def test_the_ledger_is_only_read_where_a_key_has_a_limit_of_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ledger.FILE_NAME).write_bytes(b"x" * 4_096)
    await started(tmp_path, monkeypatch, {"alice": KeyRules(rpm=1)})


async def test_another_version_tells_that_the_keys_were_read(tmp_path: Path) -> None:
    change_keys(tmp_path, lambda keys: made_key(keys, "alice", KeyRules(), NOW))
    access = Access(tmp_path)
    versions = [access.version]
    for _ in range(2):
        access.start()
        versions.append(access.version)
    assert len(set(versions)) == 3


async def test_outcomes_are_counted_against_the_tokens_of_the_day() -> None:
    access = Access(now_unix_s=lambda: NOW)
    caller = Caller(NamedKey("alice", "0" * 8, "0" * 64, 0, KeyRules(tokens_per_day=12)))
    access.enter(caller, asked())
    access.observe(outcome(key="alice"))
    with pytest.raises(KeySpent):
        access.enter(caller, asked())


# ---- what changes the node ----


def test_neither_a_local_caller_nor_a_key_of_programs_may_change_the_node() -> None:
    for caller in (OWNERS, KEYS_OWNER, Caller(ALICE, LetInBy.KEY)):
        assert not caller.may_change
        with pytest.raises(ChangeRefused, match="masa-node console"):
            caller.check_may_change()


def test_a_session_and_a_key_with_admin_may() -> None:
    access = Access()
    access.sessions.offer(hash_of(b"token"), time.time())
    text, session = access.sessions.exchange("token")
    caller = access.in_session(text.encode())
    assert caller == Caller(by=LetInBy.SESSION, session=session)
    assert (caller.is_owner, caller.name, caller.expires_at_unix_s) == (True, OWNER, session.expires_at_unix_s)
    caller.check_may_change()
    Caller(ADMIN, LetInBy.KEY).check_may_change()
    assert access.is_in_force(caller)
    access.sessions.end(session)
    assert (access.is_in_force(caller), access.in_session(text.encode())) == (False, None)


def test_a_caller_is_in_force_as_long_as_the_key() -> None:
    access = Access(now_unix_s=lambda: NOW)
    over = msgspec.structs.replace(ALICE, expires_at_unix_s=int(NOW))
    assert [access.is_in_force(each) for each in (OWNERS, Caller(ALICE), Caller(over))] == [True, True, False]
    assert (Caller(over).expires_at_unix_s, OWNERS.expires_at_unix_s) == (int(NOW), None)
