import pytest

from masa_node.chat.errors import PeerBusy, PeerRefused
from masa_node.network.requests import quotas as module
from masa_node.network.requests.quotas import BODIES, BODIES_PER_PEER, LOG_EVERY_S, QuotaRules, Quotas
from masa_node.network.transport.interfaces import NodeId

RULES = QuotaRules(requests_per_minute=60, max_body_bytes=100, requests_per_peer=2)


def test_asks_come_back_evenly_over_the_minute() -> None:
    quota = Quotas(QuotaRules(60, 100, 1_000)).of(NodeId("a"), 0.0)
    for _ in range(60):
        quota.acquire(0.0)
    with pytest.raises(PeerRefused, match="60"):
        quota.acquire(0.9)
    quota.acquire(1.0)
    with pytest.raises(PeerRefused):
        quota.acquire(1.5)


def test_what_has_room_can_be_taken_and_counts_as_what_is_acquired() -> None:
    taken, acquired = (Quotas(RULES).of(NodeId("a"), 0.0) for _ in range(2))
    while acquired.has_room(0.0):
        assert taken.has_room(0.0)
        taken.take()
        acquired.acquire(0.0)
    assert not taken.has_room(0.0)
    assert taken.at_work == acquired.at_work > 0


def test_what_is_under_way_is_bounded_and_free_again() -> None:
    quota = Quotas(RULES).of(NodeId("a"), 0.0)
    quota.acquire(0.0)
    quota.acquire(0.0)
    with pytest.raises(PeerBusy):
        quota.acquire(0.0)
    quota.release()
    quota.acquire(0.0)


def test_bytes_that_are_held_are_bounded_for_one_peer_and_for_all() -> None:
    quotas = Quotas(RULES)
    one = quotas.of(NodeId("a"), 0.0)
    quotas.hold_bytes(one, 100 * BODIES_PER_PEER)
    with pytest.raises(PeerBusy):
        quotas.hold_bytes(one, 1)
    for number in range(BODIES // BODIES_PER_PEER - 1):
        quotas.hold_bytes(quotas.of(NodeId(str(number)), 0.0), 100 * BODIES_PER_PEER)
    last = quotas.of(NodeId("last"), 0.0)
    with pytest.raises(PeerBusy):
        quotas.hold_bytes(last, 1)
    quotas.release_bytes(one, 1)
    quotas.hold_bytes(last, 1)
    assert (last.held_bytes, quotas.held_bytes) == (1, 100 * BODIES)


def test_records_are_bounded_and_those_that_tell_nothing_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_QUOTAS", 3)
    quotas = Quotas(RULES)
    busy = quotas.of(NodeId("busy"), 0.0)
    busy.acquire(0.0)
    for number in range(100):
        quotas.of(NodeId(str(number)), 0.0)
        assert len(quotas) <= 3
    assert quotas.of(NodeId("busy"), 0.0) is busy
    for number in range(10):
        quotas.of(NodeId(f"b{number}"), 0.0).acquire(0.0)
        assert len(quotas) <= 3


def test_a_peer_fills_no_log() -> None:
    quota = Quotas(RULES).of(NodeId("a"), 0.0)
    times = (0.0, 1.0, LOG_EVERY_S - 1, LOG_EVERY_S)
    assert [quota.may_log("one thing", at_s) for at_s in times] == [True, False, False, True]
    assert quota.may_log("another", 1.0)  # the one does not hide the other
