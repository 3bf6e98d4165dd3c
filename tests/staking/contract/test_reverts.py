"""Reverts in words, and amounts read and written, against eth-abi as a second encoder."""

import json
from decimal import Decimal, localcontext

import pytest
from eth_abi import encode
from eth_utils import function_signature_to_4byte_selector, to_checksum_address
from hypothesis import given
from hypothesis import strategies as st

from masa_node.node.chain_http import ChainHttp
from masa_node.staking.contract.artifacts import artifact
from masa_node.staking.contract.reverts import BadAmount, amount_in_words, calendar_time, describe_revert, parse_amount
from masa_node.staking.contract.transactions import call
from masa_node.staking.ethereum.rpc import Rpc, RpcError
from masa_node.upstreams.http.client import HttpClient
from tests.staking.anvil_chain import AnvilChain
from tests.staking.rpc_server import MASA, profile

SOMEBODY = "0x" + "0a" * 20
SHOWN = to_checksum_address(SOMEBODY)
PROFILE = profile()


def revert(signature: str, *values: object) -> bytes:
    kinds = signature.partition("(")[2][:-1].split(",")
    body = encode(kinds, values) if values else b""
    return function_signature_to_4byte_selector(signature) + body


SAID = [
    (revert("BelowMinimum(uint256,uint256)", 5 * MASA, 1000 * MASA), "1000 MASA at least, 5 given"),
    (
        revert("NotEnoughStaked(uint256,uint256)", 7 * MASA, MASA // 2),
        "Only 0.5 MASA are staked; 7 were to be unbonded",
    ),
    (revert("NothingToDo()"), "zero does nothing"),
    (revert("StillUnbonding(uint256)", 1_800_000_000), "from 2027-01-15 08:00 UTC on"),
    (revert("StillUnbonding(uint256)", 2**256 - 1), f"from second {2**256 - 1} on"),
    (revert("NotEnoughUnbonded(uint256,uint256)", 2 * MASA, MASA), "Only 1 MASA are unbonded; 2 were"),
    (revert("UnbondingTooShort(uint256,uint256)", 3599, 86_400), "1 day at least, 3599 seconds given"),
    (revert("UnbondingTooLong(uint256,uint256)", 31_622_400, 31_536_000), "365 days at most, 366 days given"),
    (revert("UnbondingTooShort(uint256,uint256)", 7_200, 604_800), "7 days at least, 2 hours given"),
    (revert("TransferFailed()"), "token refused the transfer"),
    (revert("ERC20InsufficientBalance(address,uint256,uint256)", SOMEBODY, 0, MASA), f"{SHOWN} has only 0 MASA; 1 are"),
    (
        revert("ERC20InsufficientAllowance(address,uint256,uint256)", SOMEBODY, MASA, 3 * MASA),
        f"contract {SHOWN} may take only 1 MASA; 3 are needed. Approve",
    ),
    (revert("ERC20InvalidReceiver(address)", SOMEBODY), f"nothing be sent to {SHOWN}"),
    (revert("ERC20InvalidSender(address)", SOMEBODY), f"nothing be sent from {SHOWN}"),
    (revert("ERC20InvalidApprover(address)", SOMEBODY), SHOWN),
    (revert("ERC20InvalidSpender(address)", SOMEBODY), SHOWN),
    (revert("SafeERC20FailedOperation(address)", SOMEBODY), SHOWN),
    (revert("AddressEmptyCode(address)", SOMEBODY), SHOWN),
    (revert("OwnableUnauthorizedAccount(address)", SOMEBODY), SHOWN),
    (revert("EnforcedPause()"), "paused"),
    (revert("ReentrancyGuardReentrantCall()"), "from within itself"),
    (revert("Error(string)", "Amount is less than minimum stake"), 'refused: "Amount is less than minimum stake".'),
    (revert("Error(string)", ""), 'refused: "".'),
    (revert("Error(string)", "a\x1b[2J\nb"), '"a [2J b"'),
    (revert("Panic(uint256)", 0x11), "a number overflowed (panic 0x11)"),
    (revert("Panic(uint256)", 0x99), "an error of its own (panic 0x99)"),
    (b"", "gave no reason"),
    (b"\x01\x02\x03", "not known here: 0x010203"),
    (b"\xde\xad\xbe\xef", "0xdeadbeef"),
    (b"\xde\xad\xbe\xef" + bytes(64), "0xdeadbeef" + "00" * 32 + "…"),
    (revert("BelowMinimum(uint256,uint256)", 1, 2)[:-1], "not known here"),
    (revert("Error(string)", "cut off here")[:68], "not known here"),
    (function_signature_to_4byte_selector("Error(string)") + b"\xff" * 64, "not known here"),
    (function_signature_to_4byte_selector("AddressEmptyCode(address)") + b"\xff" * 32, "not known here"),
]


@pytest.mark.parametrize(("data", "said"), SAID, ids=[said for _, said in SAID])
def test_a_revert_is_told_in_words(data: bytes, said: str) -> None:
    assert said in describe_revert(data, PROFILE)


def test_amounts_are_told_in_the_profiles_token() -> None:
    other = profile(symbol="USDX", decimals=6)
    assert ("1 USDX at least, 0.000005 given") in describe_revert(
        revert("BelowMinimum(uint256,uint256)", 5, 1_000_000), other
    )


@given(st.sampled_from([data[:4] for data, _ in SAID]), st.binary(max_size=200))
def test_any_data_makes_one_harmless_sentence(selector: bytes, body: bytes) -> None:
    said = describe_revert(selector + body, PROFILE)
    assert said.isprintable()
    assert len(said) < 600


@given(st.binary(max_size=300))
def test_any_bytes_make_one_harmless_sentence(data: bytes) -> None:
    assert describe_revert(data, PROFILE).isprintable()


def test_every_error_of_our_contract_is_known() -> None:
    declared = [each for each in json.loads(bytes(artifact("staking").abi)) if each["type"] == "error"]
    assert len(declared) == 8
    for each in declared:
        kinds = ",".join(one["type"] for one in each["inputs"])
        data = revert(f"{each['name']}({kinds})", *(1 for _ in each["inputs"]))
        assert "not known" not in describe_revert(data, PROFILE), each["name"]


async def test_what_a_real_contract_refuses_is_told_in_words(chain: AnvilChain) -> None:
    token, staking = chain.deploy_both()
    owner = chain.accounts[1]
    chain.stake(staking, owner, 2 * chain.minimum_wei)
    chain.transact(staking.functions.unbond(MASA), owner)
    _, unbonding_until = chain.call(staking, "unbonding", owner)
    refused = [
        (staking.functions.stake(5 * MASA), "1000 MASA at least, 5 given"),
        (staking.functions.stake(0), "zero does nothing"),
        (staking.functions.unbond(2000 * MASA), "Only 1999 MASA are staked; 2000 were"),
        (staking.functions.withdraw(MASA), f"from {calendar_time(unbonding_until)} on"),
        (staking.functions.withdraw(2 * MASA), "Only 1 MASA are unbonded; 2 were"),
        (token.functions.transfer(owner, 10**30), '"the balance is too low"'),
    ]
    async with HttpClient() as http:
        rpc = Rpc(ChainHttp(http), (chain.url,))
        for function, said in refused:
            made = function.build_transaction({"from": owner, "gas": 1_000_000, "gasPrice": 0, "nonce": 0})
            with pytest.raises(RpcError) as caught:
                await call(rpc, "eth_call", [{"from": owner, "to": made["to"], "data": made["data"]}, "latest"])
            assert said in describe_revert(caught.value.data, PROFILE)


# ---- amounts ----


@pytest.mark.parametrize(
    ("text", "wei"),
    [
        ("1000", 1000 * MASA),
        ("0", 0),
        ("0.5", MASA // 2),
        ("1000 MASA", 1000 * MASA),
        ("1000masa", 1000 * MASA),
        ("  7.10 ", 71 * MASA // 10),
        ("0.000000000000000001", 1),
        ("0.0000000000000000010000", 1),
        ("007", 7 * MASA),
        (str(2**256 // MASA), (2**256 // MASA) * MASA),
    ],
)
def test_an_amount_is_read_exactly(text: str, wei: int) -> None:
    assert parse_amount(text, PROFILE) == wei


BAD = ["", "MASA", "-1", "+1", "1e3", "1,000", "1.000,5", ".5", "5.", "0x10", "1_000", "1 000", "nan", "٣", "1\n2", "½"]
BAD += ["0.0000000000000000001", "9" * 78, "9" * 5_000, "1.5.5", "1000 ETH", "one \x1b[2J"]


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_amount_is_refused_and_shown_harmlessly(text: str) -> None:
    with pytest.raises(BadAmount) as caught:
        parse_amount(text, PROFILE)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 300


@given(st.integers(0, 2**256 - 1), st.integers(0, 36))
def test_what_is_written_reads_back(wei: int, decimals: int) -> None:
    described = profile(decimals=decimals)
    shown = amount_in_words(wei, described)
    assert parse_amount(shown, described) == wei
    with localcontext(prec=100):
        assert Decimal(shown.removesuffix(" MASA")) == Decimal(wei).scaleb(-decimals)


@pytest.mark.parametrize(
    ("wei", "shown"),
    [(1000 * MASA, "1000 MASA"), (MASA // 2, "0.5 MASA"), (0, "0 MASA"), (1, "0.000000000000000001 MASA")],
)
def test_an_amount_is_written_in_the_tokens_unit(wei: int, shown: str) -> None:
    assert amount_in_words(wei, PROFILE) == shown


@pytest.mark.parametrize(
    ("at_unix_s", "shown"),
    [
        (0, "1970-01-01 00:00 UTC"),
        (253_402_300_799, "9999-12-31 23:59 UTC"),
        (253_402_300_800, "second 253402300800"),
        (-1, "second -1"),
    ],
)
def test_calendar_time_has_no_time_that_breaks_it(at_unix_s: int, shown: str) -> None:
    assert calendar_time(at_unix_s) == shown
