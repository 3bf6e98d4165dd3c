"""Which calls a deposit, an unbonding, a withdrawal and a revocation are made of. Pure.

Every call comes with words that say what it does, for the owner that signs it. What the contract would certainly refuse
is refused here, before anything is paid for.
"""

from masa_node.chat.errors import MasaError
from masa_node.staking.contract.account import Account, Terms
from masa_node.staking.contract.profile import Profile, Shape
from masa_node.staking.contract.reverts import amount_in_words, calendar_time, parse_amount
from masa_node.staking.contract.transactions import ContractCall
from masa_node.staking.ethereum.abi import call_data

ALL = "all"
LEAST = "min"


class NotPossible(MasaError):
    """What is asked cannot be done as things stand on the chain. The message says what can."""

    code = "not_possible"


def deposit(text: str, known: Account | Terms, profile: Profile) -> list[ContractCall]:
    """Let the contract take exactly this amount, unless it may already, and stake it. `text`: an amount, or LEAST.

    Raises `NotPossible`, `ConfigurationError`.
    """
    minimum = known.minimum_wei
    amount = minimum if text == LEAST else parse_amount(text, profile)
    in_words = amount_in_words(amount, profile)
    if not amount:
        raise NotPossible("A deposit of zero changes nothing. Name an amount, or `min`.")
    if amount < minimum:
        raise NotPossible(f"Each deposit is {amount_in_words(minimum, profile)} or more; {in_words} is less.")
    if isinstance(known, Account) and known.tokens_wei < amount:
        have = amount_in_words(known.tokens_wei, profile)
        raise NotPossible(f"{known.owner} has {have}, and {in_words} are to be staked. Send it more tokens first.")
    approve = ContractCall(
        known.token,
        call_data("approve(address,uint256)", profile.contract, amount),
        f"approve: the staking contract may take {in_words} of yours, this once",
    )
    stake = ContractCall(profile.contract, call_data("stake(uint256)", amount), f"stake: {in_words} become your stake")
    is_approved = isinstance(known, Account) and known.allowance_wei >= amount
    return [stake] if is_approved else [approve, stake]


def unbond(text: str, known: Account | Terms, profile: Profile) -> list[ContractCall]:
    """Begin to take stake out. `text`: an amount, or ALL, which needs the owner's account. Raises as `deposit`."""
    if profile.shape is Shape.MASA:
        raise NotPossible(
            "This contract has no unbonding: a stake in it is withdrawn at once. `masa-node stake withdraw AMOUNT` "
            "does that."
        )
    amount = _amount(text, known.stake_wei if isinstance(known, Account) else None, "staked", profile)
    in_words = amount_in_words(amount, profile)
    words = f"unbond: {in_words} leave your stake, and may be withdrawn after the unbonding period"
    if isinstance(known, Account):
        words += f"; {amount_in_words(known.stake_wei - amount, profile)} stay staked"
    if isinstance(known, Account) and known.unbonding_wei:
        words += f"; it begins again for the {amount_in_words(known.unbonding_wei, profile)} that are unbonding now"
    return [ContractCall(profile.contract, call_data("unbond(uint256)", amount), words)]


def withdraw(text: str, known: Account | Terms, profile: Profile) -> list[ContractCall]:
    """Take unbonded tokens out; of a contract without unbonding, stake itself. Raises as `deposit`.

    Whether the unbonding is over is left to the contract: its clock decides.
    """
    is_instant = profile.shape is Shape.MASA
    account = known if isinstance(known, Account) else None
    available = None if account is None else account.stake_wei if is_instant else account.unbonding_wei
    amount = _amount(text, available, "staked" if is_instant else "unbonding", profile)
    in_words = amount_in_words(amount, profile)
    words = f"withdraw: {in_words} come back to your wallet"
    if is_instant:
        words += ", and leave your stake at once"
    elif account is not None:
        words += f"; possible from {calendar_time(account.unbonding_until_unix_s)} on"
    return [ContractCall(profile.contract, call_data("withdraw(uint256)", amount), words)]


def revoke(known: Account | Terms, profile: Profile) -> list[ContractCall]:
    """End every delegation that the owner signed until now. Raises `NotPossible` where the contract cannot."""
    if profile.shape is Shape.MASA:
        raise NotPossible(
            "This contract cannot revoke delegations. Each ends by itself, 90 days after it was signed at the latest; "
            "withdraw the stake to end them now."
        )
    which = (
        f"all delegations of epoch {known.epoch} or earlier" if isinstance(known, Account) else "all delegations so far"
    )
    words = f"revokeDelegations: {which} end, on every node"
    return [ContractCall(profile.contract, call_data("revokeDelegations()"), words)]


def _amount(text: str, available: int | None, how: str, profile: Profile) -> int:
    """`available` None: the owner is not known, so neither is how much there is."""
    if text == ALL:
        if available is None:
            raise NotPossible("To know how much that is, the owner is needed: --owner ADDRESS. Or name the amount.")
        if not available:
            raise NotPossible(f"Nothing is {how}.")
        return available
    amount = parse_amount(text, profile)
    if not amount:
        raise NotPossible("An amount of zero changes nothing. Name an amount, or `all`.")
    if available is not None and amount > available:
        raise NotPossible(
            f"{amount_in_words(available, profile)} are {how}; {amount_in_words(amount, profile)} are more. "
            "`all` takes all."
        )
    return amount
