"""Who makes room when there are too many connections. (With sockets: `tests/security/test_hostile_crowd.py`.)"""

from dataclasses import dataclass

import pytest

from masa_node.api.http1.crowd import Crowd, Standing, source_of

MOST = 8
OWNER, STRANGER = "192.168.1.2", "203.0.113.9"


@dataclass(eq=False)
class Guest:
    standing: Standing = Standing.IDLE
    since_s: float = 0.0


def filled(*guests: Guest, source: str = OWNER, most: int = 2 * MOST) -> Crowd[Guest]:
    crowd: Crowd[Guest] = Crowd(lambda: most)
    for guest in guests:
        assert crowd.enter(guest, source) == []
    return crowd


def test_there_is_room_up_to_the_bound() -> None:
    crowd = filled(*(Guest() for _ in range(MOST // 2)), most=MOST)
    assert [crowd.enter(Guest(), STRANGER) for _ in range(MOST // 2)] == [[]] * (MOST // 2)
    assert len(crowd.enter(Guest(), "198.51.100.7")) == 1


@pytest.mark.parametrize(("first", "then"), [*zip(list(Standing)[:-2], list(Standing)[1:-1], strict=True)])
def test_who_loses_least_goes_first_however_new_it_is(first: Standing, then: Standing) -> None:
    goes = Guest(first, 99.0)
    crowd = filled(*(Guest(then, n) for n in range(MOST - 1)), goes)
    assert crowd.enter(Guest(), OWNER) == [goes]


def test_of_the_same_the_one_that_has_been_so_for_longest_goes() -> None:
    oldest = Guest(since_s=1.0)
    crowd = filled(Guest(since_s=2.0), oldest, *(Guest(since_s=3.0) for _ in range(MOST - 2)))
    assert crowd.enter(Guest(since_s=4.0), OWNER) == [oldest]


def test_one_source_takes_at_most_half_and_makes_room_among_its_own() -> None:
    crowd = filled(*(Guest() for _ in range(MOST)), source=STRANGER)
    own = Guest(Standing.ANSWERED)
    assert crowd.enter(own, OWNER) == []
    (gone,) = crowd.enter(Guest(), STRANGER)
    assert gone is not own
    crowd.leave(gone, STRANGER)
    assert [crowd.enter(Guest(), OWNER) for _ in range(MOST - 1)] == [[]] * (MOST - 1)


def test_whoever_is_worked_on_never_goes_and_the_newcomer_does() -> None:
    crowd = filled(*(Guest(Standing.WORKED_ON) for _ in range(MOST)))
    newcomer = Guest()
    assert crowd.enter(newcomer, OWNER) == [newcomer]


def test_who_has_left_takes_no_room() -> None:
    guests = [Guest() for _ in range(MOST)]
    crowd = filled(*guests)
    for guest in guests:
        crowd.leave(guest, OWNER)
        crowd.leave(guest, OWNER)
    assert [crowd.enter(Guest(), OWNER) for _ in range(MOST)] == [[]] * MOST


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
