"""The chain reader against RPC servers that hang, lie, lag and break, and against a real chain."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from masa_node.chat.errors import ChainUnknown
from masa_node.node.chain_http import ChainHttp
from masa_node.staking.contract.profile import BlockTag, Profile, Shape
from masa_node.staking.ethereum import rpc
from masa_node.staking.ethereum.abi import selector
from masa_node.staking.ethereum.crypto import Address, parse_address, sign
from masa_node.staking.ethereum.rpc import Rpc
from masa_node.staking.gate.chain import Chain
from masa_node.staking.gate.values import Reading
from masa_node.upstreams.http.client import HttpClient
from tests.fakes.llm_server import Line, Step
from tests.fakes.no_server import closed_port
from tests.staking.anvil_chain import MINIMUM_WEI, AnvilChain
from tests.staking.rpc_server import (
    CHAIN_ID,
    CONTRACT,
    MASA,
    METHOD_NOT_FOUND,
    NOW_UNIX_S,
    OWNER,
    REVERTED,
    Facts,
    Json,
    RpcServer,
    at_tag,
    dies_before,
    dies_in_the_middle,
    drip,
    huge,
    hung,
    is_batch,
    masa_shape,
    only_single,
    profile,
    raw,
    retold,
    truth,
    words,
)

STANDING = selector("standing(address)")
UNBONDING = selector("unbondingPeriod()")
STAKES = selector("stakes(address)")
VALID = selector("isValidSignature(bytes32,bytes)")
HEAD, THEN = 7_000_000, int(NOW_UNIX_S) - 12
DIGEST = bytes(range(32))
SHORT_S = 0.4  # for servers that never answer in time; long enough for a loaded machine to ask them


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with HttpClient() as client:
        yield client


def chain_of(http: HttpClient, described: Profile, now: float = NOW_UNIX_S) -> Chain:
    return Chain(Rpc(ChainHttp(http), described.rpc_urls), described, lambda: now)


async def read(http: HttpClient, described: Profile) -> Reading:
    return await chain_of(http, described).read(OWNER)


async def why_unknown(http: HttpClient, described: Profile) -> str:
    with pytest.raises(ChainUnknown) as caught:
        await read(http, described)
    assert RpcServer.SECRET not in caught.value.message
    return caught.value.message


def standing(
    stake: int = 1500 * MASA, minimum: int = 1000 * MASA, epoch: int = 3, block: int = HEAD, unix_s: int = THEN
) -> Facts:
    return Facts(calls={STANDING: words(stake, minimum, epoch, block, unix_s)})


# ---- one request, one reading ----


async def test_one_request_reads_a_stake(http: HttpClient) -> None:
    async with RpcServer() as server:
        reading = await read(http, profile(server.rpc_url))
    assert reading == Reading(OWNER, 1500 * MASA, 1000 * MASA, 3, HEAD, THEN, 604_800, NOW_UNIX_S)
    (body,) = server.bodies
    assert [call["method"] for call in body] == ["eth_chainId", "eth_getBlockByNumber", "eth_call", "eth_call"]
    assert {call["jsonrpc"] for call in body} == {"2.0"}
    assert body[1]["params"] == ["latest", False]
    assert body[2]["params"] == [
        {"to": CONTRACT, "data": "0x" + STANDING.hex() + OWNER[2:].lower().rjust(64, "0")},
        "latest",
    ]
    assert body[3]["params"] == [{"to": CONTRACT, "data": "0x" + UNBONDING.hex()}, "latest"]


async def test_the_first_masa_contracts_shape_reads_with_the_heads_block_and_without_epoch_and_unbonding(
    http: HttpClient,
) -> None:
    async with RpcServer() as server:
        reading = await read(http, masa_shape(server.rpc_url))
    assert reading == Reading(OWNER, 1500 * MASA, 1000 * MASA, 0, HEAD, THEN, 0, NOW_UNIX_S)
    (body,) = server.bodies
    assert [call["params"][0]["data"][:10] for call in body[2:]] == ["0x16934fc4", "0xec5ffac2"]


@pytest.mark.parametrize("tag", list(BlockTag))
async def test_everything_is_read_at_the_profiles_tag(http: HttpClient, tag: BlockTag) -> None:
    async with RpcServer() as server:
        await read(http, at_tag(tag, server.rpc_url))
    (body,) = server.bodies
    assert [call["params"][at] for call, at in zip(body[1:], (0, 1, 1), strict=True)] == [tag.value] * 3


async def test_a_block_that_moved_on_within_the_batch_counts_as_the_contract_tells_it(http: HttpClient) -> None:
    async with RpcServer(standing(block=HEAD + 1, unix_s=THEN + 12)) as server:
        reading = await read(http, profile(server.rpc_url))
    assert (reading.block, reading.block_unix_s) == (HEAD + 1, THEN + 12)


async def test_kept_connections_serve_one_read_after_the_other(http: HttpClient) -> None:
    async with RpcServer() as server:
        chain = chain_of(http, profile(server.rpc_url))
        for _ in range(3):
            await chain.read(OWNER)
    assert (server.connections, len(server.requests)) == (1, 3)


# ---- what is no answer is unknown, and says why ----


def without(at: int) -> Step:
    return retold(lambda answers: answers[:at] + answers[at + 1 :])


def changed(at: int, **changes: Json) -> Step:
    return retold(lambda answers: [answer | changes if i == at else answer for i, answer in enumerate(answers)])


def result(at: int, value: object) -> Step:
    return changed(at, result=value)


def block(**changes: object) -> Step:
    return result(1, {"number": hex(HEAD), "timestamp": hex(THEN)} | changes)


def error(at: int, code: int, message: str = "no", **more: Json) -> Step:
    def change(answers: list[Json]) -> list[Json]:
        del answers[at]["result"]
        answers[at]["error"] = {"code": code, "message": message} | more
        return answers

    return retold(change)


UNTRUE: dict[str, tuple[Step, str]] = {
    "hung": (hung, "no answer within"),
    "drip": (drip, "no answer within"),
    "dies before": (dies_before, "closed the connection before it answered"),
    "dies in the middle": (dies_in_the_middle, "broke in the middle"),
    "huge": (huge, "larger than 256 KiB"),
    "500": (raw(b"oh", 500), "HTTP 500"),
    "503": (raw(b"<html>", 503, "text/html"), "HTTP 503"),
    "301": (raw(b"", 301), "redirect"),
    "401": (raw(b"", 401), "HTTP 401. Is the key in the URL right?"),
    "404": (raw(b"not here", 404), "HTTP 404. Is the URL right?"),
    "429": (raw(b"slow down", 429), "asked too often"),
    "429 in JSON": (raw(b'{"jsonrpc":"2.0","id":null,"error":{"code":429,"message":"x"}}'), "asked too often"),
    "limit": (raw(b'{"error":{"code":-32005,"message":"daily request count exceeded"}}'), "asked too often"),
    "limit in one answer": (error(2, -32005), "asked too often"),
    "HTML": (raw(b"<html>hello</html>", 200, "text/html"), "not JSON-RPC"),
    "empty": (raw(b""), "not JSON-RPC"),
    "no list of objects": (raw(b"[1,2,3,4]"), "not JSON-RPC"),
    "deep": (raw(b"[" * 100_000), "not JSON-RPC"),
    "not text": (raw(b"\xff\xfe\x00"), "not JSON-RPC"),
    "missing answer": (without(2), "3 answers to 4 calls"),
    "too many answers": (retold(lambda answers: [*answers, answers[0]]), "5 answers to 4 calls"),
    "doubled answer": (retold(lambda answers: [answers[0], *answers[:3]]), "doubled"),
    "wrong id": (changed(3, id=999), "wrong"),
    "no id": (changed(3, id=None), "wrong"),
    "neither": (retold(lambda answers: [{"id": answer["id"]} for answer in answers]), "neither a result nor an error"),
    "chain id not a text": (result(0, CHAIN_ID), "chain id is not a number"),
    "chain id not hex": (result(0, "11155111"), "chain id is not a number"),
    "no chain id": (result(0, None), "chain id is not a number"),
    "chain id refused": (error(0, -32601, "who asks?"), 'does not say which chain it is on, but answered "who asks?"'),
    "no block yet": (result(1, None), 'no "latest" block. It may still be syncing'),
    "block refused": (error(1, -39001, "Unknown block"), '"Unknown block"'),
    "pending block": (block(number=None), "no number and time"),
    "no time": (result(1, {"number": "0x1"}), "no number and time"),
    "block a list": (result(1, []), "no number and time"),
    "block of another age": (block(timestamp="0x" + "f" * 64), "impossible"),
    "block of another universe": (block(number="0x" + "f" * 64), "impossible"),
    "a number too long": (block(number="0x" + "0" * 65), "no number and time"),
    "no code": (result(2, "0x"), f"no contract at {CONTRACT} on chain {CHAIN_ID}"),
    "no unbonding period": (result(3, "0x"), "unbondingPeriod()"),
    "no standing": (error(2, 3, "execution reverted", data="0x"), "standing(address) of the contract"),
    "standing refused": (error(2, -32603, "oops"), 'did not carry out a call, but answered "oops"'),
    "no such block": (error(2, -32000, "header not found"), "ask another RPC"),
    "too short": (result(2, "0x" + words(1, 2, 3, HEAD).hex()), "128 bytes instead of 160"),
    "half a byte": (result(2, "0x" + "0" * 319), "not JSON-RPC"),
    "not hex": (result(2, "0x" + "zz" * 160), "not JSON-RPC"),
    "spaces in hex": (result(2, "0x" + "00 " * 160), "not JSON-RPC"),
    "null words": (result(2, None), "not JSON-RPC"),
    "too long": (result(2, "0x" + words(1, 2, 3, HEAD, THEN, 6).hex()), "192 bytes instead of 160"),
    "short period": (result(3, "0x01"), "1 bytes instead of 32"),
    "absurd stake": (result(2, "0x" + words(2**255, 1, 0, HEAD, THEN).hex()), "an amount that no token has"),
    "absurd minimum": (result(2, "0x" + words(1, 2**255, 0, HEAD, THEN).hex()), "an amount that no token has"),
    "absurd epoch": (result(2, "0x" + words(1, 1, 2**64, HEAD, THEN).hex()), "impossible epoch"),
    "absurd period": (result(3, "0x" + words(2**40).hex()), "impossible epoch, unbonding"),
    "another time": (result(2, "0x" + words(1, 1, 0, HEAD, THEN - 301).hex()), "contradicts itself"),
    "a time without end": (result(2, "0x" + words(1, 1, 0, HEAD, 2**256 - 1).hex()), "contradicts itself"),
}


@pytest.mark.parametrize("name", UNTRUE)
async def test_such_a_server_leaves_the_stake_unknown_with_its_reason(
    http: HttpClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mode, reason = UNTRUE[name]
    if mode in (hung, drip):
        monkeypatch.setattr(rpc, "URL_TIMEOUT_S", SHORT_S)
    async with RpcServer(mode=mode) as server:
        why = await why_unknown(http, profile(server.rpc_url))
    assert reason in why
    assert f"{server.url}: " in why


@pytest.mark.parametrize("name", UNTRUE)
async def test_the_next_server_is_asked_after_such_a_one(
    http: HttpClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mode, _ = UNTRUE[name]
    if mode in (hung, drip):
        monkeypatch.setattr(rpc, "URL_TIMEOUT_S", SHORT_S)
    async with RpcServer(mode=mode) as bad, RpcServer() as good:
        reading = await read(http, profile(bad.rpc_url, good.rpc_url))
    assert reading.stake_wei == 1500 * MASA
    assert (len(good.requests), bool(bad.requests)) == (1, True)


async def test_nobody_there_is_unknown(http: HttpClient) -> None:
    port = closed_port()
    why = await why_unknown(http, profile(f"http://127.0.0.1:{port}/{RpcServer.SECRET}"))
    assert (
        why
        == f"No RPC server answers as it should. http://127.0.0.1:{port}: nothing listens there (connection refused)."
    )


async def test_every_server_is_named_with_its_own_reason(http: HttpClient) -> None:
    async with RpcServer(mode=raw(b"", 503)) as one, RpcServer(Facts(chain_id=1)) as two:
        why = await why_unknown(http, profile(one.rpc_url, two.rpc_url))
    assert why == (
        f"No RPC server answers as it should. {one.url}: it answered HTTP 503. {two.url}: it is on chain 1, the "
        f"profile says {CHAIN_ID}. Correct RPC_URL, or use another profile."
    )


async def test_no_server_at_all_is_unknown_and_says_what_to_set(http: HttpClient) -> None:
    assert "Set RPC_URL" in await why_unknown(http, profile())


async def test_another_chain_is_unknown_and_the_next_server_is_asked(http: HttpClient) -> None:
    async with RpcServer(Facts(chain_id=1)) as wrong, RpcServer() as right:
        assert (await read(http, profile(wrong.rpc_url, right.rpc_url))).block == HEAD


async def test_a_chain_that_lags_is_unknown_and_the_next_server_is_asked(http: HttpClient) -> None:
    old = Facts(unix_s=int(NOW_UNIX_S) - 301)
    async with RpcServer(old) as lagging, RpcServer() as right:
        why = await why_unknown(http, profile(lagging.rpc_url))
        assert f'its "latest" block {HEAD} is 301 s old, 300 are allowed' in why
        assert (await read(http, profile(lagging.rpc_url, right.rpc_url))).block_unix_s == THEN


async def test_a_head_just_young_enough_counts(http: HttpClient) -> None:
    async with RpcServer(Facts(unix_s=int(NOW_UNIX_S) - 300)) as server:
        assert (await read(http, profile(server.rpc_url))).block_unix_s == NOW_UNIX_S - 300


async def test_a_stake_read_at_an_old_block_behind_a_young_head_is_unknown(http: HttpClient) -> None:
    facts = standing(unix_s=int(NOW_UNIX_S) - 310)  # 298 s before its head, which is 12 s old
    async with RpcServer(facts) as server:
        assert "310 s old" in await why_unknown(http, profile(server.rpc_url))


async def test_a_head_in_the_future_is_unknown(http: HttpClient) -> None:
    async with RpcServer(Facts(unix_s=int(NOW_UNIX_S) + 301)) as server:
        assert "301 s in the future. Is this machine's clock right?" in await why_unknown(http, profile(server.rpc_url))


@pytest.mark.parametrize("off_s", [-10_000_000, 10_000_000])
async def test_the_age_is_not_looked_at_where_the_profile_has_no_limit(http: HttpClient, off_s: int) -> None:
    async with RpcServer(Facts(unix_s=int(NOW_UNIX_S) + off_s)) as server:
        assert (await read(http, profile(server.rpc_url, max_head_age_s=None))).block == HEAD


@pytest.mark.parametrize("mode", [result(1, None), error(1, -32602, "invalid tag")])
async def test_a_server_without_the_tag_says_what_to_set(http: HttpClient, mode: Step) -> None:
    async with RpcServer(mode=mode) as server:
        why = await why_unknown(http, at_tag(BlockTag.FINALIZED, server.rpc_url))
    assert '"finalized" block' in why
    assert 'set block_tag = "latest"' in why


async def test_a_contract_that_is_too_new_for_the_tag_is_not_called_absent(http: HttpClient) -> None:
    async with RpcServer(mode=result(2, "0x")) as server:
        why = await why_unknown(http, at_tag(BlockTag.FINALIZED, server.rpc_url))
    assert "at the newest block that is finalized. If it is new, wait for that block; else correct the profile." in why


async def test_what_a_server_says_is_shown_short_without_its_key_and_harmless_to_a_terminal(http: HttpClient) -> None:
    said = f"\x1b[2J\r\nbad key {RpcServer.SECRET} " + "x" * 5_000
    async with RpcServer(mode=error(0, -32600, said)) as server:
        why = await why_unknown(http, profile(server.rpc_url))
    assert '"[2J bad key *** xxx' in why
    assert why.isprintable()
    assert len(why) < 500


# ---- tolerated ----


@pytest.mark.parametrize(
    "change",
    [
        lambda answers: list(reversed(answers)),
        lambda answers: [answer | {"id": str(answer["id"])} for answer in answers],
        lambda answers: [answer | {"extra": {"a": [1]}, "jsonrpc": "1.0"} for answer in answers],
        lambda answers: [answer | {"error": None} for answer in answers],
        lambda answers: [{key: answer[key] for key in ("result", "id")} for answer in answers],
    ],
)
async def test_odd_but_complete_answers_are_taken(http: HttpClient, change: Callable[[list[Json]], Json]) -> None:
    async with RpcServer(mode=retold(change)) as server:
        assert (await read(http, profile(server.rpc_url))).stake_wei == 1500 * MASA


REFUSALS: dict[str, Step] = {
    "an error object": raw(b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"batch not supported"}}'),
    "an error object with HTTP 400": raw(b'{"error":{"code":-32600,"message":"no"}}', 400),
    "an error object with HTTP 500": raw(b'{"error":{"code":31,"message":"Batch of more than 3"},"id":1}', 500),
    "HTTP 400": raw(b"Bad Request", 400, "text/plain"),
    "HTTP 403": raw(b"", 403),
    "HTTP 405": raw(b"", 405),
    "HTTP 413": raw(b"", 413),
    "HTTP 500": raw(b"oh", 500, "text/plain"),
    "only the first answer in a list": retold(lambda answers: answers[:1]),
    "only the first answer": retold(lambda answers: answers[0]),
    "one error in a list": raw(b'[{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no"}}]'),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_server_that_refuses_batches_is_asked_singly_and_that_is_remembered(
    http: HttpClient, name: str
) -> None:
    async with RpcServer(mode=only_single(REFUSALS[name])) as server:
        chain = chain_of(http, profile(server.rpc_url))
        assert (await chain.read(OWNER)).stake_wei == 1500 * MASA
        assert [isinstance(body, list) for body in server.bodies] == [True, False, False, False, False]
        assert (await chain.read(OWNER)).epoch == 3
        assert [isinstance(body, list) for body in server.bodies[5:]] == [False] * 4


async def test_a_server_that_refused_batches_is_given_another_chance_some_day(
    http: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc, "BATCH_AGAIN_AFTER", 2)
    async with RpcServer(mode=only_single(REFUSALS["HTTP 413"])) as server:
        chain = chain_of(http, profile(server.rpc_url))
        await chain.read(OWNER)
        server.mode = truth
        sent = len(server.requests)
        for _ in range(3):
            await chain.read(OWNER)
    assert [isinstance(body, list) for body in server.bodies[sent:]] == [False] * 8 + [True]


async def test_a_server_that_fails_singly_too_is_not_remembered_as_one_without_batches(http: HttpClient) -> None:
    async with RpcServer(mode=raw(b"", 500)) as server:
        chain = chain_of(http, profile(server.rpc_url))
        with pytest.raises(ChainUnknown):
            await chain.read(OWNER)
        server.mode = truth
        sent = len(server.requests)
        await chain.read(OWNER)
    assert [isinstance(body, list) for body in server.bodies[sent:]] == [True]


async def test_a_limit_met_while_asking_singly_is_unknown(http: HttpClient) -> None:
    async def step(line: Line) -> None:
        await (raw(b"", 400) if is_batch(line) else raw(b"", 429))(line)

    async with RpcServer(mode=step) as server:
        assert "asked too often" in await why_unknown(http, profile(server.rpc_url))


# ---- a contract's signature ----


async def is_signed(http: HttpClient, described: Profile) -> bool:
    return await chain_of(http, described).is_signed(OWNER, DIGEST, b"\x01" * 65)


async def test_a_contracts_signature_is_asked_for_in_one_request_with_the_chains_id_and_head(http: HttpClient) -> None:
    async with RpcServer() as server:
        assert await is_signed(http, profile(server.rpc_url))
    (body,) = server.bodies
    assert [call["method"] for call in body] == ["eth_chainId", "eth_getBlockByNumber", "eth_call", "eth_call"]
    asked = body[2]["params"][0]
    assert (asked["to"], int(asked["gas"], 16)) == (OWNER, 5_000_000)
    assert asked["data"].startswith("0x1626ba7e" + DIGEST.hex() + "40".rjust(64, "0") + "41".rjust(64, "0") + "01" * 65)


NO = [
    b"",
    bytes(32),
    words(0x1626BA7E),  # right-aligned
    bytes.fromhex("1626ba7e"),
    bytes.fromhex("1626ba7e") + bytes(27) + b"\x01",
    bytes.fromhex("1626ba7e") + bytes(60),
    words(1),
    b"\xff" * 32,
]


@pytest.mark.parametrize("answer", NO, ids=[answer.hex()[:20] + f"_{len(answer)}" for answer in NO])
async def test_anything_but_the_exact_word_is_no_signature(http: HttpClient, answer: bytes) -> None:
    async with RpcServer(Facts(calls={VALID: answer})) as server:
        assert not await is_signed(http, profile(server.rpc_url))


REFUSED = [
    REVERTED,
    {"code": -32000, "message": "execution reverted"},
    {"code": -32015, "data": "0x"},
    {"code": 9, "data": "0x01"},
]


@pytest.mark.parametrize("refusal", REFUSED)
async def test_a_revert_is_no_signature(http: HttpClient, refusal: Json) -> None:
    async with RpcServer(
        mode=retold(lambda told: [*told[:2], {"id": told[2]["id"], "error": refusal}, told[3]])
    ) as server:
        assert not await is_signed(http, profile(server.rpc_url))


@pytest.mark.parametrize("refusal", [*REFUSED, {"code": -32000, "message": "header not found"}])
async def test_a_server_that_carries_out_no_call_at_all_leaves_the_signature_unknown(
    http: HttpClient, refusal: Json
) -> None:
    """Of geth, -32000 means a revert, or a block that it does not hold."""
    async with RpcServer(Facts(errors={"eth_call": refusal})) as server:
        with pytest.raises(ChainUnknown):
            await is_signed(http, profile(server.rpc_url))


@pytest.mark.parametrize("mode", [error(2, -32603, "internal error"), error(2, -32601), result(2, None), result(2, 1)])
async def test_a_server_that_did_not_carry_the_call_out_leaves_the_signature_unknown(
    http: HttpClient, mode: Step
) -> None:
    async with RpcServer(mode=mode) as server:
        with pytest.raises(ChainUnknown):
            await is_signed(http, profile(server.rpc_url))


@pytest.mark.parametrize("facts", [Facts(chain_id=1), Facts(unix_s=1), Facts(errors={"eth_chainId": METHOD_NOT_FOUND})])
async def test_a_signature_is_not_taken_from_another_chain_or_an_old_head(http: HttpClient, facts: Facts) -> None:
    async with RpcServer(facts) as server:
        with pytest.raises(ChainUnknown):
            await is_signed(http, profile(server.rpc_url))


# ---- cancelled ----


@pytest.mark.parametrize("mode", [hung, drip])
async def test_a_cancelled_read_gives_its_connection_up(http: HttpClient, mode: Step) -> None:
    async with RpcServer(mode=mode) as server:
        reading = asyncio.ensure_future(read(http, profile(server.rpc_url)))
        await server.until(lambda: len(server.requests) == 1)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await server.until(lambda: server.open == 0)


async def test_a_read_cancelled_among_single_calls_gives_all_connections_up(http: HttpClient) -> None:
    async def step(line: Line) -> None:
        await (raw(b"", 400) if is_batch(line) else hung)(line)

    async with RpcServer(mode=step) as server:
        reading = asyncio.ensure_future(read(http, profile(server.rpc_url)))
        await server.until(lambda: len(server.requests) == 5)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await server.until(lambda: server.open == 0)


# ---- a real chain, and web3 as a second reader of it ----


def on_anvil(chain: AnvilChain, contract: str, **changes: Json) -> Profile:
    about = {"chain_id": chain.web3.eth.chain_id, "contract": parse_address(contract), "max_head_age_s": None}
    return profile(chain.url, **(about | changes))


async def test_a_real_stake_reads_as_web3_reads_it(http: HttpClient, chain: AnvilChain) -> None:
    _, staking = chain.deploy_both()
    owner, stranger = (parse_address(account) for account in chain.accounts[1:3])
    chain.stake(staking, owner, 2 * MINIMUM_WEI)
    chain.transact(staking.functions.unbond(MINIMUM_WEI), owner)
    chain.transact(staking.functions.revokeDelegations(), owner)
    reader = chain_of(http, on_anvil(chain, staking.address))
    for somebody in (owner, stranger):
        got = await reader.read(somebody)
        seen = chain.call(staking, "standing", somebody)
        assert [got.stake_wei, got.minimum_wei, got.epoch, got.block, got.block_unix_s] == list(seen)
        assert (got.block, got.block_unix_s) == chain.head()
        assert got.unbonding_s == chain.call(staking, "unbondingPeriod")
    assert (await reader.read(owner)).epoch == 1


async def test_a_real_masa_shaped_stake_reads_as_web3_reads_it(http: HttpClient, chain: AnvilChain) -> None:
    token = chain.deploy_token()
    staking = chain.deploy_source("masa_shaped", token.address, MINIMUM_WEI)
    owner = parse_address(chain.accounts[1])
    chain.stake(staking, owner, 3 * MINIMUM_WEI)
    got = await chain_of(http, on_anvil(chain, staking.address, shape=Shape.MASA)).read(owner)
    assert (got.stake_wei, got.minimum_wei) == (3 * MINIMUM_WEI, chain.call(staking, "minimumStake"))
    assert (got.block, got.block_unix_s) == chain.head()
    why = await why_unknown(http, on_anvil(chain, staking.address))
    assert "standing(address) of the contract" in why


async def test_an_address_without_code_on_a_real_chain_is_unknown(http: HttpClient, chain: AnvilChain) -> None:
    why = await why_unknown(http, on_anvil(chain, chain.accounts[5]))
    assert f"no contract at {chain.accounts[5]} on chain 31337" in why


@pytest.mark.parametrize("answer", [bytes(31), bytes(33), words(1, 2, 3), b"\xff" * 160])
async def test_a_real_contract_that_answers_nonsense_is_unknown(
    http: HttpClient, chain: AnvilChain, answer: bytes
) -> None:
    liar = chain.deploy_source("liar", answer, False)  # noqa: FBT003 - a contract's arguments have no names here
    await why_unknown(http, on_anvil(chain, liar.address))


async def test_a_real_contract_owner_signs_as_its_keeper_does(http: HttpClient, chain: AnvilChain) -> None:
    keeper, other = chain.new_account(), chain.new_account()
    _, staking = chain.deploy_both()
    safe = parse_address(chain.deploy_source("safe_owner", keeper.address).address)
    reader = chain_of(http, on_anvil(chain, staking.address))
    good = sign(DIGEST, bytes(keeper.key))
    assert await reader.is_signed(safe, DIGEST, good)
    assert not await reader.is_signed(safe, DIGEST, sign(DIGEST, bytes(other.key)))
    assert not await reader.is_signed(safe, bytes(32), good)
    assert not await reader.is_signed(safe, DIGEST, b"")
    assert not await reader.is_signed(Address(keeper.address), DIGEST, good)  # no code there
    assert not await reader.is_signed(parse_address(staking.address), DIGEST, good)  # a contract that reverts


async def test_a_stake_is_read_at_the_block_of_the_tag(http: HttpClient, chain: AnvilChain) -> None:
    _, staking = chain.deploy_both()
    owner = parse_address(chain.accounts[1])
    chain.rpc("anvil_mine", "0x80")
    chain.stake(staking, owner)
    profiles = [on_anvil(chain, staking.address, block_tag=tag) for tag in BlockTag]
    found = [await chain_of(http, at).read(owner) for at in profiles]
    assert [reading.stake_wei for reading in found] == [MINIMUM_WEI, 0, 0]
    assert found[0].block > found[1].block > found[2].block
