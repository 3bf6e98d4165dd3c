"""Who makes room when there are too many connections. (With sockets: `tests/security/test_hostile_crowd.py`.)

Covers: `raw_responses`.
"""

from dataclasses import dataclass

import pytest

from masa_node.api.http1.crowd import ConnectionState, Crowd, source_of

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
