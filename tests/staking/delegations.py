"""Owners who sign for nodes: what the tests of staking show to a gate."""

from masa_node.staking.delegation import Delegation, Domain, SignedDelegation, digest, encode
from masa_node.staking.ethereum.crypto import Address, address_of_secret, keccak256, sign

AT = 1_800_000_000  # when the tests of staking take place
DAY_S = 86_400
DOMAIN = Domain(31_337, Address("0x5FbDB2315678afecb367f032d93F642f64180aa3"))


def node(number: int) -> str:
    """A node's id."""
    return f"{number:064x}"


class Owner:
    """One with a wallet."""

    def __init__(self, name: str = "owner") -> None:
        self.secret = keccak256(name.encode())
        self.address = address_of_secret(self.secret)

    def delegation(
        self,
        node_id: str,
        *,
        epoch: int = 0,
        not_before: int = AT - DAY_S,
        not_after: int = AT + 30 * DAY_S,
        domain: Domain = DOMAIN,
    ) -> Delegation:
        return Delegation(self.address, bytes.fromhex(node_id), epoch, not_before, not_after, domain)

    def signs(self, delegation: Delegation) -> bytes:
        """The bytes for an advert."""
        return encode(SignedDelegation(delegation, sign(digest(delegation), self.secret)))

    def delegates(
        self,
        node_id: str,
        *,
        epoch: int = 0,
        not_before: int = AT - DAY_S,
        not_after: int = AT + 30 * DAY_S,
        domain: Domain = DOMAIN,
    ) -> bytes:
        """Its word for this node, as it travels."""
        return self.signs(
            self.delegation(node_id, epoch=epoch, not_before=not_before, not_after=not_after, domain=domain)
        )


def of_contract(owner: Address, node_id: str, signature: bytes, *, epoch: int = 0) -> bytes:
    """What a node shows whose owner is a contract: anybody can make it, the contract says whether it is good."""
    delegation = Delegation(owner, bytes.fromhex(node_id), epoch, AT - DAY_S, AT + 30 * DAY_S, DOMAIN)
    return encode(SignedDelegation(delegation, signature, is_contract=True))
