"""From answers to readings: whatever the bytes are, there is a reading, or it is unknown and says why."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.chat.errors import ChainUnknown
from masa_node.staking.contract.profile import Profile, Shape
from masa_node.staking.ethereum.json_rpc import BadReply, encode, parse
from masa_node.staking.gate.readings import MAGIC, is_accepted, read_calls, reading_of
from masa_node.staking.gate.values import Reading
from tests.staking.rpc_server import CHAIN_ID, MASA, NOW_UNIX_S, OWNER, Facts, profile, words

HEAD, THEN = 7_000_000, int(NOW_UNIX_S) - 12
SHAPES = [profile(shape=shape) for shape in Shape]
UINT256 = st.integers(0, 2**256 - 1)
LIKELY = st.sampled_from([0, 1, CHAIN_ID, HEAD, THEN, THEN - 300, MASA, 2**64, 2**200, 2**256 - 1]) | UINT256
WORDS = st.lists(LIKELY, max_size=6).map(lambda numbers: "0x" + words(*numbers).hex())
BLOCKS = st.fixed_dictionaries({"number": LIKELY.map(hex), "timestamp": LIKELY.map(hex)})
RESULTS = LIKELY.map(hex) | WORDS | BLOCKS | st.none() | st.text() | st.booleans()
ERRORS = st.fixed_dictionaries({"code": st.sampled_from([3, -32000, -32601, 0]), "message": st.text()})
ANSWER = RESULTS.map(lambda result: {"result": result}) | ERRORS.map(lambda error: {"error": error})


def outcome(body: bytes, described: Profile) -> Reading | str:
    """Fails the test with any other exception."""
    try:
        return reading_of(parse(200, body, 1, 4), described, OWNER, NOW_UNIX_S)
    except (BadReply, ChainUnknown) as exc:
        return exc.message


def check(result: Reading | str) -> None:
    if isinstance(result, str):
        assert result.isprintable()
    else:
        assert (result.owner, result.read_at_unix_s) == (OWNER, NOW_UNIX_S)
        assert max(result.stake_wei, result.minimum_wei) <= 2**200
        assert result.epoch < 2**64
        assert result.block <= 2**63
        assert -300 <= NOW_UNIX_S - result.block_unix_s <= 300


@pytest.mark.parametrize("described", SHAPES)
@given(st.binary())
def test_any_bytes_are_a_reading_or_unknown(described: Profile, body: bytes) -> None:
    check(outcome(body, described))


@pytest.mark.parametrize("described", SHAPES)
@given(st.lists(ANSWER, min_size=4, max_size=4))
def test_any_answers_are_a_reading_or_unknown(described: Profile, answers: list[dict[str, object]]) -> None:
    body = json.dumps([{"id": at + 1} | answer for at, answer in enumerate(answers)]).encode()
    check(outcome(body, described))


@pytest.mark.parametrize("described", SHAPES)
@given(st.data())
def test_a_true_answer_with_a_few_wrong_bytes_is_a_reading_or_unknown(described: Profile, data: st.DataObject) -> None:
    body = bytearray(true_body(described))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    check(outcome(bytes(body), described))


@pytest.mark.parametrize("described", SHAPES)
@given(LIKELY, LIKELY, LIKELY, LIKELY, LIKELY)
def test_any_words_are_read_exactly_or_not_at_all(
    described: Profile, stake: int, minimum: int, epoch: int, block: int, unix_s: int
) -> None:
    facts = Facts()
    for selector, told in facts.calls.items():
        if len(told) == 5 * 32:
            facts.calls[selector] = words(stake, minimum, epoch, block, unix_s)
        elif described.shape is Shape.MASA:
            facts.calls[selector] = words(stake)
    result = outcome(true_body(described, facts), described)
    check(result)
    if isinstance(result, Reading) and described.shape is Shape.MASA_NODE:
        told_all = (result.stake_wei, result.minimum_wei, result.epoch, result.block, result.block_unix_s)
        assert told_all == (stake, minimum, epoch, block, unix_s)


def true_body(described: Profile, facts: Facts | None = None) -> bytes:
    facts = facts or Facts()
    questions = json.loads(encode(read_calls(described, OWNER), 1))
    return json.dumps([facts.answer(query) for query in questions]).encode()


@pytest.mark.parametrize("described", SHAPES)
def test_every_cut_of_a_true_answer_is_unknown(described: Profile) -> None:
    body = true_body(described)
    assert isinstance(outcome(body, described), Reading)
    for end in range(len(body)):
        assert isinstance(outcome(body[:end], described), str)


SIGNED = st.sampled_from([CHAIN_ID, 1]).map(lambda number: {"result": hex(number)})
HEADS = st.just({"result": {"number": hex(HEAD), "timestamp": hex(THEN)}}) | ANSWER


@given(st.tuples(SIGNED, HEADS, ANSWER | st.just({"result": "0x" + MAGIC.hex()}), ANSWER))
def test_any_answers_about_a_signature_are_yes_no_or_unknown(answers: tuple[dict[str, object], ...]) -> None:
    body = json.dumps([{"id": at + 1} | answer for at, answer in enumerate(answers)]).encode()
    is_true = answers[2].get("result") == "0x" + MAGIC.hex()
    with contextlib.suppress(BadReply, ChainUnknown):
        assert is_accepted(parse(200, body, 1, 4), profile(), NOW_UNIX_S) is is_true


def test_a_block_beyond_all_blocks_is_unknown() -> None:
    """Held, it would make every true answer an older one."""
    facts = Facts()
    facts.calls = {
        told: words(MASA, MASA, 0, 2**63 + 1, THEN) if len(data) == 160 else data for told, data in facts.calls.items()
    }
    result = outcome(true_body(profile(), facts), profile())
    assert isinstance(result, str)
    assert "impossible epoch, unbonding period or block" in result
