"""The delegations that nodes show: each is read and its signature checked once, its last verdict remembered. Pure."""

from masa_node.staking.addresses import Address
from masa_node.staking.delegation import (
    MAX_BYTES,
    BadDelegation,
    Domain,
    SignedDelegation,
    check,
    decode,
    digest,
)
from masa_node.staking.questions import SignatureQuestion
from masa_node.staking.verdicts import Verdict

MAX_SHOWN = 20_000  # twice the peers there can be; 1 KiB and a few values each
MAX_OWNERS_SHOWN = 4  # by one node within OWNERS_WITHIN_S: a node has one, and may change it;
OWNERS_WITHIN_S = 600.0  # more would make this node ask the chain for whatever strangers name
MAX_NODES = 20_000  # whose owners are counted
_NOBODY = Address("")


class Shown:
    """What one node shows. `fault` is why it is bad for ever. `question` is what a contract must be asked.

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
            shown = _read(data)
            if len(data) > MAX_BYTES:  # read no further, nor held
                return shown
            if len(self.by_node_and_bytes) >= self._most:
                del self.by_node_and_bytes[next(iter(self.by_node_and_bytes))]
        self.by_node_and_bytes[node_id, data] = shown
        return shown

    def fault(self, shown: Shown, node_id: str, at_unix_s: float) -> str | None:
        """Why it does not hold now; None when it does (a contract's signature is the chain's to check).

        The signature is checked once. The time is looked at always: a delegation ends while it is remembered.
        """
        if shown.fault is not None or shown.signed is None:
            return shown.fault
        delegation = shown.signed.delegation
        is_in_force = delegation.not_before_unix_s <= at_unix_s < delegation.not_after_unix_s
        if shown.is_checked and is_in_force:
            return None
        try:
            check(shown.signed, node_id, self._domain, at_unix_s)
        except BadDelegation as exc:
            if is_in_force:  # so it is not the time, and no time will mend it
                shown.fault = exc.message
            return exc.message
        shown.is_checked = True
        return None


class OwnersShown:
    """For whom each node has made this node ask the chain."""

    def __init__(self, most: int = MAX_NODES) -> None:
        self._most = most
        self._by_node: dict[str, dict[Address | SignatureQuestion, float]] = {}

    def admits(self, node_id: str, shown: Shown, at_unix_s: float) -> bool:
        """False when this node has shown MAX_OWNERS_SHOWN others within OWNERS_WITHIN_S.

        Of a contract each signature counts: anybody can name a contract, only its key's holder an account.
        """
        subject = shown.question or shown.owner
        subjects = self._by_node.pop(node_id, None) or {}
        self._by_node[node_id] = subjects
        if subject not in subjects:
            for old in [each for each, since in subjects.items() if not 0 <= at_unix_s - since < OWNERS_WITHIN_S]:
                del subjects[old]
            if len(subjects) >= MAX_OWNERS_SHOWN:
                return False
            subjects[subject] = at_unix_s
            if len(self._by_node) > self._most:
                del self._by_node[next(iter(self._by_node))]
        return True


def _read(data: bytes) -> Shown:
    try:
        return Shown(decode(data), None)
    except BadDelegation as exc:
        return Shown(None, exc.message)
