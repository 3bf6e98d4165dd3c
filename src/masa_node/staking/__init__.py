"""Stake: an owner's deposit on a chain, a signed delegation to a node's key, and what this node makes of both.

Primitives: `delegation` (EIP-712, shown in adverts). Inner packages, each knows only those below it:

    gate         verdicts on peers' stakes
    contract     the staking contract: its profile, an owner's account, transactions
    delegation   an owner's signed statement that a node key acts for the stake
    ethereum     the few parts of Ethereum that are needed

Nothing of this package is imported while staking is off.
"""
