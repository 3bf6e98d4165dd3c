import pytest
from eth_utils.address import to_checksum_address
from hypothesis import given
from hypothesis import strategies as st

from masa_node.staking.ethereum.crypto import Address, address_of, parse_address, raw_address

# https://eips.ethereum.org/EIPS/eip-55, test cases
PUBLISHED = [
    "0x52908400098527886E0F7030069857D2E4169EE7",
    "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
    "0xde709f2102306220921060314715629080e2fb77",
    "0x27b1fdb04752bbc536007a920d24acb045561c26",
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
]
MIXED = PUBLISHED[-1]


@pytest.mark.parametrize("text", PUBLISHED)
def test_published_addresses_are_taken_and_written_as_they_stand(text: str) -> None:
    assert parse_address(text) == text
    assert address_of(bytes.fromhex(text[2:])) == text


@pytest.mark.parametrize("text", PUBLISHED)
def test_an_address_without_a_checksum_is_given_one(text: str) -> None:
    assert parse_address(text.lower()) == text
    assert parse_address("0x" + text[2:].upper()) == text


@given(st.binary(min_size=20, max_size=20))
def test_addresses_are_written_as_eth_utils_writes_them(raw: bytes) -> None:
    address = address_of(raw)
    assert address == to_checksum_address(raw)
    assert raw_address(address) == raw
    assert parse_address(address) == address


@pytest.mark.parametrize("at", [at for at, letter in enumerate(MIXED) if at >= 2 and letter.isalpha()])
def test_one_letter_in_the_wrong_case_is_noticed(at: int) -> None:
    with pytest.raises(ValueError, match="checksum"):
        parse_address(MIXED[:at] + MIXED[at].swapcase() + MIXED[at + 1 :])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0x",
        MIXED[2:],
        MIXED[:-1],
        MIXED + "0",
        MIXED + "\n",
        " " + MIXED,
        "0X" + MIXED[2:],
        MIXED[:-1] + "g",
        "0x" + "\uff11" * 40,  # digits to Python, not to Ethereum
        "masa.eth",
        "0x" + "1" * 100_000,
    ],
)
def test_what_is_no_address_is_refused_in_a_short_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="40 hex digits") as refused:
        parse_address(text)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("size", [0, 19, 21, 32])
def test_an_address_has_twenty_bytes(size: int) -> None:
    with pytest.raises(ValueError, match=f"address of {size} bytes"):
        address_of(bytes(size))


@pytest.mark.parametrize("text", ["0x", "0x1234", MIXED[:-2], MIXED + "00", "no address", MIXED[:-2] + "  "])
def test_text_that_never_was_an_address_is_not_padded_to_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"address of|hexadecimal"):
        raw_address(Address(text))
