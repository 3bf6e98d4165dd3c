"""Who makes room when there are too many connections. (With sockets: `tests/security/test_hostile_crowd.py`.)

Covers: `raw_responses`.
"""

import resource
from dataclasses import dataclass

import pytest
import structlog

from masa_node.api.http1.crowd import EVICTED_AT_ONCE, ConnectionState, Crowd, max_connections, source_of

MOST = 8
OWNER, STRANGER = "192.168.1.2", "203.0.113.9"


@dataclass(eq=False)
class AnyConnection:
    state: ConnectionState = ConnectionState.IDLE
    since_s: float = 0.0


def filled(*connections: AnyConnection, source: str = OWNER, most: int = 2 * MOST) -> Crowd:
    crowd: Crowd = Crowd(lambda: most)
    for connection in connections:
        assert crowd.add(connection, source) == []
    return crowd


def test_there_is_room_up_to_the_bound() -> None:
    crowd = filled(*(AnyConnection() for _ in range(MOST // 2)), most=MOST)
    assert [crowd.add(AnyConnection(), STRANGER) for _ in range(MOST // 2)] == [[]] * (MOST // 2)
    assert len(crowd.add(AnyConnection(), "198.51.100.7")) == 1


@pytest.mark.parametrize(
    ("first", "then"), [*zip(list(ConnectionState)[:-2], list(ConnectionState)[1:-1], strict=True)]
)
def test_who_loses_least_goes_first_however_new_it_is(first: ConnectionState, then: ConnectionState) -> None:
    goes = AnyConnection(first, 99.0)
    crowd = filled(*(AnyConnection(then, n) for n in range(MOST - 1)), goes)
    assert crowd.add(AnyConnection(), OWNER) == [goes]


def test_of_the_same_the_one_that_has_been_so_for_longest_goes() -> None:
    oldest = AnyConnection(since_s=1.0)
    crowd = filled(AnyConnection(since_s=2.0), oldest, *(AnyConnection(since_s=3.0) for _ in range(MOST - 2)))
    assert crowd.add(AnyConnection(since_s=4.0), OWNER) == [oldest]


def test_of_several_that_go_at_once_none_has_just_come_if_others_have_not() -> None:
    """Seen with 10 000 slow bodies: whoever had just connected was reset before a byte of its request was read."""
    slow = [AnyConnection(ConnectionState.SENDING, n) for n in range(EVICTED_AT_ONCE)]
    crowd = filled(*slow, AnyConnection(since_s=99.9), most=2 * (EVICTED_AT_ONCE + 1))
    assert crowd.add(AnyConnection(since_s=100.0), OWNER) == slow[:1]


def test_where_all_have_just_come_several_go_all_the_same() -> None:
    """Or each newcomer of a flood would have all of them looked at."""
    crowd = filled(*(AnyConnection(since_s=99.9) for _ in range(EVICTED_AT_ONCE)), most=2 * EVICTED_AT_ONCE)
    assert len(crowd.add(AnyConnection(since_s=100.0), OWNER)) == 2


def test_that_room_is_made_is_told_once_a_minute() -> None:
    crowd = filled(*(AnyConnection(since_s=n) for n in range(MOST)))
    with structlog.testing.capture_logs() as lines:
        for now_s in (100.0, 101.0, 159.0, 160.0):
            crowd.add(AnyConnection(since_s=now_s), OWNER)
    assert [(line["event"], line["open"]) for line in lines] == [
        ("connections are closed to make room", MOST + 1),
        ("connections are closed to make room", MOST + 4),
    ]


@pytest.mark.parametrize(("descriptors", "most"), [(20_000, 8_192), (1_024, 488), (256, 104), (40, 1), (-1, 8_192)])
def test_callers_and_llm_servers_leave_some_descriptors_to_the_node(
    monkeypatch: pytest.MonkeyPatch, descriptors: int, most: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (descriptors, descriptors))
    assert max_connections.__wrapped__() == most


def test_one_source_takes_at_most_half_and_makes_room_among_its_own() -> None:
    crowd = filled(*(AnyConnection() for _ in range(MOST)), source=STRANGER)
    own = AnyConnection(ConnectionState.ANSWERED)
    assert crowd.add(own, OWNER) == []
    (gone,) = crowd.add(AnyConnection(), STRANGER)
    assert gone is not own
    crowd.remove(gone, STRANGER)
    assert [crowd.add(AnyConnection(), OWNER) for _ in range(MOST - 1)] == [[]] * (MOST - 1)


def test_whoever_is_worked_on_never_goes_and_the_newcomer_does() -> None:
    crowd = filled(*(AnyConnection(ConnectionState.WORKED_ON) for _ in range(MOST)))
    newcomer = AnyConnection()
    assert crowd.add(newcomer, OWNER) == [newcomer]


def test_who_has_left_takes_no_room() -> None:
    connections = [AnyConnection() for _ in range(MOST)]
    crowd = filled(*connections)
    for connection in connections:
        crowd.remove(connection, OWNER)
        crowd.remove(connection, OWNER)
    assert [crowd.add(AnyConnection(), OWNER) for _ in range(MOST)] == [[]] * MOST


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.168.1.2", "192.168.1.2"),
        ("::ffff:192.168.1.2", "192.168.1.2"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("not:an:address", "not:an:address"),
        (None, ""),
    ],
)
def test_an_ipv6_customer_is_one_source_whatever_address_it_takes(address: str | None, source: str) -> None:
    assert source_of(address) == source
