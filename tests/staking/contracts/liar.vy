# pragma version 0.4.3
# pragma evm-version cancun
"""
@title Answers every call with the same bytes, or reverts with them: whatever one wants a contract to say.
"""

answer: Bytes[8192]
is_reverting: bool


@deploy
def __init__(its_answer: Bytes[8192], reverts: bool):
    self.answer = its_answer
    self.is_reverting = reverts


@external
@payable
@raw_return
def __default__() -> Bytes[8192]:
    if self.is_reverting:
        raw_revert(self.answer)
    return self.answer
