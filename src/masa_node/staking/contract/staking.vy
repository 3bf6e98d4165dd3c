# pragma version 0.4.3
# pragma evm-version cancun
# @license MIT
"""
@title Masa Node staking
@notice An owner of nodes deposits a token here. What he deposits stays his: nobody else can move it, lower it or lock
    it, nothing can be paused, and the contract cannot be changed. Taking it out takes the unbonding period, so that a
    stake cannot be borrowed for one block.
@dev A token that takes a fee of a transfer, or changes balances by itself, is refused or does harm: do not use one.
"""

# Custom errors. They are reverted with by hand, as Vyper has no word for them; the compiled ABI takes them from here.
# error BelowMinimum(uint256 given, uint256 minimum)
# error NotEnoughStaked(uint256 wanted, uint256 staked)
# error NotEnoughUnbonded(uint256 wanted, uint256 unbonded)
# error NothingToDo()
# error StillUnbonding(uint256 until)
# error TransferFailed()
# error UnbondingTooLong(uint256 given, uint256 most)
# error UnbondingTooShort(uint256 given, uint256 least)

from ethereum.ercs import IERC20

event Staked:
    owner: indexed(address)
    amount: uint256

event Unbonding:
    owner: indexed(address)
    amount: uint256
    until: uint256

event Withdrawn:
    owner: indexed(address)
    amount: uint256

event DelegationsRevoked:
    owner: indexed(address)
    epoch: uint64

struct Leaving:
    amount: uint256
    until: uint256

# Time enough for every node to read the chain again after somebody began to leave.
LEAST_UNBONDING_PERIOD: constant(uint256) = 86400
# Beyond this it is a mistake or a trap.
MOST_UNBONDING_PERIOD: constant(uint256) = 365 * 86400

masaToken: public(immutable(address))
minimumStake: public(immutable(uint256))
unbondingPeriod: public(immutable(uint256))

# What counts as stake. What is unbonding does not.
stakes: public(HashMap[address, uint256])
leaving: HashMap[address, Leaving]

# Delegations that name a lower epoch are void.
delegationEpoch: public(HashMap[address, uint64])


@deploy
def __init__(token: address, minimum: uint256, unbonding_period: uint256):
    """
    @param token An ERC-20 token; it may return nothing from its transfers.
    @param minimum The least amount of one deposit, and what each node needs; not 0.
    @param unbonding_period In seconds, from 24 h to 365 days.
    """
    if minimum == 0:
        raw_revert(method_id("NothingToDo()"))
    if unbonding_period < LEAST_UNBONDING_PERIOD:
        raw_revert(
            abi_encode(
                unbonding_period,
                LEAST_UNBONDING_PERIOD,
                method_id=method_id("UnbondingTooShort(uint256,uint256)"),
            )
        )
    if unbonding_period > MOST_UNBONDING_PERIOD:
        raw_revert(
            abi_encode(
                unbonding_period,
                MOST_UNBONDING_PERIOD,
                method_id=method_id("UnbondingTooLong(uint256,uint256)"),
            )
        )
    masaToken = token
    minimumStake = minimum
    unbondingPeriod = unbonding_period


@external
@nonreentrant
def stake(amount: uint256):
    """
    @notice Deposit `amount`, at least the minimum. The token's `approve` comes first.
    """
    if amount == 0:
        raw_revert(method_id("NothingToDo()"))
    if amount < minimumStake:
        raw_revert(abi_encode(amount, minimumStake, method_id=method_id("BelowMinimum(uint256,uint256)")))

    self.stakes[msg.sender] += amount
    log Staked(owner=msg.sender, amount=amount)

    held_before: uint256 = staticcall IERC20(masaToken).balanceOf(self)
    if not extcall IERC20(masaToken).transferFrom(msg.sender, self, amount, default_return_value=True):
        raw_revert(method_id("TransferFailed()"))
    if staticcall IERC20(masaToken).balanceOf(self) != held_before + amount:
        raw_revert(method_id("TransferFailed()"))


@external
@nonreentrant
def unbond(amount: uint256):
    """
    @notice Begin to take out `amount`: it no longer counts as stake. All that is unbonding waits for the whole period
        from now, also what was unbonding before.
    """
    if amount == 0:
        raw_revert(method_id("NothingToDo()"))
    staked: uint256 = self.stakes[msg.sender]
    if amount > staked:
        raw_revert(abi_encode(amount, staked, method_id=method_id("NotEnoughStaked(uint256,uint256)")))

    until: uint256 = block.timestamp + unbondingPeriod
    self.stakes[msg.sender] = staked - amount
    self.leaving[msg.sender] = Leaving(amount=self.leaving[msg.sender].amount + amount, until=until)
    log Unbonding(owner=msg.sender, amount=amount, until=until)


@external
@nonreentrant
def withdraw(amount: uint256):
    """
    @notice Take out `amount` of what has been unbonding for long enough.
    """
    if amount == 0:
        raw_revert(method_id("NothingToDo()"))
    leaving: Leaving = self.leaving[msg.sender]
    if amount > leaving.amount:
        raw_revert(abi_encode(amount, leaving.amount, method_id=method_id("NotEnoughUnbonded(uint256,uint256)")))
    if block.timestamp < leaving.until:
        raw_revert(abi_encode(leaving.until, method_id=method_id("StillUnbonding(uint256)")))

    if amount == leaving.amount:
        self.leaving[msg.sender] = empty(Leaving)
    else:
        self.leaving[msg.sender].amount = leaving.amount - amount
    log Withdrawn(owner=msg.sender, amount=amount)

    if not extcall IERC20(masaToken).transfer(msg.sender, amount, default_return_value=True):
        raw_revert(method_id("TransferFailed()"))


@external
def revokeDelegations():
    """
    @notice Make every delegation signed so far void: new ones name the new epoch.
    """
    epoch: uint64 = self.delegationEpoch[msg.sender] + 1
    self.delegationEpoch[msg.sender] = epoch
    log DelegationsRevoked(owner=msg.sender, epoch=epoch)


@external
@view
def unbonding(owner: address) -> (uint256, uint256):
    """
    @return The amount that is unbonding, and from when on (in seconds since 1970) it can be withdrawn.
    """
    leaving: Leaving = self.leaving[owner]
    return leaving.amount, leaving.until


@external
@view
def standing(owner: address) -> (uint256, uint256, uint64, uint256, uint256):
    """
    @notice All that a node asks of an owner, read at one block.
    @return His stake, the minimum for each node, his delegations' epoch, the block's number and its timestamp.
    """
    return self.stakes[owner], minimumStake, self.delegationEpoch[owner], block.number, block.timestamp
