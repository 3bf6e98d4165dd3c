import pytest

from masa_node.network.requests.quotas import MAX_REQUESTS_PER_PEER
from masa_node.node.peering.wiring import serving_limits
from masa_node.node.settings.environment import Settings


def test_one_peer_may_have_every_slot_that_the_owner_gave_to_peers() -> None:
    limits = serving_limits(Settings(max_peer_jobs=100, max_peer_queue=20))

    assert limits.requests_per_peer == 120


@pytest.mark.parametrize(("jobs", "queue"), [(1, 0), (4, 8)])
def test_few_places_do_not_lower_what_one_peer_may_have_under_way(jobs: int, queue: int) -> None:
    """Those that find no place are told so by the queue itself."""
    limits = serving_limits(Settings(max_peer_jobs=jobs, max_peer_queue=queue))

    assert limits.requests_per_peer == MAX_REQUESTS_PER_PEER
