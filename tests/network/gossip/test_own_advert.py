import msgspec

from masa_node.chat.offer import ModelFacts, ModelOffer
from masa_node.chat.request import PASSED_ENDPOINTS, Endpoint
from masa_node.network.gossip.advert_set import MAX_KNOWN
from masa_node.network.gossip.adverts import (
    ADVERT_LIFETIME_S,
    MAX_ADVERT_MODELS,
    MAX_COUNT,
    MAX_LIFETIME_S,
    NODES_OF_A_LIFETIME,
    Advert,
    AdvertModel,
    SignedAdvert,
    lifetime_s,
    open_advert,
)
from masa_node.network.gossip.own_advert import LOAD_SENT_EVERY_S, AboutNode, Advertiser, offers_of
from masa_node.network.transport.interfaces import NodeId, PeerAddress
from masa_node.network.transport.memory import MemoryNetwork

AT = 1_795_000_000.0
KEYS = MemoryNetwork().keys(1)
CHAT = frozenset({Endpoint.OPENAI_CHAT})


class Owner:
    """What an advertiser asks its node."""

    def __init__(self, *models: str) -> None:
        self.offers = [ModelOffer(model, CHAT) for model in models]
        self.running = 0
        self.address = PeerAddress(KEYS.node_id, ("10.0.0.1:1",))
        self.advertiser = Advertiser(KEYS, lambda: self.offers, self._about)

    def _about(self) -> AboutNode:
        return AboutNode("1", "name", self.address, self.running, 4)

    def due(self, now_s: float, at_unix_s: float = AT) -> SignedAdvert | None:
        return self.advertiser.due(now_s, at_unix_s)


def advert_of(owner: Owner, now_s: float = 0.0, at_unix_s: float = AT) -> Advert:
    signed = owner.due(now_s, at_unix_s)
    assert signed is not None
    return open_advert(signed.signed, KEYS, at_unix_s).advert


def test_the_first_advert_is_due_at_once_and_says_what_there_is() -> None:
    advert = advert_of(Owner("tiny"))
    assert (advert.node_id, advert.addresses, advert.slots) == (KEYS.node_id, ("10.0.0.1:1",), 4)
    assert advert.models == (AdvertModel("tiny", ("openai.chat",)),)
    assert advert.expires_at_unix_s == AT + ADVERT_LIFETIME_S


def test_nothing_new_is_not_said_again_until_half_of_its_life_is_over() -> None:
    owner = Owner("tiny")
    first = advert_of(owner)
    assert owner.due(ADVERT_LIFETIME_S / 2 - 1) is None
    assert advert_of(owner, ADVERT_LIFETIME_S / 2 + 1, AT + 1).sequence > first.sequence


def test_in_a_large_network_adverts_hold_longer_in_proportion_and_never_longer_than_others_take_them() -> None:
    owner = Owner("tiny")
    first = owner.advertiser.due(0.0, AT, 2 * NODES_OF_A_LIFETIME)
    assert first is not None
    assert first.advert.expires_at_unix_s == AT + 2 * ADVERT_LIFETIME_S
    assert owner.due(ADVERT_LIFETIME_S - 1) is None
    assert owner.due(ADVERT_LIFETIME_S + 1) is not None
    assert lifetime_s(NODES_OF_A_LIFETIME) == ADVERT_LIFETIME_S
    assert lifetime_s(10 * MAX_KNOWN) == MAX_LIFETIME_S


def test_a_model_that_goes_is_told_at_once() -> None:
    owner = Owner("tiny", "large")
    advert_of(owner)
    owner.offers.pop()
    assert owner.due(0.1) is None  # nobody said that anything changed: looking costs
    owner.advertiser.offers_changed()
    assert [model.id for model in advert_of(owner, 0.1).models] == ["tiny"]


def test_load_is_told_now_and_then_and_an_address_at_once() -> None:
    owner = Owner("tiny")
    advert_of(owner)
    owner.running = 3
    assert owner.due(LOAD_SENT_EVERY_S / 2) is None
    assert advert_of(owner, LOAD_SENT_EVERY_S + 0.1).running == 3
    owner.address = PeerAddress(KEYS.node_id, ("10.0.0.2:1",))
    assert advert_of(owner, LOAD_SENT_EVERY_S + 0.2).addresses == ("10.0.0.2:1",)


def test_a_restart_does_not_begin_below_what_was_said_before() -> None:
    before = advert_of(Owner(), at_unix_s=AT)
    assert advert_of(Owner(), at_unix_s=AT + 1).sequence > before.sequence


def test_numbers_grow_although_the_clock_goes_back_and_above_what_others_hold() -> None:
    owner = Owner("tiny")
    first = advert_of(owner)
    owner.address = PeerAddress(KEYS.node_id)
    second = advert_of(owner, 1, AT - 1000)
    assert second.sequence == first.sequence + 1
    owner.advertiser.raise_above(second.sequence + 10)
    assert advert_of(owner, 2, AT - 1000).sequence == second.sequence + 11


def test_one_model_of_two_servers_is_told_once_with_all_its_endpoints() -> None:
    owner = Owner()
    owner.offers = [
        ModelOffer("tiny", CHAT, capabilities=("tools",)),
        ModelOffer("tiny:latest", frozenset({Endpoint.OLLAMA_CHAT, Endpoint.OLLAMA_SHOW})),
    ]
    (model,) = advert_of(owner).models
    assert (model.id, model.endpoints, model.capabilities) == ("tiny", ("ollama.chat", "openai.chat"), ("tools",))


FACTS = ModelFacts("llama", "8.0B", "Q4_K_M", 4_900_000_000, "gguf")


def test_what_many_peers_offer_alike_is_made_and_kept_once() -> None:
    """Thousands of nodes serve the same models, and renew their adverts."""
    model, other = (AdvertModel(f"tiny-{number}", ("openai.chat",)) for number in (1, 2))
    (first,), (again,), (differs,) = (
        offers_of(Advert(NodeId(f"{number:064x}"), 1, 0, 1, models=(each,)))
        for number, each in enumerate((model, msgspec.structs.replace(model), other))
    )
    assert first is again
    assert differs != first


def test_what_is_known_of_a_model_arrives_with_its_offer() -> None:
    owner = Owner()
    shared = ModelOffer(
        "tiny",
        CHAT,
        created_at_unix_s=1_790_000_000,
        context_tokens=8192,
        capabilities=("completion", "tools"),
        facts=FACTS,
    )
    owner.offers = [shared]
    assert offers_of(advert_of(owner)) == [shared]


def test_of_two_servers_the_one_that_knows_anything_is_heard() -> None:
    owner = Owner()
    owner.offers = [ModelOffer("tiny", CHAT), ModelOffer("tiny:latest", CHAT, facts=FACTS, capabilities=("tools",))]
    (offer,) = offers_of(advert_of(owner))
    assert (offer.model, offer.facts, offer.capabilities) == ("tiny", FACTS, ("tools",))


def test_facts_beyond_their_bounds_are_cut_before_they_are_told() -> None:
    owner = Owner()
    endless = ModelFacts("f" * 1000, "p" * 1000, "q" * 1000, 1 << 80, "g" * 1000)
    owner.offers = [ModelOffer("tiny", CHAT, capabilities=("c" * 1000,) * 100, facts=endless)]
    (model,) = advert_of(owner).models
    assert [len(word) for word in (model.family, model.parameter_size, model.quantization, model.format)] == [64] * 4
    assert (model.size_bytes, len(model.capabilities)) == (MAX_COUNT, 16)


def test_a_strangers_facts_that_nobody_could_show_are_none() -> None:
    hostile = AdvertModel(
        "tiny",
        ("openai.chat",),
        None,
        ("tools", "\x1b[2J"),
        created_at_unix_s=MAX_COUNT,
        family="\x1b]0;owned\x07",
        parameter_size="8\nB",
        quantization="\u202eQ4",
        size_bytes=MAX_COUNT,
        format="gguf\x9b",
    )
    (offer,) = offers_of(Advert(KEYS.node_id, 1, 0, 1, models=(hostile,)))
    assert offer.facts == ModelFacts(size_bytes=MAX_COUNT)
    assert (offer.capabilities, offer.created_at_unix_s) == (("tools",), None)


def test_rather_than_a_model_its_facts_are_left_out_of_an_advert_that_is_too_long() -> None:
    owner = Owner(*(f"model-{number}-{'m' * 100}" for number in range(MAX_ADVERT_MODELS)))
    told = len(advert_of(owner).models)
    owner.offers = [msgspec.structs.replace(offer, facts=FACTS) for offer in owner.offers]
    owner.advertiser.offers_changed()
    again = advert_of(owner, 1.0).models
    assert (len(again), {model.family for model in again}) == (told, {""})


def test_too_many_models_for_one_advert_are_told_as_far_as_they_go() -> None:
    owner = Owner(*(f"{'m' * 200}{number:04d}" for number in range(2000)))
    told = advert_of(owner).models
    assert 50 < len(told) <= MAX_ADVERT_MODELS


def test_endpoints_and_names_that_this_node_does_not_know_are_left_out() -> None:
    models = (
        AdvertModel("tiny", ("openai.chat", "telepathy.chat", "ollama.show")),
        AdvertModel("none", ("telepathy.chat",)),
        AdvertModel("bad\nname", ("openai.chat",)),
    )
    offers = offers_of(Advert(KEYS.node_id, 1, 0, 1, models=models))
    assert [(offer.model, offer.endpoints) for offer in offers] == [("tiny", CHAT)]


def test_one_word_stands_for_all_endpoints_that_only_pass() -> None:
    owner = Owner()
    owner.offers = [ModelOffer("tiny", CHAT | PASSED_ENDPOINTS)]
    advert = advert_of(owner)
    assert advert.models == (AdvertModel("tiny", ("openai.chat", "openai.more")),)
    assert [offer.endpoints for offer in offers_of(advert)] == [CHAT | PASSED_ENDPOINTS]
