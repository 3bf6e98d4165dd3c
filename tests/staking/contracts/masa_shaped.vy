# pragma version 0.4.3
# pragma evm-version cancun
"""
@title The shape of the first Masa staking contract: no unbonding, no epochs, a withdrawal is instant.
"""

from ethereum.ercs import IERC20

event Staked:
    owner: indexed(address)
    amount: uint256

event Withdrawn:
    owner: indexed(address)
    amount: uint256

masaToken: public(immutable(address))
minimumStake: public(immutable(uint256))
stakes: public(HashMap[address, uint256])


@deploy
def __init__(token: address, minimum: uint256):
    masaToken = token
    minimumStake = minimum


@external
def stake(amount: uint256):
    assert amount >= minimumStake, "Amount is less than minimum stake"
    self.stakes[msg.sender] += amount
    assert extcall IERC20(masaToken).transferFrom(msg.sender, self, amount), "Transfer failed"
    log Staked(owner=msg.sender, amount=amount)


@external
def withdraw(amount: uint256):
    assert self.stakes[msg.sender] >= amount, "Insufficient stake"
    self.stakes[msg.sender] -= amount
    assert extcall IERC20(masaToken).transfer(msg.sender, amount), "Transfer failed"
    log Withdrawn(owner=msg.sender, amount=amount)
