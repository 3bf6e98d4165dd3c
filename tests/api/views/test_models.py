"""Lists of models as long as peers can make them."""

from collections.abc import Awaitable, Callable

import pytest

from masa_node.api.views.models import cloudflare_list, ollama_tags, openai_list, own_list
from masa_node.chat.offer import ModelOffer
from masa_node.chat.request import Endpoint
from masa_node.network.askable import MAX_DISTANT_MODELS
from masa_node.network.gossip.adverts import MAX_ADVERT_MODELS
from masa_node.routing.catalog import Offers
from tests.counted_calls import calls_by_turn
from tests.routing.scripted import ScriptedPeer

pytestmark = pytest.mark.untraced
MOST_CALLS = 20_000  # in one turn; the worst takes 14 thousand, and 20 ms are about 90 thousand
LISTS: dict[str, Callable[[Offers], Awaitable[object]]] = {
    "own": own_list,
    "openai": openai_list,
    "ollama": ollama_tags,
    "cloudflare": lambda offers: cloudflare_list(offers, {"per_page": "999999"}),
}


def crowd() -> Offers:
    """Of as many nodes as may be known without links, each with as many models as one may have."""
    endpoints = frozenset(Endpoint)
    return [
        (peer, ModelOffer(model=f"m-{number}-{each}", endpoints=endpoints))
        for number, peer in enumerate(map(ScriptedPeer, map(str, range(MAX_DISTANT_MODELS // MAX_ADVERT_MODELS))))
        for each in range(MAX_ADVERT_MODELS)
    ]


@pytest.mark.parametrize("tell", LISTS.values(), ids=LISTS.keys())
async def test_no_list_of_models_holds_the_loop_however_many_peers_made_up(
    tell: Callable[[Offers], Awaitable[object]],
) -> None:
    offers = crowd()

    told: list[bytes] = []

    async def reading() -> None:
        told[:] = [await tell(offers)]

    turns = await calls_by_turn(reading)
    assert max(turns) < MOST_CALLS
    assert b"m-127-255" in told[0]
