"""Stake: an owner's deposit on a chain, his signed word for a node's key, and what this node makes of both.

From here: `gate.Gate` gives a verdict on a peer; `profiles` describes the chain; `delegation` is the owner's word.
Nothing of this room is imported while staking is off.
"""
