"""What a contract gives with a revert, in words for people; and amounts of the token, read and written. Pure."""

import re
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from masa_node.chat.errors import MasaError
from masa_node.staking.contract.profile import Profile
from masa_node.staking.ethereum.abi import SELECTOR, WORD, address_in, selector, uints
from masa_node.staking.ethereum.json_rpc import quoted

MAX_AMOUNT_WEI = (1 << 256) - 1
MAX_UNIX_S = 253_402_300_799  # the end of the year 9999: `datetime` knows no later time
MAX_SHOWN_BYTES = 36  # of an unknown error: its selector and one word

_AMOUNT = re.compile(r"\A([0-9]{1,78})(?:\.([0-9]{1,78}))?\Z")

# https://docs.soliditylang.org/en/latest/control-structures.html#panic-via-assert-and-error-via-require
_PANICS = {
    0x01: "an assertion failed",
    0x11: "a number overflowed",
    0x12: "a division by zero",
    0x21: "a value that its type does not have",
    0x22: "broken storage",
    0x31: "nothing was left to take away",
    0x32: "an index out of bounds",
    0x41: "too much memory was asked for",
    0x51: "an uninitialised function was called",
}

Words = Callable[[bytes, Profile], str]


class BadAmount(MasaError):
    """That is no amount of the token. Write it in digits, with a dot before decimals: 1000 or 0.5."""

    code = "bad_amount"


class _RevertKind(msgspec.Struct, frozen=True):
    """A custom error: how many words it holds at least, and what to say of them."""

    count: int
    say: Words


def describe_revert(data: bytes, profile: Profile) -> str:
    """A sentence for the data of a revert: what is wrong, with amounts in the token's unit and times of the calendar.

    What is not known is shown in hexadecimal. Never raises.
    """
    kind = _KINDS.get(data[:SELECTOR])
    body = data[SELECTOR:]
    if kind is not None and len(body) >= kind.count * WORD:
        try:
            return kind.say(body, profile)
        except ValueError:  # an address that is none, a text beyond its end
            pass
    if not data:
        return "The contract refused, and gave no reason."
    digits = data[:MAX_SHOWN_BYTES].hex() + ("…" if len(data) > MAX_SHOWN_BYTES else "")
    return f"The contract refused with an error that is not known here: 0x{digits}"


def amount_in_words(wei: int, profile: Profile) -> str:
    """An amount in the token's unit, exactly: "1000 MASA", "0.5 MASA"."""
    return f"{_decimal(wei, profile.decimals)} {profile.symbol}"


def parse_amount(text: str, profile: Profile) -> int:
    """The amount that somebody wrote, "1000", "0.5" or "1000 MASA", in the smallest unit. Raises `BadAmount`."""
    bare = text.strip()
    if bare.upper().endswith(profile.symbol.upper()):
        bare = bare[: len(bare) - len(profile.symbol)].rstrip()
    found = _AMOUNT.match(bare)
    if found is None:
        raise BadAmount(f"{quoted(text)} is not an amount. Write digits, with a dot before decimals: 1000 or 0.5.")
    whole, fraction = found[1], (found[2] or "").rstrip("0")
    if len(fraction) > profile.decimals:
        raise BadAmount(f"{quoted(text)} has more decimals than {profile.symbol} has: {profile.decimals} at most.")
    wei = int(whole + fraction.ljust(profile.decimals, "0"))
    if wei > MAX_AMOUNT_WEI:
        raise BadAmount(f"{quoted(text)} is more {profile.symbol} than there can be.")
    return wei


def calendar_time(at_unix_s: int) -> str:
    """In words, "2026-11-30 12:00 UTC"; a time after the year 9999 as its number."""
    if not 0 <= at_unix_s <= MAX_UNIX_S:
        return f"second {at_unix_s}"
    return datetime.fromtimestamp(at_unix_s, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _decimal(wei: int, decimals: int) -> str:
    whole, rest = divmod(wei, 10**decimals)
    fraction = str(rest).rjust(decimals, "0").rstrip("0") if rest else ""
    return f"{whole}.{fraction}" if fraction else str(whole)


# ---- the errors, one sentence each ----


def _below_minimum(body: bytes, profile: Profile) -> str:
    given, minimum = uints(body, 2)
    return f"That is too little: {amount_in_words(minimum, profile)} at least, {_plain(given, profile)} given."


def _not_enough_staked(body: bytes, profile: Profile) -> str:
    wanted, staked = uints(body, 2)
    return f"Only {amount_in_words(staked, profile)} are staked; {_plain(wanted, profile)} were to be unbonded."


def _not_enough_unbonded(body: bytes, profile: Profile) -> str:
    wanted, unbonded = uints(body, 2)
    return (
        f"Only {amount_in_words(unbonded, profile)} are unbonded; {_plain(wanted, profile)} were to be withdrawn. "
        "Unbond first."
    )


def _still_unbonding(body: bytes) -> str:
    (until,) = uints(body, 1)
    return f"The stake is still unbonding. It can be withdrawn from {calendar_time(until)} on."


def _unbonding_too_short(body: bytes) -> str:
    given_s, least_s = uints(body, 2)
    return f"The unbonding period is too short: {_span(least_s)} at least, {_span(given_s)} given."


def _unbonding_too_long(body: bytes) -> str:
    given_s, most_s = uints(body, 2)
    return f"The unbonding period is too long: {_span(most_s)} at most, {_span(given_s)} given."


def _too_little_balance(body: bytes, profile: Profile) -> str:
    balance, needed = uints(body[WORD:], 2)
    return f"{address_in(body)} has only {amount_in_words(balance, profile)}; {_plain(needed, profile)} are needed."


def _too_little_allowance(body: bytes, profile: Profile) -> str:
    allowance, needed = uints(body[WORD:], 2)
    return (
        f"The contract {address_in(body)} may take only {amount_in_words(allowance, profile)}; "
        f"{_plain(needed, profile)} are needed. Approve that amount first."
    )


def _panic(body: bytes) -> str:
    (code,) = uints(body, 1)
    return f"The contract failed: {_PANICS.get(code, 'an error of its own')} (panic {code:#04x})."


def _error(body: bytes) -> str:
    """Solidity's `require(…, "text")`: the text behind its offset and length. Raises `ValueError` beyond the end."""
    (offset,) = uints(body, 1)
    (size_bytes,) = uints(body[offset:], 1)
    text = body[offset + WORD : offset + WORD + size_bytes]
    if len(text) != size_bytes:
        raise ValueError("a text that is cut")
    return f"The contract refused: {quoted(text.decode('utf-8', 'replace'))}."


def _without_amounts(say: Callable[[bytes], str]) -> Words:
    return lambda body, _: say(body)


def _of_address(sentence: str) -> Words:
    """A sentence with the error's one address in the place of `{}`."""
    return lambda body, _: sentence.format(address_in(body))


def _plainly(sentence: str) -> Words:
    return lambda _, __: sentence


def _plain(wei: int, profile: Profile) -> str:
    """The amount without its unit, where that was just said."""
    return _decimal(wei, profile.decimals)


def _span(seconds: int) -> str:
    """A duration in the largest unit that makes it a whole number."""
    for name, size_s in (("days", 86_400), ("hours", 3_600)):
        if seconds >= size_s and seconds % size_s == 0:
            count = seconds // size_s
            return f"{count} {name if count > 1 else name[:-1]}"
    return f"{seconds} seconds"


_BY_SIGNATURE: dict[str, _RevertKind] = {
    # our contract's
    "BelowMinimum(uint256,uint256)": _RevertKind(2, _below_minimum),
    "NotEnoughStaked(uint256,uint256)": _RevertKind(2, _not_enough_staked),
    "NothingToDo()": _RevertKind(0, _plainly("An amount of zero does nothing. Give an amount.")),
    "StillUnbonding(uint256)": _RevertKind(1, _without_amounts(_still_unbonding)),
    "NotEnoughUnbonded(uint256,uint256)": _RevertKind(2, _not_enough_unbonded),
    "UnbondingTooShort(uint256,uint256)": _RevertKind(2, _without_amounts(_unbonding_too_short)),
    "UnbondingTooLong(uint256,uint256)": _RevertKind(2, _without_amounts(_unbonding_too_long)),
    "TransferFailed()": _RevertKind(
        0, _plainly("The token refused the transfer. Is enough of it approved, and owned?")
    ),
    # OpenZeppelin 5: https://docs.openzeppelin.com/contracts/5.x/api/interfaces#IERC20Errors
    "ERC20InsufficientBalance(address,uint256,uint256)": _RevertKind(3, _too_little_balance),
    "ERC20InsufficientAllowance(address,uint256,uint256)": _RevertKind(3, _too_little_allowance),
    "ERC20InvalidSender(address)": _RevertKind(1, _of_address("The token lets nothing be sent from {}.")),
    "ERC20InvalidReceiver(address)": _RevertKind(1, _of_address("The token lets nothing be sent to {}.")),
    "ERC20InvalidApprover(address)": _RevertKind(1, _of_address("The token lets {} approve nothing.")),
    "ERC20InvalidSpender(address)": _RevertKind(1, _of_address("The token lets nothing be approved for {}.")),
    "SafeERC20FailedOperation(address)": _RevertKind(1, _of_address("The token {} refused the transfer.")),
    "AddressEmptyCode(address)": _RevertKind(1, _of_address("There is no contract at {}. Is the profile right?")),
    "OwnableUnauthorizedAccount(address)": _RevertKind(
        1, _of_address("{} is not the contract's owner: only the owner may do this.")
    ),
    "EnforcedPause()": _RevertKind(0, _plainly("The contract is paused by its owner. Try again later.")),
    "ReentrancyGuardReentrantCall()": _RevertKind(
        0, _plainly("The contract was called from within itself, and refuses it.")
    ),
    # Solidity's own
    "Error(string)": _RevertKind(2, _without_amounts(_error)),
    "Panic(uint256)": _RevertKind(1, _without_amounts(_panic)),
}

_KINDS = {selector(signature): kind for signature, kind in _BY_SIGNATURE.items()}
