import eth_abi
import pytest
from eth_utils.abi import function_signature_to_4byte_selector
from hypothesis import given
from hypothesis import strategies as st

from masa_node.staking.ethereum.abi import Argument, address_in, call_data, selector, uints, word
from masa_node.staking.ethereum.crypto import Address, address_of

UINT = st.integers(min_value=0, max_value=2**256 - 1)
ADDRESS = st.binary(min_size=20, max_size=20).map(address_of)
ARGUMENT = st.one_of(
    UINT.map(lambda value: ("uint256", value)),
    ADDRESS.map(lambda value: ("address", value)),
    st.binary(min_size=32, max_size=32).map(lambda value: ("bytes32", value)),
)


@pytest.mark.parametrize(
    ("signature", "first_bytes"),
    [  # as block explorers and ERC-20, ERC-1271 have them
        ("stakes(address)", "16934fc4"),
        ("minimumStake()", "ec5ffac2"),
        ("stake(uint256)", "a694fc3a"),
        ("withdraw(uint256)", "2e1a7d4d"),
        ("approve(address,uint256)", "095ea7b3"),
        ("allowance(address,address)", "dd62ed3e"),
        ("balanceOf(address)", "70a08231"),
        ("faucet()", "de5f72fd"),
        ("isValidSignature(bytes32,bytes)", "1626ba7e"),
        ("Error(string)", "08c379a0"),
    ],
)
def test_selectors_are_the_published_ones(signature: str, first_bytes: str) -> None:
    assert selector(signature).hex() == first_bytes


@given(st.lists(ARGUMENT, max_size=6), st.none() | st.binary(max_size=200))
def test_calls_are_written_as_eth_abi_writes_them(arguments: list[tuple[str, Argument]], tail: bytes | None) -> None:
    kinds, values = [kind for kind, _ in arguments], [value for _, value in arguments]
    name = f"call({','.join([*kinds, *(['bytes'] if tail is not None else [])])})"
    ours = call_data(name, *values, tail=tail)
    if tail is not None:
        kinds, values = [*kinds, "bytes"], [*values, tail]
    assert ours == function_signature_to_4byte_selector(name) + eth_abi.encode(kinds, values)


@given(st.lists(UINT, max_size=6), st.binary(max_size=64))
def test_words_are_read_as_eth_abi_writes_them_and_more_behind_them_is_left_alone(
    numbers: list[int], more: bytes
) -> None:
    data = eth_abi.encode(["uint256"] * len(numbers), numbers)
    assert uints(data + more, len(numbers)) == tuple(numbers)


@given(ADDRESS)
def test_an_address_is_read_as_eth_abi_writes_it(address: Address) -> None:
    assert address_in(eth_abi.encode(["address"], [address])) == address


@pytest.mark.parametrize(
    "value",
    [-1, 2**256, b"", b"\0" * 31, b"\0" * 33, Address("0x12"), Address("0x" + "00" * 21), Address("somebody")],
)
def test_what_fits_in_no_word_is_refused(value: Argument) -> None:
    with pytest.raises(ValueError, match=r"not a uint256|not a bytes32|address of|hexadecimal"):
        word(value)


@given(st.integers(1, 5), st.binary(max_size=200))
def test_an_answer_that_is_too_short_is_refused_whatever_it_holds(count: int, data: bytes) -> None:
    data = data[: count * 32 - 1]
    with pytest.raises(ValueError, match=f"{count * 32} were expected"):
        uints(data, count)


def test_an_answer_that_lacks_its_last_byte_is_too_short() -> None:
    with pytest.raises(ValueError, match="63 bytes, 64 were expected"):
        uints(bytes(63), 2)


def test_no_answer_is_no_address() -> None:
    with pytest.raises(ValueError, match="0 bytes"):
        address_in(b"")


@given(st.binary(min_size=1, max_size=12).filter(any), ADDRESS)
def test_a_word_with_more_than_an_address_in_it_is_refused(more: bytes, address: Address) -> None:
    with pytest.raises(ValueError, match="not an address"):
        address_in(more.rjust(12, b"\0") + bytes.fromhex(address[2:]))
