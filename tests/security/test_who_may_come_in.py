"""Key, Host and Origin: decided from the raw request, before anything of it is read or done.

LiteLLM CVE-2026-42208 (a key as SQL), Starlette CVE-2026-48710 and LiteLLM CVE-2026-49468 (auth decided from a path
rebuilt from Host), Ollama CVE-2024-28224 (DNS rebinding), CSRF from a web page.
"""

import hmac
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from masa_node.api.guard import Guard, GuardRules
from masa_node.chat.errors import Unauthorized
from tests.api.raw_http import CHAT, LOCALHOST, Reply, ask_once, chat, get, head, line_to, post
from tests.api.serving import ServingNode
from tests.security.conftest import KEY

RIGHT = b"Authorization: Bearer " + KEY.encode() + b"\r\n"
FOREIGN = b"https://evil.example"
ALLOWED = b"https://chat.example.org"
ENDPOINTS = [CHAT, b"/v1/messages", b"/api/chat", b"/api/generate", b"/api/show", b"/api/v1/chat", b"/v1/api/chat"]
LISTS = [b"/v1/models", b"/v1/models/masa-demo", b"/api/tags", b"/api/version", b"/api/v1/llm/models"]
CLOSED = [*LISTS, b"/metrics", b"/openapi.json", b"/nowhere"]
OPEN = [b"/", b"/healthz", b"/readyz"]

# ---- keys ----


@pytest.mark.parametrize(
    "lines",
    [
        b"",
        b"Authorization:\r\n",
        b"Authorization: \r\n",
        b"Authorization: Bearer\r\n",
        b"Authorization: Bearer \r\n",
        b"Authorization: " + KEY.encode() + b"\r\n",
        b"Authorization: Basic " + KEY.encode() + b"\r\n",
        b"Authorization: Bearer" + KEY.encode() + b"\r\n",
        b"Authorization: Bearer\t" + KEY.encode() + b"\r\n",
        b"Authorization: Bearer Bearer " + KEY.encode() + b"\r\n",
        b"Authorization: Bearer " + KEY.encode()[:-1] + b"\r\n",
        b"Authorization: Bearer " + KEY.encode() + b"x\r\n",
        b"Authorization: Bearer " + KEY.upper().encode() + b"\r\n",
        b"Authorization: Bearer right-key, cl\xc3\xa9\r\n",
        b"Authorization: Bearer cl\xe9\r\n",
        b"Authorization: Bearer \xff\xfe\xfd\r\n",
        b"Authorization: Bearer ' OR '1'='1\r\n",
        b"Authorization: Bearer {{7*7}}${7*7}%s%n\r\n",
        b"Authorization: Bearer " + b"x" * 60_000 + b"\r\n",
        b"Authorization: " + b"Bearer " * 5_000 + b"\r\n",
        b"x-api-key:\r\n",
        b"x-api-key: Bearer " + KEY.encode() + b"\r\n",
        b"x_api_key: " + KEY.encode() + b"\r\n",
        b"Proxy-Authorization: Bearer " + KEY.encode() + b"\r\n",
        b"Cookie: key=" + KEY.encode() + b"\r\n",
        RIGHT + b"Authorization: Bearer wrong\r\n",
        b"Authorization: Bearer wrong\r\n" + RIGHT,
        RIGHT + RIGHT,
    ],
)
async def test_without_one_right_key_it_is_401(guarded: ServingNode, lines: bytes) -> None:
    reply = await ask_once(guarded.port, post(chat(), lines))
    assert (reply.status, reply.error_code) == (401, "unauthorized")
    assert reply.header("www-authenticate") == 'Bearer realm="masa-node"'


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([b"Authorization", b"x-api-key"]),
    st.binary(max_size=300).map(lambda raw: bytes(byte for byte in raw if byte not in b"\r\n\0" and byte >= 0x20)),
)
async def test_fuzzed_keys_are_401(guarded: ServingNode, name: bytes, value: bytes) -> None:
    reply = await ask_once(guarded.port, get(b"/v1/models", name + b": " + value.replace(b"\x7f", b"") + b"\r\n"))
    assert reply.status == 401


@pytest.mark.parametrize(
    "lines",
    [
        RIGHT,
        RIGHT.replace(b"Bearer", b"bEARER"),
        b"authorization:Bearer  " + KEY.encode() + b" \r\n",
        b"x-api-key: " + KEY.encode() + b"\r\n",
        b"X-Api-Key: cl\xc3\xa9\r\n",
        b"x-api-key: wrong\r\n" + RIGHT,
        b"x-api-key: " + KEY.encode() + b"\r\nAuthorization: Bearer of-another-service\r\n",
    ],
)
async def test_with_a_right_key_it_is_answered(guarded: ServingNode, lines: bytes) -> None:
    assert (await ask_once(guarded.port, post(chat(), lines))).status == 200


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_every_chat_endpoint_needs_the_key(guarded: ServingNode, endpoint: bytes) -> None:
    assert (await ask_once(guarded.port, post(chat(), target=endpoint))).status == 401


@pytest.mark.parametrize("target", CLOSED)
async def test_every_list_needs_the_key_and_what_is_not_there_too(guarded: ServingNode, target: bytes) -> None:
    for method in (b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"):
        async with line_to(guarded.port) as line:
            await line.send(head(method, target))
            assert (await line.reply(to_head=method == b"HEAD")).status == 401


@pytest.mark.parametrize("target", OPEN)
async def test_probes_need_no_key(guarded: ServingNode, target: bytes) -> None:
    assert (await ask_once(guarded.port, get(target))).status == 200
    assert (await ask_once(guarded.port, get(target + b"?key=x"))).status == 200


@pytest.mark.parametrize(
    "target",
    [
        b"/%68ealthz",
        b"/healthz/",
        b"//healthz",
        b"/./healthz",
        b"/healthz/../v1/models",
        b"/healthz/..%2fv1/models",
        b"/healthz%2f..%2fv1%2fmodels",
        b"/healthz;/v1/models",
        b"/healthz%00",
        b"/healthz%3f",
        b"/healthz%23/../../v1/models",
        b"/v1/models?/healthz",
        b"/v1/models/../../healthz",
        b"/v1%2fmodels",
        b"/%76%31/models",
        b"/HEALTHZ",
        b"/healthz%20",
        b"/%2fhealthz",
        b"/.",
        b"/%2e%2e/",
        b"http://localhost/v1/models",
        b"http://localhost/v1/models?x=http://localhost/healthz",
    ],
)
async def test_no_spelling_of_a_path_opens_another_one(guarded: ServingNode, target: bytes) -> None:
    assert (await ask_once(guarded.port, get(target))).status == 401


async def test_a_path_in_host_or_forwarding_headers_opens_nothing(guarded: ServingNode) -> None:
    lines = b"X-Original-URL: /healthz\r\nX-Rewrite-URL: /healthz\r\nX-Forwarded-Prefix: /healthz\r\n"
    lines += (
        b"X-Forwarded-For: 127.0.0.1\r\nX-HTTP-Method-Override: HEAD\r\nForwarded: for=127.0.0.1;host=localhost\r\n"
    )
    assert (await ask_once(guarded.port, get(b"/v1/models", lines))).status == 401


def test_every_key_is_compared_and_in_constant_time() -> None:
    guard = Guard(GuardRules(api_keys=("first", "second", "third")))
    with mock.patch.object(hmac, "compare_digest", side_effect=hmac.compare_digest) as compared:
        guard.check_key(b"/v1/models", [(b"x-api-key", b"first")])
        assert compared.call_count == 3
        with pytest.raises(Unauthorized):
            guard.check_key(b"/v1/models", [(b"x-api-key", b"f")])
        assert compared.call_count == 6


def test_the_error_does_not_repeat_the_key() -> None:
    guard = Guard(GuardRules(api_keys=("first",)))
    with pytest.raises(Unauthorized) as refused:
        guard.check_key(b"/v1/models", [(b"authorization", b"Bearer nearly-right")])
    assert "nearly" not in refused.value.message


# ---- Host ----


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"Host:\r\n",
        b"Host: \r\n",
        LOCALHOST + LOCALHOST,
        LOCALHOST + b"Host: evil.example\r\n",
        b"Host: a/?x=\r\n",
        b"Host: x/#\r\n",
        b"Host: localhost/\r\n",
        b"Host: localhost?x\r\n",
        b"Host: localhost#\r\n",
        b"Host: user@localhost\r\n",
        b"Host: user:pass@localhost:80\r\n",
        b"Host: localhost:99999\r\n",
        b"Host: localhost:65536\r\n",
        b"Host: localhost:000080\r\n",
        b"Host: localhost:-1\r\n",
        b"Host: localhost:http\r\n",
        b"Host: localhost:80:80\r\n",
        b"Host: localhost, evil.example\r\n",
        b"Host: localhost evil.example\r\n",
        b"Host: http://localhost\r\n",
        b"Host: [::1\r\n",
        b"Host: ::1\r\n",
        b"Host: [::1]x\r\n",
        b"Host: [localhost]\r\n",
        b"Host: localhost\\evil\r\n",
        b"Host: local%68ost\r\n",
        b"Host: .localhost\r\n",
        b"Host: -\r\n",
        b"Host: \xff\r\n",
        b"Host: loc\xc3\xa4lhost\r\n",
        b"Host: " + b"a" * 254 + b"\r\n",
    ],
)
@pytest.mark.parametrize(
    "raw_request", [get(b"/v1/models"), get(b"/healthz"), post(chat())], ids=["list", "probe", "chat"]
)
async def test_a_malformed_host_is_400(node: ServingNode, host: bytes, raw_request: bytes) -> None:
    reply = await ask_once(node.port, raw_request.replace(LOCALHOST, host, 1))
    assert (reply.status, reply.error_code) == (400, "bad_host")


@pytest.mark.parametrize(
    "host",
    [
        b"evil.example",
        b"localhost.evil.example",
        b"evil-localhost",
        b"localhost.",
        b"127.0.0.1.nip.io",
        b"127.1",
        b"2130706433",
        b"0x7f000001",
        b"017700000001",
        b"0.0.0.0",
        b"0",
        b"[::]",
        b"[::ffff:0.0.0.0]",
        b"224.0.0.1",
        b"[ff02::1]",
        b"1.2.3.4.5",
    ],
)
async def test_a_foreign_host_is_403(node: ServingNode, host: bytes) -> None:
    for at in (host, host + b":8080"):
        for raw_request in (get(b"/healthz"), post(chat())):
            reply = await ask_once(node.port, raw_request.replace(b"localhost", at, 1))
            assert (reply.status, reply.error_code) == (403, "host_refused")


@pytest.mark.parametrize("host", [b"localhost", b"LocalHost:65535", b"127.0.0.1:1", b"[::1]:8080", b"192.168.1.7"])
async def test_a_host_that_cannot_be_rebound_is_answered(node: ServingNode, host: bytes) -> None:
    assert (await ask_once(node.port, get(b"/healthz", host=b"Host: " + host + b"\r\n"))).status == 200


async def test_many_hosts_are_not_all_remembered() -> None:
    guard = Guard(GuardRules())
    for port in range(1, 1000):
        guard.check_host_and_origin([(b"host", b"localhost:%d" % port)])
    assert len(guard._good_hosts) <= 64


# ---- Origin ----


@pytest.mark.parametrize(
    "origin",
    [
        FOREIGN,
        b"null",
        b"",
        b"NULL",
        b"http://localhost.evil.example",
        b"http://localhost@evil.example",
        b"http://evil.example/localhost",
        b"http://localhost/",
        b"http://127.0.0.1.evil.example",
        b"http://0.0.0.0:8080",
        b"http://[::]",
        b"https://chat.example.org.evil.example",
        b"https://chat.example.org:8443",
        b"http://chat.example.org",
        b"https://xchat.example.org",
        b"file://",
        b"chrome-extension://abcdefghijklmnop",
        b"http://localhost:80 http://evil.example",
        b"*",
        b"\xff",
    ],
)
async def test_pages_of_another_origin_may_ask_nothing(node: ServingNode, origin: bytes) -> None:
    line = b"Origin: " + origin + b"\r\n"
    requests = [
        *(post(chat(), line, target=endpoint) for endpoint in ENDPOINTS),
        *(get(target, line) for target in [*CLOSED, *OPEN]),
    ]
    async with line_to(node.port) as connection:
        for raw_request in requests:
            reply = await connection.ask(raw_request)
            assert reply.status == 403
            assert_no_cors(reply)


async def test_no_second_origin_helps(node: ServingNode) -> None:
    lines = b"Origin: " + ALLOWED + b"\r\nOrigin: " + FOREIGN + b"\r\n"
    reply = await ask_once(node.port, post(chat(), lines))
    assert reply.status == 403
    assert_no_cors(reply)


@pytest.mark.parametrize("origin", [FOREIGN, b"null", b"http://localhost.evil.example"])
async def test_a_preflight_of_another_origin_is_refused(node: ServingNode, origin: bytes) -> None:
    for endpoint in ENDPOINTS:
        reply = await ask_once(node.port, preflight(endpoint, origin))
        assert reply.status == 403
        assert_no_cors(reply)


@pytest.mark.parametrize("origin", [ALLOWED, b"http://localhost:3000", b"http://127.0.0.1", b"https://[::1]:5173"])
@pytest.mark.parametrize("running", ["node", "guarded"])
async def test_an_allowed_origin_and_only_that_one_is_named(
    request: pytest.FixtureRequest, origin: bytes, running: str
) -> None:
    """The browser sends no key with its preflight; a node that wants one must answer it nevertheless."""
    asked: ServingNode = request.getfixturevalue(running)
    before = await ask_once(asked.port, preflight(CHAT, origin))
    assert (before.status, before.header("access-control-allow-origin")) == (204, origin.decode())
    assert "authorization" in str(before.header("access-control-allow-headers"))
    assert before.header("access-control-allow-private-network") is None
    assert before.header("access-control-allow-credentials") is None
    then = await ask_once(asked.port, post(chat(), RIGHT + b"Origin: " + origin + b"\r\n"))
    assert (then.status, then.header("access-control-allow-origin")) == (200, origin.decode())
    assert then.header("vary") == "origin"


@pytest.mark.parametrize("count", [1, 60])
async def test_a_page_may_send_headers_of_any_name(node: ServingNode, count: int) -> None:
    """LiteLLM's own (`langfuse_trace_id`) have underscores; SDKs and what traces them send dozens."""
    names = b",".join([b"langfuse_trace_id", b"x.y", *(b"x-h-%d" % number for number in range(count))])
    asked = preflight(CHAT, ALLOWED).replace(b"Headers: authorization", b"Headers: " + names)
    assert (await ask_once(node.port, asked)).header("access-control-allow-headers") == names.decode()


async def test_an_allowed_page_without_the_key_can_read_why_it_is_refused(guarded: ServingNode) -> None:
    reply = await ask_once(guarded.port, post(chat(), b"Origin: " + ALLOWED + b"\r\n"))
    assert (reply.status, reply.header("access-control-allow-origin")) == (401, ALLOWED.decode())


async def test_a_preflight_does_nothing_and_tells_nothing(guarded: ServingNode) -> None:
    for target in (*ENDPOINTS, *CLOSED):
        reply = await ask_once(guarded.port, preflight(target, ALLOWED))
        assert (reply.status, reply.body) == (204, b"")


async def test_who_is_no_page_gets_no_cors_headers(node: ServingNode) -> None:
    assert_no_cors(await ask_once(node.port, post(chat())))


def preflight(target: bytes, origin: bytes) -> bytes:
    lines = b"Origin: " + origin + b"\r\nAccess-Control-Request-Method: POST\r\n"
    lines += b"Access-Control-Request-Headers: authorization\r\nAccess-Control-Request-Private-Network: true\r\n"
    return head(b"OPTIONS", target, lines)


def assert_no_cors(reply: Reply) -> None:
    assert not [name for name, _ in reply.headers if name.startswith("access-control-")]
