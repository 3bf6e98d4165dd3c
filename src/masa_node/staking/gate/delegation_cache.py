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
from masa_node.staking.gate.values import SignatureQuestion, Verdict

MAX_SHOWN = 5_000  # five times what a page lists, twenty times what is linked; 3.5 KB each at most
MAX_SHOWN_BY_ONE = 8  # within SHOWN_WITHIN_S: a node has one, and may change it;
SHOWN_WITHIN_S = 600.0  # more would make this node check signatures and ask the chain for whatever strangers make up
MAX_NODES = 20_000  # whose delegations are counted
_NOBODY = Address("")


class Shown:
    """What one node shows. `fault` is why it is bad for ever. `question` is what a contract must be asked.

    `signed` is None where it cannot be read, or is for another node, chain or contract: then there is a `fault`.
    The verdict is remembered for [`from_unix_s`, `until_unix_s`), and while its owner's `version` is the same.
    """

    __slots__ = (
        "fault",
        "from_unix_s",
        "is_checked",
        "owner",
        "question",
        "signed",
        "until_unix_s",
        "verdict",
        "version",
    )

    def __init__(self, signed: SignedDelegation | None, fault: str | None) -> None:
        self.signed = signed
        self.fault = fault
        self.owner = _NOBODY
        self.question: SignatureQuestion | None = None
        self.is_checked = False
        self.verdict: Verdict | None = None
        self.from_unix_s = self.until_unix_s = 0.0
        self.version: int | None = None
        if signed is not None:
            self.owner = signed.delegation.owner
            if signed.is_contract:
                self.question = SignatureQuestion(self.owner, digest(signed.delegation), signed.signature)

    def remember(self, verdict: Verdict, from_unix_s: float, until_unix_s: float, version: int | None) -> None:
        """This is the verdict until then, unless the version changes."""
        self.verdict, self.version = verdict, version
        self.from_unix_s, self.until_unix_s = from_unix_s, until_unix_s


class ShownDelegations:
    """By node and bytes, at most `most`; the least recently looked at go first."""

    def __init__(self, domain: Domain, most: int = MAX_SHOWN) -> None:
        self._domain = domain
        self._most = most
        self.by_node_and_bytes: dict[tuple[str, bytes], Shown] = {}

    def of(self, node_id: str, data: bytes) -> Shown:
        """What it shows, read."""
        shown = self.by_node_and_bytes.pop((node_id, data), None)
        if shown is None:
            shown = self._read(node_id, data)
            if len(data) > MAX_BYTES:  # read no further, nor held
                return shown
            if len(self.by_node_and_bytes) >= self._most:
                del self.by_node_and_bytes[next(iter(self.by_node_and_bytes))]
        self.by_node_and_bytes[node_id, data] = shown
        return shown

    def peek(self, node_id: str, data: bytes) -> Shown:
        """The same, but nothing is held on to."""
        return self.by_node_and_bytes.get((node_id, data)) or self._read(node_id, data)

    def fault(self, shown: Shown, at_unix_s: float) -> str | None:
        """Why it does not hold now; None when it does (a contract's signature is the chain's to check).

        The signature is checked once. The time is looked at always: a delegation ends while it is remembered.
        """
        if shown.fault is not None or shown.signed is None:
            return shown.fault
        try:
            check_in_force(shown.signed.delegation, at_unix_s)
        except BadDelegation as exc:
            return exc.message
        if not shown.is_checked:
            try:
                check_signature(shown.signed)
            except BadDelegation as exc:
                shown.fault = exc.message
            shown.is_checked = True  # not before: where the check itself fails, nothing is known of the signature
        return shown.fault

    def _read(self, node_id: str, data: bytes) -> Shown:
        try:
            signed = decode(data)
            check_subject(signed.delegation, node_id, self._domain)
        except BadDelegation as exc:
            return Shown(None, exc.message)
        return Shown(signed, None)


class ShownByOne:
    """How many delegations each node has shown, each of which costs a signature's check and questions to the chain."""

    def __init__(self, most: int = MAX_NODES) -> None:
        self._most = most
        self._by_node: dict[str, dict[int, float]] = {}

    def admits(self, node_id: str, data: bytes, at_unix_s: float) -> bool:
        """False when this node has shown MAX_SHOWN_BY_ONE others within SHOWN_WITHIN_S."""
        which = hash(data)  # 8 bytes instead of a thousand
        shown = self._by_node.pop(node_id, None) or {}
        self._by_node[node_id] = shown
        if which not in shown:
            for old in [each for each, since in shown.items() if not 0 <= at_unix_s - since < SHOWN_WITHIN_S]:
                del shown[old]
            if len(shown) >= MAX_SHOWN_BY_ONE:
                return False
            shown[which] = at_unix_s
            if len(self._by_node) > self._most:
                del self._by_node[next(iter(self._by_node))]
        return True
