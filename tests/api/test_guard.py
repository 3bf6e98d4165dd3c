"""Who may come in, decision by decision: keys, hosts and origins, without a server around them."""

import contextlib
import hmac
import socket
import time
from pathlib import Path
from unittest import mock

import msgspec
import pytest

from masa_node.accounts.access import KEYS_OWNER, OWNERS, Access, Caller, LetInBy
from masa_node.accounts.key_file import change_keys
from masa_node.accounts.keys import KeyRules, made_key, revoked_key
from masa_node.accounts.sessions import hash_of
from masa_node.api.guard import MAX_REMEMBERED_HOSTS, Guard, GuardRules
from masa_node.chat.errors import BadHost, ConfigurationError, HostRefused, OriginRefused, Unauthorized

Headers = list[tuple[bytes, bytes]]


def guard(*keys: str, hosts: tuple[str, ...] = (), origins: tuple[str, ...] = ()) -> Guard:
    return Guard(GuardRules(keys, hosts, origins))


# ---- keys ----


def test_without_keys_nobody_needs_one() -> None:
    assert guard().check_key(b"/v1/models", []) is OWNERS


PROBES = (b"/", b"/healthz", b"/readyz", b"/health", b"/v1/health")
OF_THE_CONSOLE = (b"/console", b"/console/", b"/console/app.js", b"/api/v1/console/session")


@pytest.mark.parametrize("path", [*PROBES, *OF_THE_CONSOLE])
def test_probes_are_let_in_and_nobody_looked_at_their_key(path: bytes) -> None:
    assert guard("key").check_key(path, []) is None
    assert guard("key").check_key(path, [(b"x-api-key", b"wrong")]) is None


OF_NOBODY = (b"", b"/x", b"/healthz/", b"/healthzx", b"/consolex", b"/api/v1/console/session/", b"/x/console/")


@pytest.mark.parametrize("path", [*OF_NOBODY, b"/metrics", b"/v1/models", b"/api/v1/peers"])
def test_everything_else_needs_one(path: bytes) -> None:
    with pytest.raises(Unauthorized, match="needs an API key"):
        guard("key").check_key(path, [])


@pytest.mark.parametrize(
    "headers",
    [
        [(b"x-api-key", b"second")],
        [(b"authorization", b"Bearer second")],
        [(b"authorization", b"bEaReR   second  ")],
        [(b"x-api-key", b"wrong"), (b"authorization", b"Bearer second")],
        [(b"authorization", b"Bearer wrong"), (b"x-api-key", b"second")],
        [(b"x-api-key", b"wrong"), (b"x-api-key", b"second")],
    ],
)
def test_any_of_the_keys_lets_in(headers: Headers) -> None:
    assert guard("first", "second", "third").check_key(b"/v1/models", headers) is KEYS_OWNER


@pytest.mark.parametrize(
    "headers",
    [
        [(b"x-api-key", b"")],
        [(b"x-api-key", b"ke")],
        [(b"x-api-key", b"keys")],
        [(b"x-api-key", b"Bearer key")],
        [(b"x-other", b"key")],
        [(b"authorization", b"key")],
        [(b"authorization", b"Basic key")],
        [(b"authorization", b"Bearer")],
        [(b"authorization", b"Bearerkey")],
        [(b"authorization", b"Bearer key"), (b"authorization", b"Bearer key")],
        [(b"authorization", b"Bearer key"), (b"authorization", b"Bearer wrong")],
    ],
)
def test_what_is_not_exactly_a_key_lets_nobody_in(headers: Headers) -> None:
    with pytest.raises(Unauthorized):
        guard("key").check_key(b"/v1/models", headers)


def test_all_keys_are_compared_whichever_is_right() -> None:
    it = guard("first", "second", "third")
    for offered in (b"first", b"third"):
        with mock.patch.object(hmac, "compare_digest", side_effect=hmac.compare_digest) as compared:
            assert it.check_key(b"/v1/models", [(b"x-api-key", offered)])
        assert compared.call_count == 3


@pytest.mark.parametrize("key", ["a\nb", "\x1b", "Bearer key", "bearer key", "BEARER x"])
def test_a_key_that_no_caller_could_send_is_refused_at_the_start(key: str) -> None:
    with pytest.raises(ConfigurationError, match="API_KEY"):
        guard("good", key)


def test_a_key_that_only_looks_like_it_is_taken() -> None:
    assert guard("bearer").check_key(b"/x", [(b"x-api-key", b"bearer")])


# ---- keys with names ----


@pytest.fixture
def alices(tmp_path: Path) -> bytes:
    """The key of alice, which is in this folder."""
    made = change_keys(tmp_path, lambda keys: made_key(keys, "alice", KeyRules(("llama*",)), 1e9))
    return made.encode()


@pytest.fixture
def access(tmp_path: Path, alices: bytes) -> Access:
    access = Access(tmp_path)
    access.start()
    return access


@pytest.mark.parametrize("keys", [(), ("key",)])
def test_a_key_with_a_name_lets_in_and_says_whose_it_is(access: Access, alices: bytes, keys: tuple[str, ...]) -> None:
    it = Guard(GuardRules(keys), access)
    for header in ((b"x-api-key", alices), (b"authorization", b"Bearer " + alices)):
        caller = it.check_key(b"/v1/models", [header])
        assert caller is not None
        assert (caller.name, caller.is_owner) == ("alice", False)


def test_beside_keys_with_names_those_of_the_setting_are_the_owners(access: Access) -> None:
    assert Guard(GuardRules(("key",)), access).check_key(b"/v1/models", [(b"x-api-key", b"key")]) is KEYS_OWNER


def test_where_there_are_keys_with_names_a_key_is_needed(access: Access, alices: bytes) -> None:
    it = Guard(GuardRules(), access)
    for headers in ([], [(b"x-api-key", alices[:-1])], [(b"x-api-key", b"")]):
        with pytest.raises(Unauthorized):
            it.check_key(b"/v1/models", headers)
    assert it.check_key(b"/healthz", []) is None


def test_whoever_was_let_in_still_is_until_the_keys_change_or_theirs_is_over(
    tmp_path: Path, access: Access, alices: bytes
) -> None:
    it = Guard(GuardRules(("key",)), access)
    version = it.keys_version
    alice = it.check_key(b"/v1/models", [(b"x-api-key", alices)])
    assert alice is not None
    assert it.still_takes(alice, version) is True
    assert it.still_takes(OWNERS, version) is True
    assert not it.still_takes(alice, version - 1)
    assert not it.still_takes(OWNERS, version - 1)
    assert alice.key is not None
    over = Caller(msgspec.structs.replace(alice.key, revoked_at_unix_s=1))
    assert not it.still_takes(over, version)
    change_keys(tmp_path, lambda keys: (None, revoked_key(keys, "alice", 1e9)))
    access.start()
    assert it.keys_version != version


def test_of_a_key_with_a_name_the_hash_is_compared_in_constant_time(access: Access, alices: bytes) -> None:
    it = Guard(GuardRules(), access)
    for offered in (alices, alices[:-1] + b"x", b"masa-00000000-x", b"other"):
        with mock.patch.object(hmac, "compare_digest", side_effect=hmac.compare_digest) as compared:
            with contextlib.suppress(Unauthorized):
                it.check_key(b"/v1/models", [(b"x-api-key", offered)])
            assert [
                len(left) == len(right) == 64 for left, right in (each.args for each in compared.call_args_list)
            ] == [True]


# ---- sessions of the console ----


@pytest.mark.parametrize("keys", [(), ("key",)])
@pytest.mark.parametrize("path", [b"/v1/models", *PROBES, *OF_THE_CONSOLE])
def test_whoever_has_a_session_is_let_in_by_it_everywhere(keys: tuple[str, ...], path: bytes) -> None:
    access = Access()
    access.sessions.offer(hash_of(b"token"), time.time())
    text, session = access.sessions.exchange("token")
    it, offered = Guard(GuardRules(keys), access), (b"authorization", f"Bearer {text}".encode())
    in_session = Caller(by=LetInBy.SESSION, session=session)
    assert it.check_key(path, [offered]) == in_session
    assert it.check_key(path, [(b"x-api-key", b"wrong"), offered]) == in_session


@pytest.mark.parametrize("is_over", [False, True])
def test_a_session_is_no_way_in_for_others_nor_once_it_is_over(is_over: object) -> None:
    access = Access()
    access.sessions.offer(hash_of(b"token"), time.time())
    text, session = access.sessions.exchange("token")
    offered = text.encode() if is_over else b"wrong"
    if is_over:
        access.sessions.end(session)
    it = Guard(GuardRules(("key",)), access)
    assert it.check_key(b"/v1/models", [(b"x-api-key", b"key")]) is KEYS_OWNER
    for path, headers in ((b"/", []), (b"/console", [(b"x-api-key", offered)])):
        assert it.check_key(path, headers) is None
    for headers in ([], [(b"x-api-key", offered)]):
        with pytest.raises(Unauthorized):
            it.check_key(b"/v1/models", headers)


# ---- Host ----

LOCAL = [b"localhost", b"LOCALHOST:1", b"localhost:65535", b"127.0.0.1", b"[::1]:80", b"192.0.2.7", b"[2001:db8::1]"]
COMPLETE = [b"mine.example.:8080", b"MINE.example.", b"a.svc.cluster.local."]
OF_CONTAINERS = [b"host.docker.internal:8080", b"Host.Containers.internal", b"chat.localhost:3000"]


@pytest.mark.parametrize("host", COMPLETE)
def test_a_dot_behind_a_name_of_the_owners_makes_it_no_other(host: bytes) -> None:
    it = guard(hosts=("mine.example", "*.svc.cluster.local"))
    assert it.check_host_and_origin([(b"host", host)]) is None
    for other in (b"mine.example..", b"evil.example.", b"mine.example.evil.", b"0.0.0.0.", b"localhost."):
        with pytest.raises(HostRefused):
            it.check_host_and_origin([(b"host", other)])


@pytest.mark.parametrize("host", [*LOCAL, *OF_CONTAINERS, socket.gethostname().encode()])
def test_names_that_cannot_be_rebound_are_answered(host: bytes) -> None:
    it = guard()
    assert it.check_host_and_origin([(b"host", host)]) is None
    assert it.check_host_and_origin([(b"host", host)]) is None


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"localhost:65536",
        b"localhost:99999",
        b"a/b",
        b"a b",
        b"[::1",
        b"user@localhost",
        b"a:1:1",
        b".a",
        b"[g::]",
    ],
)
def test_what_is_no_host_is_told_so(host: bytes) -> None:
    with pytest.raises(BadHost, match="malformed"):
        guard().check_host_and_origin([(b"host", host)])


@pytest.mark.parametrize("headers", [[], [(b"x", b"localhost")], [(b"host", b"localhost")] * 2])
def test_there_is_exactly_one_host(headers: Headers) -> None:
    with pytest.raises(BadHost, match="exactly one"):
        guard().check_host_and_origin(headers)


@pytest.mark.parametrize(
    "host",
    [
        *(b"evil.example", b"localhost.evil.example", b"0.0.0.0", b"0.0.0.0:1", b"[::]", b"224.0.0.1", b"[ff02::1]"),
        *(b"[::ffff:0.0.0.0]", b"[::ffff:224.0.0.1]", b"127.1", b"docker.internal", b"x.host.docker.internal"),
    ],
)
def test_other_names_and_addresses_that_are_nobodys_are_refused(host: bytes) -> None:
    it = guard(hosts=("mine.example",))
    for _ in range(2):
        with pytest.raises(HostRefused, match="ALLOWED_HOSTS"):
            it.check_host_and_origin([(b"host", host)])
    it.check_host_and_origin([(b"host", b"mine.example:8")])


def test_good_hosts_are_remembered_and_no_more_than_a_few() -> None:
    it = guard()
    for port in range(1, MAX_REMEMBERED_HOSTS + 10):
        it.check_host_and_origin([(b"host", b"localhost:%d" % port)])
    assert len(it._good_hosts) == MAX_REMEMBERED_HOSTS == 64
    with pytest.raises(HostRefused):
        it.check_host_and_origin([(b"host", b"evil.example")])
    assert len(it._good_hosts) == 64


# ---- Origin ----


def from_page(it: Guard, *origins: bytes, host: bytes = b"localhost:8080") -> bytes | None:
    return it.check_host_and_origin([(b"host", host), *((b"origin", origin) for origin in origins)])


@pytest.mark.parametrize(
    "origin",
    [
        *(b"http://localhost", b"https://localhost:1", b"http://127.0.0.1:3000", b"http://[::1]"),
        *(b"app://anything", b"tauri://localhost", b"vscode-webview://x", b"vscode-file://vscode-app"),
        b"https://chat.example",
    ],
)
def test_pages_of_this_machine_and_allowed_ones_may(origin: bytes) -> None:
    assert from_page(guard(origins=("https://chat.example",)), origin) == origin


@pytest.mark.parametrize(
    "origin",
    [
        *(b"https://evil.example", b"null", b"", b"file://", b"http://localhost.evil.example", b"ftp://localhost"),
        *(b"http://chat.example", b"https://chat.example:444", b"https://other.chat.example", b"http://0.0.0.0"),
        b"http://192.0.2.7",
    ],
)
def test_other_pages_may_not(origin: bytes) -> None:
    with pytest.raises(OriginRefused, match="ALLOWED_ORIGINS"):
        from_page(guard(origins=("https://chat.example",)), origin)


def test_each_origin_that_is_named_has_to_be_a_good_one() -> None:
    it = guard(origins=("https://chat.example",))
    assert from_page(it, b"https://chat.example", b"http://localhost") == b"https://chat.example"
    for both in ((b"https://chat.example", b"https://evil.example"), (b"https://evil.example", b"http://localhost")):
        with pytest.raises(OriginRefused):
            from_page(it, *both)


def test_a_page_of_the_nodes_own_address_may_and_one_of_another_port_or_name_may_not() -> None:
    it = guard(hosts=("mine.example",))
    assert from_page(it, b"http://mine.example:8080", host=b"mine.example:8080")
    assert from_page(it, b"https://mine.example", host=b"mine.example")
    for origin in (b"http://mine.example:81", b"http://mine.example", b"ftp://mine.example:8080"):
        with pytest.raises(OriginRefused):
            from_page(it, origin, host=b"mine.example:8080")
    with pytest.raises(OriginRefused):
        from_page(it, b"http://mine.example:8080", host=b"localhost:8080")


def test_a_long_origin_is_not_repeated_whole() -> None:
    with pytest.raises(OriginRefused) as refused:
        from_page(guard(), b"x" * 5000)
    assert len(refused.value.message) < 300


def fetched(site: bytes, mode: bytes, dest: bytes, *more: tuple[bytes, bytes]) -> Headers:
    said = [(b"sec-fetch-site", site), (b"sec-fetch-mode", mode), (b"sec-fetch-dest", dest)]
    return [(b"host", b"localhost:8080"), *said, *more]


@pytest.mark.parametrize("dest", [b"image", b"script", b"iframe", b"object", b"empty"])
@pytest.mark.parametrize("mode", [b"no-cors", b"navigate"])
def test_a_part_of_a_foreign_page_may_not_ask_although_no_origin_comes_with_it(mode: bytes, dest: bytes) -> None:
    with pytest.raises(OriginRefused, match="pictures"):
        guard().check_host_and_origin(fetched(b"cross-site", mode, dest))


@pytest.mark.parametrize(
    "headers",
    [
        fetched(b"cross-site", b"navigate", b"document"),
        fetched(b"same-origin", b"cors", b"empty"),
        fetched(b"same-site", b"no-cors", b"image"),
        fetched(b"none", b"cors", b"empty"),
        fetched(b"cross-site", b"cors", b"empty", (b"origin", b"http://localhost:3000")),
    ],
)
def test_links_own_pages_and_those_that_say_who_they_are_may(headers: Headers) -> None:
    guard().check_host_and_origin(headers)
