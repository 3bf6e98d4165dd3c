import random
from collections.abc import Collection, Sequence

from masa_node.chat.errors import NoStakedPeer
from masa_node.network.transport.interfaces import NodeId
from masa_node.node.no_stakes import NoStakes
from masa_node.node.peering.linked_first import MAX_DIALED, LinkedFirst
from masa_node.node.views import StakeRow
from masa_node.routing.peer_policy import Selection
from masa_node.routing.provider import Provider
from tests.routing.scripted import ScriptedPeer


class Staked(NoStakes):
    """Those whose names are given are staked, and nobody else may be asked."""

    def __init__(self, *staked: str) -> None:
        self.staked = staked
        self.refreshed: list[str] = []

    def select(self, peers: Sequence[Provider]) -> Selection:
        good = [peer for peer in peers if peer.name in self.staked]
        return Selection((good,)) if good else Selection((), NoStakedPeer(f"none of {len(peers)}"))

    async def refresh(self, peers: Sequence[Provider]) -> None:
        self.refreshed = [peer.name for peer in peers]

    def row(self, peer: NodeId) -> StakeRow:
        verdict = "staked" if peer in self.staked else "not staked"
        return StakeRow(verdict, "", None, None, None, None, None, None)


def peers(*names: str) -> list[Provider]:
    return [ScriptedPeer(name) for name in names]


def first(linked: Collection[str], rules: NoStakes | None = None, members: Collection[str] = ()) -> LinkedFirst:
    return LinkedFirst(rules or NoStakes(), lambda: linked, lambda: members, random.Random(1))  # noqa: S311


def names(selection: Selection) -> list[list[str]]:
    return [[peer.name for peer in group] for group in selection.groups]


def test_linked_peers_are_the_first_group_and_others_the_last() -> None:
    assert names(first({"b"}).select(peers("a", "b"))) == [["b"], ["a"]]


def test_where_all_are_linked_or_none_is_there_is_one_group() -> None:
    assert names(first({"a", "b"}).select(peers("a", "b"))) == [["a", "b"]]
    assert sorted(names(first(()).select(peers("a", "b")))[0]) == ["a", "b"]


def test_few_of_those_that_are_not_linked_are_dialed_for_one_request_and_not_always_the_same() -> None:
    policy, known = first({"near"}), peers("near", *map(str, range(100)))
    asked: set[str] = set()
    for _ in range(30):
        near, distant = names(policy.select(known))
        assert near == ["near"]
        assert len(set(distant)) == MAX_DIALED
        asked.update(distant)
    assert len(asked) > 50


def test_members_are_not_lost_among_strangers_however_many_these_are() -> None:
    known = peers(*map(str, range(10_000)))
    (asked,) = names(first((), members={"77", "8888"}).select(known))
    assert asked[:2] in (["77", "8888"], ["8888", "77"])
    assert len(asked) == MAX_DIALED
    assert names(first((), Staked("8888"), members={"8888"}).select(known)) == [["8888"]]
    assert names(first((), Staked("7"), members={"8", "9"}).select(known[:50])) == [["7"]], "a stake counts for more"


def test_the_rules_hold_for_both_and_refuse_only_when_neither_has_anybody() -> None:
    known = peers("near", *map(str, range(40)))
    assert names(first({"near"}, Staked("7")).select(known)) == [["7"]]  # found among forty, eight are dialed
    assert names(first({"near"}, Staked("near")).select(known)) == [["near"]]
    assert first({"near"}, Staked("near")).select(known).refusal is None
    refusal = first({"near"}, Staked()).select(known).refusal
    assert refusal is not None
    assert refusal.message == "none of 1"
    assert first((), Staked()).select(known).refusal is not None


async def test_a_refresh_looks_at_those_who_would_be_asked() -> None:
    rules = Staked("7")
    await first({"near"}, rules).refresh(peers("near", *map(str, range(40))))
    assert rules.refreshed[0] == "7"
    assert len(rules.refreshed) == MAX_DIALED + 1
