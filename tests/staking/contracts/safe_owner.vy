# pragma version 0.4.3
# pragma evm-version cancun
"""
@title An owner that is a contract, as a Safe is: ERC-1271 signatures, and calls made for its keeper.
@notice A signature is valid when the keeper made it, or whatever it is when the keeper approved the hash.
"""

VALID: constant(bytes4) = 0x1626ba7e
INVALID: constant(bytes4) = 0xffffffff

keeper: public(immutable(address))
approved: public(HashMap[bytes32, bool])


@deploy
def __init__(its_keeper: address):
    keeper = its_keeper


@external
def approve(digest: bytes32):
    assert msg.sender == keeper, "not the keeper"
    self.approved[digest] = True


@external
def execute(target: address, data: Bytes[4096]):
    assert msg.sender == keeper, "not the keeper"
    raw_call(target, data)


@external
@view
def isValidSignature(digest: bytes32, signature: Bytes[1024]) -> bytes4:
    if self.approved[digest]:
        return VALID
    if len(signature) != 65:
        return INVALID
    r: uint256 = convert(slice(signature, 0, 32), uint256)
    s: uint256 = convert(slice(signature, 32, 32), uint256)
    v: uint256 = convert(slice(signature, 64, 1), uint256)
    signer: address = ecrecover(digest, v, r, s)
    return VALID if signer == keeper and signer != empty(address) else INVALID
