from masa_node.chat.ask import Door
from masa_node.chat.offer import ModelOffer
from masa_node.network.advertising import LOAD_TOLD_EVERY_S, AboutNode, Advertiser, offers_of
from masa_node.network.adverts import LIFETIME_S, MAX_MODELS, Advert, AdvertModel, SignedAdvert, open_advert
from masa_node.network.memory import MemoryNetwork
from masa_node.network.transport import PeerAddress

AT = 1_795_000_000.0
KEYS = MemoryNetwork().keys(1)
CHAT = frozenset({Door.OPENAI_CHAT})


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
    assert (advert.node_id, advert.addresses, advert.places) == (KEYS.node_id, ("10.0.0.1:1",), 4)
    assert advert.models == (AdvertModel("tiny", ("openai.chat",)),)
    assert advert.expires_at_unix_s == AT + LIFETIME_S


def test_nothing_new_is_not_said_again_until_half_of_its_life_is_over() -> None:
    owner = Owner("tiny")
    first = advert_of(owner)
    assert owner.due(LIFETIME_S / 2 - 1) is None
    assert advert_of(owner, LIFETIME_S / 2 + 1, AT + 1).sequence > first.sequence


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
    assert owner.due(LOAD_TOLD_EVERY_S / 2) is None
    assert advert_of(owner, LOAD_TOLD_EVERY_S + 0.1).running == 3
    owner.address = PeerAddress(KEYS.node_id, ("10.0.0.2:1",))
    assert advert_of(owner, LOAD_TOLD_EVERY_S + 0.2).addresses == ("10.0.0.2:1",)


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


def test_one_model_of_two_servers_is_told_once_with_all_its_doors() -> None:
    owner = Owner()
    owner.offers = [
        ModelOffer("tiny", CHAT, capabilities=("tools",)),
        ModelOffer("tiny:latest", frozenset({Door.OLLAMA_CHAT, Door.OLLAMA_SHOW})),
    ]
    (model,) = advert_of(owner).models
    assert (model.id, model.doors, model.capabilities) == ("tiny", ("ollama.chat", "openai.chat"), ("tools",))


def test_too_many_models_for_one_advert_are_told_as_far_as_they_go() -> None:
    owner = Owner(*(f"{'m' * 200}{number:04d}" for number in range(2000)))
    told = advert_of(owner).models
    assert 50 < len(told) <= MAX_MODELS


def test_doors_and_names_that_this_node_does_not_know_are_left_out() -> None:
    models = (
        AdvertModel("tiny", ("openai.chat", "telepathy.chat", "ollama.show")),
        AdvertModel("none", ("telepathy.chat",)),
        AdvertModel("bad\nname", ("openai.chat",)),
    )
    offers = offers_of(Advert(KEYS.node_id, 1, 0, 1, models=models))
    assert [(offer.model, offer.doors) for offer in offers] == [("tiny", CHAT)]
