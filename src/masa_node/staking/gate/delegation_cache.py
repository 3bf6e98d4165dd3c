"""The delegations that nodes show: each is read and its signature checked once, its last verdict remembered. Pure."""

from masa_node.staking.delegation import (
    MAX_BYTES,
    BadDelegation,
    Domain,
    SignedDelegation,
    check_in_force,
    check_signature,
    check_subject,
    decode,
    digest,
)
from masa_node.staking.ethereum.crypto import Address
from masa_node.staking.gate.values import SignatureQuery, Verdict

MAX_DELEGATIONS = 5_000  # five times what a page lists, twenty times what is linked; 3.5 KB each at most
MAX_DELEGATIONS_OF_ONE = 8  # within DELEGATIONS_WITHIN_S: a node has one, and may change it;
# more would make this node check signatures and ask the chain for whatever strangers make up
DELEGATIONS_WITHIN_S = 600.0
MAX_NODES = 20_000  # whose delegations are counted
_NOBODY = Address("")


class CachedDelegation:
    """What one node shows. `fault` is why it is bad for ever. `query` is what a contract must be asked.

    `signed` is None where it cannot be read, or is for another node, chain or contract: then there is a `fault`.
    The verdict is remembered for [`from_unix_s`, `until_unix_s`), and while its owner's `version` is the same.
    """

    __slots__ = (
        "fault",
        "from_unix_s",
        "is_checked",
        "owner",
        "query",
        "signed",
        "until_unix_s",
        "verdict",
        "version",
    )

    def __init__(self, signed: SignedDelegation | None, fault: str | None) -> None:
        self.signed = signed
        self.fault = fault
        self.owner = _NOBODY
        self.query: SignatureQuery | None = None
        self.is_checked = False
        self.verdict: Verdict | None = None
        self.from_unix_s = self.until_unix_s = 0.0
        self.version: int | None = None
        if signed is not None:
            self.owner = signed.delegation.owner
            if signed.is_contract:
                self.query = SignatureQuery(self.owner, digest(signed.delegation), signed.signature)

    def remember(self, verdict: Verdict, from_unix_s: float, until_unix_s: float, version: int | None) -> None:
        """This is the verdict until then, unless the version changes."""
        self.verdict, self.version = verdict, version
        self.from_unix_s, self.until_unix_s = from_unix_s, until_unix_s


class DelegationCache:
    """By node and bytes, at most `most`; the least recently looked at go first."""

    def __init__(self, domain: Domain, most: int = MAX_DELEGATIONS) -> None:
        self._domain = domain
        self._most = most
        self.by_node_and_bytes: dict[tuple[str, bytes], CachedDelegation] = {}

    def of(self, node_id: str, data: bytes) -> CachedDelegation:
        """What it shows, read."""
        cached = self.by_node_and_bytes.pop((node_id, data), None)
        if cached is None:
            cached = self._read(node_id, data)
            if len(data) > MAX_BYTES:  # read no further, nor held
                return cached
            if len(self.by_node_and_bytes) >= self._most:
                del self.by_node_and_bytes[next(iter(self.by_node_and_bytes))]
        self.by_node_and_bytes[node_id, data] = cached
        return cached

    def peek(self, node_id: str, data: bytes) -> CachedDelegation:
        """As `of`, but nothing is stored."""
        return self.by_node_and_bytes.get((node_id, data)) or self._read(node_id, data)

    def fault(self, cached: CachedDelegation, at_unix_s: float) -> str | None:
        """Why it does not hold now; None when it does (a contract's signature is the chain's to check).

        The signature is checked once. The time is looked at always: a delegation ends while it is remembered.
        """
        if cached.fault is not None or cached.signed is None:
            return cached.fault
        try:
            check_in_force(cached.signed.delegation, at_unix_s)
        except BadDelegation as exc:
            return exc.message
        if not cached.is_checked:
            try:
                check_signature(cached.signed)
            except BadDelegation as exc:
                cached.fault = exc.message
            cached.is_checked = True  # not before: where the check itself fails, nothing is known of the signature
        return cached.fault

    def _read(self, node_id: str, data: bytes) -> CachedDelegation:
        try:
            signed = decode(data)
            check_subject(signed.delegation, node_id, self._domain)
        except BadDelegation as exc:
            return CachedDelegation(None, exc.message)
        return CachedDelegation(signed, None)


class DelegationRate:
    """How many delegations each node has shown, each of which costs a signature's check and queries to the chain."""

    def __init__(self, most: int = MAX_NODES) -> None:
        self._most = most
        self.by_node: dict[str, dict[int, float]] = {}

    def admits(self, node_id: str, data: bytes, at_unix_s: float) -> bool:
        """False when this node has shown MAX_DELEGATIONS_OF_ONE others within DELEGATIONS_WITHIN_S."""
        which = hash(data)  # 8 bytes instead of a thousand
        cached = self.by_node.pop(node_id, None) or {}
        self.by_node[node_id] = cached
        if which not in cached:
            for old in [each for each, since in cached.items() if not 0 <= at_unix_s - since < DELEGATIONS_WITHIN_S]:
                del cached[old]
            if len(cached) >= MAX_DELEGATIONS_OF_ONE:
                return False
            cached[which] = at_unix_s
            if len(self.by_node) > self._most:
                del self.by_node[next(iter(self.by_node))]
        return True
