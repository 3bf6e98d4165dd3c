# pragma version 0.4.3
# pragma evm-version cancun
"""
@title A token that does not do what it should: it refuses, keeps a fee, or calls the staking contract back.
"""

REFUSES: constant(uint256) = 1
TAKES_A_FEE: constant(uint256) = 2
CALLS_BACK: constant(uint256) = 3

balanceOf: public(HashMap[address, uint256])
oddity: public(uint256)
callback: Bytes[260]


@external
def mint(owner: address, amount: uint256):
    self.balanceOf[owner] += amount


@external
def be(oddity: uint256, callback: Bytes[260]):
    self.oddity = oddity
    self.callback = callback


@external
def forward(target: address, data: Bytes[260]):
    """
    @notice A call in the token's own name: it can be a staker too.
    """
    raw_call(target, data)


@external
def approve(spender: address, amount: uint256) -> bool:
    return True


@external
def transfer(receiver: address, amount: uint256) -> bool:
    return self._move(msg.sender, receiver, amount)


@external
def transferFrom(sender: address, receiver: address, amount: uint256) -> bool:
    return self._move(sender, receiver, amount)


@internal
def _move(sender: address, receiver: address, amount: uint256) -> bool:
    if self.oddity == REFUSES:
        return False
    if self.oddity == CALLS_BACK:
        raw_call(msg.sender, self.callback)
    self.balanceOf[sender] -= amount
    self.balanceOf[receiver] += amount - (1 if self.oddity == TAKES_A_FEE else 0)
    return True
