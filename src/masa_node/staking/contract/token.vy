# pragma version 0.4.3
# pragma evm-version cancun
# @license MIT
"""
@title A token for trying things out
@notice ERC-20 with a faucet, shaped like the test token on Sepolia. Anybody can have as much of it as he likes: it is
    worth nothing, and is for local and test networks only.
"""

from ethereum.ercs import IERC20

implements: IERC20

event Transfer:
    sender: indexed(address)
    receiver: indexed(address)
    value: uint256

event Approval:
    owner: indexed(address)
    spender: indexed(address)
    value: uint256

decimals: public(constant(uint8)) = 18
FAUCET_AMOUNT: constant(uint256) = 1000 * 10 ** 18

name: public(String[32])
symbol: public(String[8])
totalSupply: public(uint256)
balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])


@deploy
def __init__(token_name: String[32], token_symbol: String[8], supply: uint256):
    """
    @param supply In the smallest unit; all of it goes to the deployer.
    """
    self.name = token_name
    self.symbol = token_symbol
    self._mint(msg.sender, supply)


@external
def transfer(receiver: address, amount: uint256) -> bool:
    self._move(msg.sender, receiver, amount)
    return True


@external
def transferFrom(sender: address, receiver: address, amount: uint256) -> bool:
    allowed: uint256 = self.allowance[sender][msg.sender]
    assert allowed >= amount, "the allowance is too low"
    self.allowance[sender][msg.sender] = allowed - amount
    self._move(sender, receiver, amount)
    return True


@external
def approve(spender: address, amount: uint256) -> bool:
    self.allowance[msg.sender][spender] = amount
    log Approval(owner=msg.sender, spender=spender, value=amount)
    return True


@external
def faucet():
    """
    @notice 1000 tokens to whoever asks.
    """
    self._mint(msg.sender, FAUCET_AMOUNT)


@internal
def _move(sender: address, receiver: address, amount: uint256):
    assert receiver != empty(address), "nobody is the receiver"
    assert self.balanceOf[sender] >= amount, "the balance is too low"
    self.balanceOf[sender] -= amount
    self.balanceOf[receiver] += amount
    log Transfer(sender=sender, receiver=receiver, value=amount)


@internal
def _mint(receiver: address, amount: uint256):
    self.totalSupply += amount
    self.balanceOf[receiver] += amount
    log Transfer(sender=empty(address), receiver=receiver, value=amount)
