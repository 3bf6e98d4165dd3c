"""Asking RPC servers: which URL, how long, what of it is shown; and JSON-RPC's frames against any bytes.

Covers: `json_rpc`.
"""

import asyncio
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.chat.errors import (
    BrokenAnswer,
    ChainUnknown,
    ConnectionClosed,
    ConnectionRefused,
    DnsFailed,
    NotAnAnswer,
    ProviderError,
    ProxyFailed,
    TlsFailed,
    Unreachable,
)
from masa_node.staking.contract.transactions import call
from masa_node.staking.ethereum.json_rpc import BadReply, RpcCall, RpcError, RpcReply, data, encode, parse, quantity
from masa_node.staking.ethereum.rpc import MAX_RPC_ANSWER_BYTES, Rpc, shown_url
from tests.staking.rpc_server import Json
from tests.virtual_time import now_s, virtual_time

CALLS = (RpcCall("a"), RpcCall("b", ("0x1", False)))
ONE, TWO = "https://one.example/v3/secret-key", "https://two.example"


class Post:
    """An RPC server within the test: for each URL its answer, an error to raise, or None: it never answers."""

    def __init__(self, **answers: Json) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.waiting = 0

    async def __call__(self, url: str, body: bytes, max_bytes: int) -> tuple[int, bytes]:
        assert max_bytes == MAX_RPC_ANSWER_BYTES
        self.asked.append(url)
        answer = self.answers["one" if url == ONE else "two"]
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            self.waiting += 1
            try:
                await asyncio.Event().wait()
            finally:
                self.waiting -= 1
        return 200, json.dumps(told(json.loads(body), answer)).encode()


def told(question: Json, answer: Json) -> Json:
    if isinstance(question, list):
        return [told(each, answer) for each in question]
    return {"id": question["id"]} | answer


FINE = {"result": "0x1"}


# ---- which URL, and how long ----


@virtual_time
async def test_a_url_is_given_a_second_and_then_the_next_is_asked() -> None:
    post = Post(one=None, two=FINE)
    replies = await Rpc(post, (ONE, TWO)).batch(CALLS)
    assert [quantity(reply) for reply in replies] == [1, 1]
    assert (post.asked, now_s(), post.waiting) == ([ONE, TWO], 1.0, 0)


@virtual_time
async def test_servers_that_hang_cost_a_second_each_and_no_retry() -> None:
    post = Post(one=None, two=None)
    with pytest.raises(ChainUnknown) as caught:
        await Rpc(post, (ONE, TWO)).batch(CALLS)
    assert caught.value.message == (
        "No RPC server answers as it should. https://one.example: no answer within 1 s. https://two.example: no answer "
        "within 1 s."
    )
    assert (post.asked, now_s(), post.waiting) == ([ONE, TWO], 2.0, 0)


@virtual_time
async def test_single_calls_share_the_second_of_the_refused_batch() -> None:
    async def post(url: str, body: bytes, max_bytes: int) -> tuple[int, bytes]:
        await asyncio.sleep(0.6)
        return (400, b"") if body.startswith(b"[") else (200, json.dumps(told(json.loads(body), FINE)).encode())

    with pytest.raises(ChainUnknown, match="no answer within 1 s"):
        await Rpc(post, (ONE,)).batch(CALLS)
    assert now_s() == 1.0


@virtual_time
async def test_single_calls_are_made_at_the_same_time() -> None:
    async def post(url: str, body: bytes, max_bytes: int) -> tuple[int, bytes]:
        await asyncio.sleep(0.3)
        return (400, b"") if body.startswith(b"[") else (200, json.dumps(told(json.loads(body), FINE)).encode())

    assert len(await Rpc(post, (ONE,)).batch(CALLS * 4)) == 8
    assert now_s() == pytest.approx(0.6)


@pytest.mark.parametrize("answers", [2, 1])
@virtual_time
async def test_cancelling_leaves_nothing_behind(answers: int) -> None:
    async def post(url: str, body: bytes, max_bytes: int) -> tuple[int, bytes]:
        if body.startswith(b"[") and answers == 1:
            return 400, b""
        under_way.append(url)
        try:
            await asyncio.Event().wait()
        finally:
            under_way.remove(url)
        raise AssertionError

    under_way: list[str] = []
    asking = asyncio.ensure_future(Rpc(post, (ONE, TWO)).batch(CALLS))
    await asyncio.sleep(0.5)
    assert under_way == [ONE] * (1 if answers == 2 else 2)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert (under_way, now_s()) == ([], 0.5)


FAILURES: list[tuple[ProviderError, str]] = [
    (ConnectionRefused("LLM"), "nothing listens there"),
    (DnsFailed("its host name does not resolve."), "does not resolve"),
    (TlsFailed("its certificate is not trusted."), "not trusted"),
    (ProxyFailed("the proxy wants a password (407)."), "wants a password"),
    (Unreachable("LLM"), "no connection could be made"),
    (ConnectionClosed("LLM"), "closed the connection"),
    (BrokenAnswer("LLM"), "broke in the middle"),
    (NotAnAnswer("LLM"), "not HTTP, or larger"),
    (ProviderError("LLM"), "it failed"),
]


@pytest.mark.parametrize(("failure", "reason"), FAILURES)
@virtual_time
async def test_a_failed_way_is_told_in_words_about_rpc_servers(failure: ProviderError, reason: str) -> None:
    with pytest.raises(ChainUnknown, match=reason) as caught:
        await Rpc(Post(one=failure), (ONE,)).batch(CALLS)
    assert "LLM" not in caught.value.message
    assert await call(Rpc(Post(one=failure, two=FINE), (ONE, TWO)), "a", []) == "0x1"


@virtual_time
async def test_a_judge_who_does_not_believe_one_server_is_given_the_next() -> None:
    def judge(replies: tuple[RpcReply, ...]) -> int:
        if quantity(replies[0]) == 1:
            raise ChainUnknown("not that one.")
        return quantity(replies[1])

    assert await Rpc(Post(one=FINE, two={"result": "0x2"}), (ONE, TWO)).judged(CALLS, judge) == 2


@virtual_time
async def test_a_servers_error_for_a_call_is_given_and_not_asked_again() -> None:
    post = Post(one={"error": {"code": 3, "message": "execution reverted", "data": "0x1234"}}, two=FINE)
    rpc = Rpc(post, (ONE, TWO))
    with pytest.raises(RpcError) as caught:
        await call(rpc, "eth_call", [{}])
    assert (caught.value.data, caught.value.rpc_code) == (b"\x12\x34", 3)
    assert caught.value.message == '"execution reverted" (code 3)'
    assert all(isinstance(reply, RpcError) for reply in await rpc.batch(CALLS))
    assert post.asked == [ONE, ONE]


@virtual_time
async def test_a_call_gives_its_result_decoded() -> None:
    rpc = Rpc(Post(one={"result": {"a": [None, "0x1"]}}), (ONE,))
    assert await call(rpc, "a", []) == {"a": [None, "0x1"]}
    assert await call(Rpc(Post(one={"result": None}), (ONE,)), "a", []) is None


@virtual_time
async def test_a_result_that_cannot_be_read_is_unknown() -> None:
    async def post(url: str, body: bytes, max_bytes: int) -> tuple[int, bytes]:
        return 200, b'{"id":%d,"result":%b}' % (json.loads(body)["id"], b"1" * 10_000)

    with pytest.raises(ChainUnknown, match="a_method with something that is not JSON"):
        await call(Rpc(post, (ONE,)), "a_method", [])


@virtual_time
async def test_no_two_calls_have_the_same_id() -> None:
    ids: list[int] = []

    async def post(url: str, body: bytes, max_bytes: int) -> tuple[int, bytes]:
        questions = json.loads(body)
        ids.extend(each["id"] for each in (questions if isinstance(questions, list) else [questions]))
        return 200, json.dumps(told(questions, FINE)).encode()

    rpc = Rpc(post, (ONE,))
    for _ in range(3):
        await rpc.batch(CALLS)
        await call(rpc, "a", [])
    assert len(set(ids)) == len(ids) == 9


# ---- what is shown ----


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://mainnet.infura.io/v3/0123456789abcdef", "https://mainnet.infura.io"),
        ("https://user:password@rpc.example:8545/path?key=secret#x", "https://rpc.example:8545"),
        ("http://[::1]:8545/", "http://[::1]:8545"),
        ("http://127.0.0.1:8545", "http://127.0.0.1:8545"),
        ("https://[oh", "an RPC URL that cannot be read"),
        ("http://a:99999", "an RPC URL that cannot be read"),
        ("", "://?"),
    ],
)
def test_of_a_url_scheme_host_and_port_are_shown(url: str, shown: str) -> None:
    assert shown_url(url) == shown


SECRETS = ("s3cret-in-path", "s3cret-in-query", "s3cret-user", "s3cret-pass/word")


@virtual_time
async def test_no_part_of_a_url_that_may_be_a_key_is_ever_shown() -> None:
    url = f"https://{SECRETS[2]}:s3cret-pass%2Fword@one.example/v3/{SECRETS[0]}?key={SECRETS[1]}&x=1"
    said = {"error": {"code": 1, "message": f"refused: {' '.join(SECRETS)} {url}"}}

    async def post(url: str, body: bytes, max_bytes: int) -> tuple[int, bytes]:
        return 200, json.dumps(told(json.loads(body), said)).encode()

    def judge(replies: tuple[RpcReply, ...]) -> None:
        raise ChainUnknown(f"it answered {replies[0]}")

    with pytest.raises(ChainUnknown) as caught:
        await Rpc(post, (url,)).judged((RpcCall("a"),), judge)
    assert "refused: *** *** *** ***" in caught.value.message
    assert not [secret for secret in SECRETS if secret in caught.value.message]


# ---- frames ----


def test_one_call_is_no_batch_and_several_are() -> None:
    assert json.loads(encode(CALLS[:1], 7)) == {"jsonrpc": "2.0", "id": 7, "method": "a", "params": []}
    assert [each["id"] for each in json.loads(encode(CALLS, 7))] == [7, 8]


@pytest.mark.parametrize(
    ("given_data", "found"),
    [
        ("0x08c379a0", b"\x08\xc3\x79\xa0"),
        ("Reverted 0x08c379a0", b"\x08\xc3\x79\xa0"),
        ({"data": "0x12", "message": "x"}, b"\x12"),
        ("0x1", b""),
        ("0x 12", b""),
        (["0x12"], b""),
        (None, b""),
        (7, b""),
    ],
)
def test_revert_data_is_found_where_servers_put_it(given_data: object, found: bytes) -> None:
    body = json.dumps({"id": 1, "error": {"code": 3, "message": "x", "data": given_data}}).encode()
    (reply,) = parse(200, body, 1, 1)
    assert isinstance(reply, RpcError)
    assert reply.data == found


@pytest.mark.parametrize("status", [200, 400, 500])
def test_an_error_counts_with_any_status_and_a_result_only_with_200(status: int) -> None:
    (reply,) = parse(status, b'{"id":1,"error":{"code":-1,"message":"x"}}', 1, 1)
    assert isinstance(reply, RpcError)
    if status != 200:
        with pytest.raises(BadReply):
            parse(status, b'{"id":1,"result":"0x1"}', 1, 1)


def test_answers_to_a_batch_count_only_with_200() -> None:
    body = b'[{"id":1,"result":"0x1"},{"id":2,"result":"0x1"}]'
    assert len(parse(200, body, 1, 2)) == 2
    with pytest.raises(BadReply, match="HTTP 502"):
        parse(502, body, 1, 2)


@pytest.mark.parametrize("body", [b'{"id":2,"error":{"code":-1}}', b'{"id":2,"result":"0x1"}', b'{"result":"0x1"}'])
def test_an_answer_to_another_call_is_refused(body: bytes) -> None:
    with pytest.raises(BadReply):
        parse(200, body, 1, 1)


# JSON that is nearly right, so that the depths are reached, and bytes that are anything.
LEAF = (
    st.sampled_from(["0x", "0x1", "0x" + "f" * 64, "latest", None, 1, -32005, 1e400, True, "1", "\ud800"]) | st.text()
)
VALUES = st.recursive(
    LEAF,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["id", "result", "error", "code", "data", "message", "number"]), inner)
    ),
    max_leaves=12,
)
ANSWERS = st.fixed_dictionaries(
    {"id": st.sampled_from([1, 2, "1", "2", None])}, optional={"result": VALUES, "error": VALUES}
)
BODIES = st.binary() | (VALUES | ANSWERS | st.lists(ANSWERS, max_size=4)).map(lambda value: json.dumps(value).encode())


@given(BODIES, st.sampled_from([200, 200, 200, 204, 301, 400, 401, 429, 500, 999]), st.integers(1, 3))
def test_any_bytes_are_replies_or_a_bad_reply(body: bytes, status: int, count: int) -> None:
    try:
        replies = parse(status, body, 1, count)
    except BadReply:
        return
    assert len(replies) == count
    for reply in replies:
        if isinstance(reply, RpcError):
            assert reply.message.isprintable()
            continue
        for reader in (quantity, data):
            with contextlib.suppress(ValueError):
                reader(reply)


@given(st.permutations(range(4)), st.lists(st.integers(0, 2**256 - 1), min_size=4, max_size=4))
def test_answers_in_any_order_go_to_their_calls(order: list[int], numbers: list[int]) -> None:
    answers = [{"id": 5 + at, "result": hex(numbers[at])} for at in order]
    replies = parse(200, json.dumps(answers).encode(), 5, 4)
    assert [quantity(reply) for reply in replies] == numbers
