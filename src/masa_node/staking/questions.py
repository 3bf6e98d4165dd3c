"""What the chain is asked. Pure."""

import msgspec

from masa_node.staking.addresses import Address


class SignatureQuestion(msgspec.Struct, frozen=True):
    """Did this contract sign that? (ERC-1271)"""

    owner: Address
    digest: bytes
    signature: bytes


Question = Address | SignatureQuestion
"""Of an address: what is its stake?"""


def owner_of(question: Question) -> Address:
    """Whose answer it is."""
    return question.owner if isinstance(question, SignatureQuestion) else question
