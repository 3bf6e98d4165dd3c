"""How many nodes an owner has: the node keys seen of each. One stake is to cover one node. Pure; time is given."""

from masa_node.staking.delegation import MAX_CLOCK_SKEW_S, Delegation
from masa_node.staking.ethereum.crypto import Address

SEEN_FOR_S = 3600.0  # a node that was replaced counts no longer than this
COUNTED_FOR_S = 1.0  # a count is used again for this long: an owner's thousand nodes are not counted a thousand times
MAX_KEYS_PER_OWNER = 1_000  # an owner of more needs stake for this many
MAX_KEYS = 20_000  # of all owners: twice the peers there can be; those not seen for longest go first
_CLOCK_STEP_S = 5.0  # a clock that is put right by less was not set back


class _Key:
    """One node key. The delegation's end and epoch are the best that were shown for it."""

    __slots__ = ("epoch", "not_after_unix_s", "seen_at_unix_s")

    def __init__(self) -> None:
        self.epoch = 0
        self.not_after_unix_s = 0
        self.seen_at_unix_s = float("-inf")

    def counts(self, epoch: int, at_unix_s: float) -> bool:
        unseen_s = at_unix_s - self.seen_at_unix_s
        is_in_force = at_unix_s < self.not_after_unix_s + MAX_CLOCK_SKEW_S
        return self.epoch >= epoch and is_in_force and -_CLOCK_STEP_S <= unseen_s < SEEN_FOR_S


class _Owner:
    __slots__ = ("at_epoch", "count", "counted_at_unix_s", "keys")

    def __init__(self) -> None:
        self.keys: dict[bytes, _Key] = {}
        self.count = 0
        self.at_epoch = -1  # not counted
        self.counted_at_unix_s = 0.0


class NodeCounter:
    """It is given proven facts only: delegations with a good signature."""

    def __init__(self, per_owner: int = MAX_KEYS_PER_OWNER, most: int = MAX_KEYS) -> None:
        self._per_owner = per_owner
        self._most = most
        self._owners: dict[Address, _Owner] = {}
        self._in_turn: dict[tuple[Address, bytes], None] = {}  # the one not seen for longest comes first

    def __len__(self) -> int:
        return len(self._in_turn)

    def by_owner(self) -> dict[Address, int]:
        """How many keys are kept of each owner, those included that count no more."""
        return {owner: len(known.keys) for owner, known in self._owners.items()}

    def saw(self, delegation: Delegation, at_unix_s: float) -> bool:
        """This node was seen, its delegation in force. True when that changes its owner's count."""
        owner = self._owners.setdefault(delegation.owner, _Owner())
        key = owner.keys.pop(delegation.node_key, None)
        if key is None:
            if not self._has_room(delegation, owner, at_unix_s):
                return False
            key = _Key()
        did_count = key.counts(delegation.epoch, at_unix_s)
        key.epoch = max(key.epoch, delegation.epoch)
        key.not_after_unix_s = max(key.not_after_unix_s, delegation.not_after_unix_s)
        key.seen_at_unix_s = at_unix_s
        owner.keys[delegation.node_key] = key
        self._in_turn.pop((delegation.owner, delegation.node_key), None)
        self._in_turn[delegation.owner, delegation.node_key] = None
        if not did_count:
            owner.at_epoch = -1
        return not did_count

    def count(self, owner: Address, epoch: int, at_unix_s: float) -> int:
        """How many of this owner's nodes were seen within SEEN_FOR_S and are not revoked by this epoch."""
        known = self._owners.get(owner)
        if known is None:
            return 0
        if known.at_epoch != epoch or not 0 <= at_unix_s - known.counted_at_unix_s < COUNTED_FOR_S:
            known.count = sum(key.counts(epoch, at_unix_s) for key in known.keys.values())
            known.at_epoch, known.counted_at_unix_s = epoch, at_unix_s
        return known.count

    def _has_room(self, new: Delegation, owner: _Owner, at_unix_s: float) -> bool:
        """Room for one more key of this owner, made of one that counts no more, and of other owners' oldest."""
        address, epoch = new.owner, new.epoch
        if len(owner.keys) >= self._per_owner:
            if self.count(address, epoch, at_unix_s) >= self._per_owner:
                return False
            lost = next((each for each, key in owner.keys.items() if not key.counts(epoch, at_unix_s)), None)
            if lost is None:  # it is again that many, since they were counted
                return False
            self._forget(address, lost)
        if len(self._in_turn) >= self._most:
            self._forget(*next(iter(self._in_turn)))
        self._owners[address] = owner  # again, if that was its only key
        return True

    def _forget(self, address: Address, node_key: bytes) -> None:
        owner = self._owners[address]
        del self._in_turn[address, node_key], owner.keys[node_key]
        owner.at_epoch = -1
        if not owner.keys:
            del self._owners[address]
