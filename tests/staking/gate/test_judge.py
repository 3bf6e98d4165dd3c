"""The words of a verdict."""

import pytest

from masa_node.staking.gate.cache import ReadFailure
from masa_node.staking.gate.judge import Token, aged, judge, tokens
from masa_node.staking.gate.values import Reading, StakeAnswer
from tests.staking.delegations import AT, Owner, node

OWNER = Owner()
MASA = Token("MASA", 18)
WEI = 10**18


def reading(stake: int, *, minimum: int = 1000 * WEI, epoch: int = 0) -> Reading:
    return Reading(OWNER.address, stake, minimum, epoch, 7, AT, 86_400, AT)


@pytest.mark.parametrize(
    ("amount", "token", "text"),
    [
        (0, MASA, "0 MASA"),
        (1, MASA, "0 MASA"),
        (1000 * WEI, MASA, "1000 MASA"),
        (1000 * WEI - 1, MASA, "999.9999 MASA"),  # rounded down, so that too little never looks enough
        (5 * WEI // 4, MASA, "1.25 MASA"),
        (WEI // 100, MASA, "0.01 MASA"),
        (1234, Token("USDC", 2), "12.34 USDC"),
        (12, Token("X", 0), "12 X"),
    ],
)
def test_amounts_read_as_people_write_them(amount: int, token: Token, text: str) -> None:
    assert tokens(amount, token) == text


@pytest.mark.parametrize(
    ("stake", "nodes", "answer", "words"),
    [
        (1000, 1, StakeAnswer.STAKED, "1000 MASA at block 7 cover 1 node"),
        (2500, 2, StakeAnswer.STAKED, "2500 MASA at block 7 cover 2 nodes"),
        (
            2999,
            3,
            StakeAnswer.NOT_STAKED,
            "2999 MASA at block 7 cover 2 nodes, 3 nodes of this owner are seen; 1000",
        ),
        (999, 1, StakeAnswer.NOT_STAKED, "999 MASA at block 7 cover no node, 1 node of this owner is seen"),
        (0, 1, StakeAnswer.NOT_STAKED, "has no stake at block 7; 1000 MASA a node are needed"),
    ],
)
def test_a_verdict_says_what_the_stake_covers(stake: int, nodes: int, answer: StakeAnswer, words: str) -> None:
    verdict = judge(OWNER.delegation(node(1)), reading(stake * WEI), nodes, MASA)
    assert verdict.answer is answer
    assert words in verdict.reason


def test_a_contract_without_a_minimum_takes_any_stake_but_none() -> None:
    delegation = OWNER.delegation(node(1))
    assert judge(delegation, reading(1, minimum=0), 99, MASA).answer is StakeAnswer.STAKED
    assert judge(delegation, reading(0, minimum=0), 1, MASA).answer is StakeAnswer.NOT_STAKED


def test_a_revoked_delegation_is_refused_whatever_the_stake() -> None:
    verdict = judge(OWNER.delegation(node(1), epoch=4), reading(10**30, epoch=5), 1, MASA)
    assert verdict.answer is StakeAnswer.NOT_STAKED
    assert "it is of epoch 4, the owner's is 5 at block 7, with 1000000000000 MASA staked. Have" in verdict.reason


def test_an_old_reading_is_said_to_be_old() -> None:
    verdict = judge(OWNER.delegation(node(1)), reading(1000 * WEI), 1, MASA)
    assert aged(verdict, None).reason == f"{verdict.reason}; it is read again"
    failed = aged(verdict, ReadFailure("refused", AT))
    assert failed.reason == f"{verdict.reason}; the chain cannot be read now: refused"
    assert (failed.answer, failed.read_at_unix_s) == (verdict.answer, verdict.read_at_unix_s)


def test_what_a_refused_node_is_told_names_no_server_of_this_nodes_owner() -> None:
    verdict = judge(OWNER.delegation(node(1)), reading(0), 1, MASA)
    told = aged(verdict, ReadFailure("http://10.0.0.7:8545: nothing listens there", AT))
    assert told.answer is StakeAnswer.NOT_STAKED
    assert told.reason == f"{verdict.reason}; the chain cannot be read now"
