"""Keys with names: what is kept of one, who holds one, and what it allows."""

import hashlib
import itertools
from contextlib import nullcontext
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.accounts import keys as keys_module
from masa_node.accounts.keys import MAX_RETIRED, KeyRing, KeyRules, NamedKey, made_key, revoked_key
from masa_node.chat.errors import ConfigurationError, Unauthorized
from masa_node.chat.request import Privacy

NOW = 1_800_000_000.0
WORDS: tuple[Literal["local", "trusted"], ...] = ("local", "trusted")


def made(name: str = "alice", rules: KeyRules | None = None, lasts_s: int | None = None) -> tuple[str, NamedKey]:
    text, keys = made_key([], name, rules or KeyRules(), NOW, lasts_s)
    return text, keys[-1]


def test_a_key_is_found_by_its_text_and_by_no_other() -> None:
    text, key = made()
    ring = KeyRing([key, made("bob")[1]])
    assert ring.find(text.encode(), NOW) == key
    others = [text[:-1], text + "x", text.upper(), text.replace("masa", "mesa"), "masa-" + text, key.hash, key.id]
    for other in (*others, "", "masa", "masa-", f"masa-{key.id}", f"masa-{key.id}-"):
        assert ring.find(other.encode(), NOW) is None


@given(st.binary(max_size=100))
def test_whatever_is_offered_is_a_key_or_none(offered: bytes) -> None:
    assert KeyRing([made()[1]]).find(offered, NOW) is None


def test_only_the_hash_of_256_bits_of_chance_is_kept() -> None:
    text, key = made()
    secret = text.removeprefix(f"masa-{key.id}-")
    assert len(secret) == 43
    assert key.hash == hashlib.sha256(text.encode()).hexdigest()
    assert secret not in repr(key)
    assert made()[0] != text


def test_a_key_that_is_over_is_told_so_and_only_to_its_holder() -> None:
    text, key = made(lasts_s=60)
    ring = KeyRing([key])
    assert ring.find(text.encode(), NOW + 59) == key
    with pytest.raises(Unauthorized, match="'alice' has expired"):
        ring.find(text.encode(), NOW + 60)
    assert ring.find(text[:-1].encode(), NOW + 60) is None
    ring.replace(revoked_key([key], "alice", NOW + 1))
    with pytest.raises(Unauthorized, match="'alice' was revoked"):
        ring.find(text.encode(), NOW + 2)


def test_a_key_is_needed_from_the_first_one_on_and_also_when_all_are_gone() -> None:
    ring = KeyRing()
    assert not ring.is_needed
    text, key = made()
    ring.replace([key])
    assert ring.is_needed
    ring.replace(revoked_key([key], "alice", NOW))
    assert ring.is_needed
    ring.replace(None)
    assert ring.is_needed
    assert ring.find(text.encode(), NOW) is None


@pytest.mark.parametrize("name", ["", "owner", "Owner", "-a", "a b", "a,b", "ä", "x" * 33, "a\n", "[red]"])
def test_a_name_that_cannot_be_a_label_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        made(name)
    assert "`" not in refused.value.message  # no type and no pattern: it is read by people


def test_each_change_of_the_keys_is_counted() -> None:
    ring = KeyRing()
    versions = [ring.version]
    for keys in ([made()[1]], [made()[1]], [], None):
        ring.replace(keys)
        versions.append(ring.version)
    assert [after - before for before, after in itertools.pairwise(versions)] == [1, 1, 1, 1]


def test_the_rules_of_a_name_are_those_of_the_key_that_has_it_now() -> None:
    """The other one has expired, and was not revoked."""
    _, keys = made_key([], "alice", KeyRules(("old",)), NOW, 1)
    _, keys = made_key(keys, "alice", KeyRules(("new",)), NOW + 2)
    ring = KeyRing(keys)
    assert [ring.allows(name, model) for name in ("alice", "bob") for model in ("old", "new")] == [
        False,
        True,
        False,
        False,
    ]
    ring.replace(revoked_key(keys, "alice", NOW + 2))
    assert not ring.allows("alice", "new")


def test_a_ring_says_whether_the_tokens_of_any_key_are_limited() -> None:
    unlimited, limited = made("alice")[1], made("bob", KeyRules(tokens_per_day=1))[1]
    assert [KeyRing(keys).has_daily_limits for keys in (None, [unlimited], [unlimited, limited])] == [
        False,
        False,
        True,
    ]


def test_a_key_allows_nothing_of_an_owner_unless_it_says_so() -> None:
    assert not KeyRules().is_admin
    assert not made()[1].rules.is_admin


@pytest.mark.parametrize(
    "rules",
    [
        *(KeyRules(rpm=rpm) for rpm in (-1, 0, 1_000_001)),
        *(KeyRules(tokens_per_day=tokens) for tokens in (-1, 0, 2**53 + 1)),
        *(KeyRules(concurrent=many) for many in (-1, 0, 1_000_001)),
        *(KeyRules(patterns) for patterns in (("",), ("m" * 257,), ("m",) * 65)),
        *(KeyRules(privacy=word) for word in ("any", "", "LOCAL")),  # type: ignore[arg-type]
    ],
    ids=repr,
)
def test_limits_that_mean_nothing_are_refused(rules: KeyRules) -> None:
    with pytest.raises(ConfigurationError):
        made(rules=rules)


@pytest.mark.parametrize(
    "rules",
    [
        *(KeyRules(rpm=rpm) for rpm in (1, 1_000_000)),
        *(KeyRules(tokens_per_day=tokens) for tokens in (1, 2**53)),
        *(KeyRules(concurrent=many) for many in (1, 1_000_000)),
        *(KeyRules(patterns) for patterns in (("m",), ("m" * 256,), ("m",) * 64)),
        *(KeyRules(privacy=word) for word in WORDS),
    ],
    ids=repr,
)
def test_limits_are_kept_up_to_their_bounds(rules: KeyRules) -> None:
    assert made(rules=rules)[1].rules == rules


@pytest.mark.parametrize(("at_unix_s", "is_a_time"), [(-1, False), (0, True), (2**40, True), (2**40 + 1, False)])
def test_a_key_is_made_at_a_time_that_clocks_can_have(at_unix_s: int, is_a_time: object) -> None:
    with nullcontext() if is_a_time else pytest.raises(ConfigurationError):
        assert made_key([], "alice", KeyRules(), at_unix_s)[1][0].made_at_unix_s == at_unix_s


def test_a_name_can_be_given_again_once_its_key_is_over() -> None:
    _, keys = made_key([], "alice", KeyRules(), NOW)
    with pytest.raises(ConfigurationError, match="already"):
        made_key(keys, "alice", KeyRules(), NOW)
    text, keys = made_key(revoked_key(keys, "alice", NOW), "alice", KeyRules(), NOW)
    assert [key.revoked_at_unix_s is None for key in keys] == [False, True]
    assert KeyRing(keys).find(text.encode(), NOW) == keys[-1]


def test_keys_are_bounded_and_so_are_those_that_are_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "MAX_KEYS", 2)
    keys: list[NamedKey] = []
    for _ in range(MAX_RETIRED + 2):
        _, keys = made_key(keys, "a", KeyRules(), NOW)
        keys = revoked_key(keys, "a", NOW)
    assert len(keys) == MAX_RETIRED + 1
    for name in ("b", "c"):
        _, keys = made_key(keys, name, KeyRules(), NOW)
    with pytest.raises(ConfigurationError, match="2 keys are in force"):
        made_key(keys, "d", KeyRules(), NOW)


def test_256_keys_may_be_in_force_and_256_that_are_over_are_known() -> None:
    in_force = [NamedKey(f"k{number}", f"{number:08x}", "0" * 64, 0) for number in range(256)]
    with pytest.raises(ConfigurationError, match="256 keys are in force"):
        made_key(in_force, "alice", KeyRules(), NOW)
    over = [msgspec.structs.replace(key, revoked_at_unix_s=1) for key in [made()[1], *in_force]]
    _, keys = made_key([*over, *in_force[:255]], "alice", KeyRules(), NOW)
    assert keys[:-1] == [*over[1:], *in_force[:255]], "the oldest that is over has gone"


def test_revoking_a_key_leaves_all_others_as_they_are() -> None:
    over = revoked_key([made()[1]], "alice", NOW - 60)[0]
    alice, bob = made()[1], made("bob")[1]
    revoked = msgspec.structs.replace(alice, revoked_at_unix_s=int(NOW))
    assert revoked_key([over, bob, alice], "alice", NOW) == [over, bob, revoked]


def test_only_a_key_in_force_can_be_revoked() -> None:
    _, key = made(lasts_s=60)
    for keys, at in (([], NOW), ([key], NOW + 61), (revoked_key([key], "alice", NOW), NOW)):
        with pytest.raises(ConfigurationError, match="no key 'alice'"):
            revoked_key(keys, "alice", at)


@pytest.mark.parametrize(
    ("patterns", "names", "is_allowed"),
    [
        ((), ("anything",), True),
        (("llama*", "qwen3"), ("llama3.2",), True),
        (("llama*", "qwen3"), ("qwen3",), True),
        (("llama*", "qwen3"), ("qwen3:8b",), False),
        (("fast",), ("fast", "gpt-4o"), True),
        (("a[bc]",), ("a[bc]",), True),
        (("a[bc]",), ("ab",), False),
        (("a?",), ("ab",), False),
        (("a?",), ("a?",), True),
        (("*",), ("",), True),
        (("M",), ("m",), False),
    ],
)
def test_a_key_allows_the_models_that_it_names(
    patterns: tuple[str, ...], names: tuple[str, ...], is_allowed: object
) -> None:
    assert KeyRules(patterns).allows(*names) is is_allowed


def test_a_key_can_only_tighten_privacy() -> None:
    assert KeyRules(privacy="local").ceiling(Privacy.ANY) is Privacy.LOCAL
    assert KeyRules(privacy="trusted").ceiling(Privacy.LOCAL) is Privacy.LOCAL
    assert KeyRules(privacy="trusted").ceiling(Privacy.ANY) is Privacy.TRUSTED
    assert KeyRules().ceiling(Privacy.TRUSTED) is Privacy.TRUSTED
