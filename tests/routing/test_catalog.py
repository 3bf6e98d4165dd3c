import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.chat.request import Endpoint
from masa_node.routing import catalog as catalog_module
from masa_node.routing.catalog import MAX_NAMED, MAX_NEAREST, Catalog, Found
from tests.routing.scripted import ScriptedPeer, ScriptedProvider, offer

A, B, C = (ScriptedProvider(name) for name in "abc")
P, Q = (ScriptedPeer(name) for name in "pq")
CHAT = Endpoint.OPENAI_CHAT
NOBODY = Found()


@pytest.fixture
def catalog() -> Catalog:
    return Catalog()


def test_nobody_serves_anything_at_first(catalog: Catalog) -> None:
    assert catalog.find("tiny", CHAT) == NOBODY
    assert not catalog.knows("tiny")
    assert catalog.all_offers() == []
    assert catalog.nearest("tiny") == []


@pytest.mark.parametrize("listed", ["tiny", "tiny:latest"])
@pytest.mark.parametrize("asked", ["tiny", "tiny:latest"])
def test_a_model_is_found_with_and_without_its_latest_tag(catalog: Catalog, listed: str, asked: str) -> None:
    catalog.put(A, [offer(listed)])
    assert catalog.find(asked, CHAT).own == (A,)
    assert catalog.knows(asked)
    assert [found.model for _, found in catalog.offers_of(asked)] == [listed]


def test_another_tag_is_another_model(catalog: Catalog) -> None:
    catalog.put(A, [offer("tiny:1b")])
    assert catalog.find("tiny", CHAT) == NOBODY
    assert not catalog.knows("tiny:2b")


def test_all_who_serve_a_model_are_found_in_the_order_in_which_they_were_named(catalog: Catalog) -> None:
    for provider in (B, A, C):
        catalog.put(provider, [offer()])
    catalog.put(B, [offer(), offer("other")])  # a new list does not move it
    assert catalog.find("tiny", CHAT).own == (B, A, C)
    assert [provider for provider, _ in catalog.all_offers()] == [B, B, A, C]


def test_who_lists_a_model_under_both_names_is_found_once(catalog: Catalog) -> None:
    catalog.put(A, [offer("tiny"), offer("tiny:latest")])
    assert catalog.find("tiny", CHAT).own == (A,)


def test_a_new_list_takes_the_place_of_the_old_one(catalog: Catalog) -> None:
    catalog.put(A, [offer("old")])
    assert catalog.find("old", CHAT).own == (A,)
    catalog.put(A, [offer("new")])
    assert catalog.find("old", CHAT) == NOBODY
    assert catalog.find("new", CHAT).own == (A,)


def test_a_removed_provider_serves_nothing(catalog: Catalog) -> None:
    catalog.put(A, [offer()])
    catalog.put(B, None)
    assert (catalog.find("tiny", CHAT), catalog.unlisted) == (Found((A,)), (B,))
    catalog.remove(A)
    catalog.remove(B)
    catalog.remove(C)  # was never there
    assert catalog.find("tiny", CHAT) == NOBODY
    assert not catalog.knows("tiny")


def test_the_other_endpoints_of_a_model_are_named_when_it_is_not_served_at_this_one(catalog: Catalog) -> None:
    catalog.put(A, [offer("tiny", Endpoint.OLLAMA_CHAT, Endpoint.NATIVE)])
    catalog.put(B, [offer("tiny", Endpoint.ANTHROPIC_MESSAGES)])
    found = catalog.find("tiny", CHAT)
    assert found.own == ()
    assert found.other_endpoints == (Endpoint.ANTHROPIC_MESSAGES, Endpoint.NATIVE, Endpoint.OLLAMA_CHAT)
    assert catalog.find("tiny", Endpoint.NATIVE) == Found((A,))


def test_who_has_no_list_may_serve_anything(catalog: Catalog) -> None:
    catalog.put(A, None)
    assert catalog.unlisted == (A,)
    assert catalog.find("anything", CHAT) == NOBODY
    assert not catalog.knows("anything")
    catalog.put(A, [])
    assert catalog.unlisted == ()


def counts(catalog: Catalog) -> tuple[int, int, int, tuple[int, ...]]:
    """How many peers, models, spellings of these, and look-ups of each model are kept now."""
    found = tuple(len(known.found) for known in catalog._models.values())
    return len(catalog._peers), len(catalog._models), len(catalog._spellings), found


def test_asking_for_names_that_do_not_exist_grows_nothing(catalog: Catalog) -> None:
    catalog.put(A, [offer()])
    for number in range(1_000):
        catalog.find(f"random-{number}", CHAT)
    assert counts(catalog) == (0, 1, 1, (0,))


def test_asking_for_names_that_exist_is_bounded_by_names_and_endpoints(catalog: Catalog) -> None:
    catalog.put(A, [offer()])
    for endpoint in Endpoint:
        for name in ("tiny", "tiny:latest", "tiny:latest:latest", "TINY"):
            catalog.find(name, endpoint)
    assert counts(catalog)[3] == (len(Endpoint),)


@pytest.mark.parametrize(
    "typed",
    ["Tiny", "TINY:latest", "tiny:LATEST", " tiny", "library/tiny", "registry.ollama.ai/library/tiny:latest"],
)
def test_a_model_is_found_as_ollama_lets_people_type_it(catalog: Catalog, typed: str) -> None:
    catalog.put(A, [offer("tiny:latest")])
    assert catalog.find(typed, Endpoint.OPENAI_CHAT).own == (A,)
    assert catalog.knows(typed)


def test_a_name_in_the_same_letters_comes_before_one_in_others(catalog: Catalog) -> None:
    catalog.put(A, [offer("Tiny")])
    catalog.put(B, [offer("tiny")])
    assert catalog.find("tiny", Endpoint.OPENAI_CHAT).own == (B,)
    assert catalog.find("Tiny", Endpoint.OPENAI_CHAT).own == (A,)
    assert catalog.find("TINY", Endpoint.OPENAI_CHAT).own == (A,)


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [
        ("lama3", "llama3:8b"),
        ("LLAMA3:8B", "llama3:8b"),
        ("qwen", "Qwen2.5"),
        ("qwen2.5:latest", "Qwen2.5"),
    ],
)
def test_the_nearest_names_come_first(catalog: Catalog, asked: str, nearest: str) -> None:
    catalog.put(A, [offer("llama3:8b"), offer("Qwen2.5"), offer("mistral:latest")])
    assert catalog.nearest(asked)[0] == nearest


def test_only_a_few_nearest_names_are_given(catalog: Catalog) -> None:
    catalog.put(A, [offer(f"llama{number}") for number in range(20)])
    assert len(catalog.nearest("llama")) == MAX_NEAREST


def test_when_no_name_is_near_the_first_few_are_given(catalog: Catalog) -> None:
    catalog.put(A, [offer(f"m{number}") for number in range(20)])
    assert catalog.nearest("zzzzzzzzz") == [f"m{number}" for number in range(MAX_NAMED)]


def test_only_a_bounded_number_of_names_is_compared(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_module, "MAX_COMPARED", 2)
    catalog.put(A, [offer("aaa"), offer("bbb"), offer("tiny")])
    assert catalog.nearest("tiny") == ["aaa", "bbb"]


def test_a_rule_that_lets_nobody_see_any_is_asked_about_a_bounded_number(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_module, "MAX_COMPARED", 2)
    catalog.put(A, [offer("aaa")])
    catalog.put(P, [offer(f"m{number}") for number in range(20)])
    asked: list[str] = []

    def may_see(name: str) -> bool:
        asked.append(name)
        return False

    assert catalog.nearest("tiny", may_see) == []
    assert asked == ["aaa", "m0"]


# ---- peers ----


def test_own_servers_and_peers_are_told_apart_and_own_ones_come_first(catalog: Catalog) -> None:
    catalog.put(P, [offer()])
    catalog.put(A, [offer()])
    catalog.put(Q, [offer("tiny", Endpoint.NATIVE)])
    assert catalog.find("tiny", CHAT) == Found((A,), (P,))
    assert catalog.find("tiny", Endpoint.NATIVE) == Found((), (Q,))
    assert [provider for provider, _ in catalog.offers_of("tiny")] == [A, P, Q]
    assert [provider for provider, _ in catalog.all_offers()] == [A, P, Q]


def test_the_endpoints_of_peers_are_named_too_when_nobody_serves_this_one(catalog: Catalog) -> None:
    catalog.put(A, [offer("tiny", Endpoint.NATIVE)])
    catalog.put(P, [offer("tiny", Endpoint.OLLAMA_CHAT)])
    assert catalog.find("tiny", CHAT) == Found((), (), (Endpoint.NATIVE, Endpoint.OLLAMA_CHAT))


def test_a_peer_without_a_list_serves_nothing(catalog: Catalog) -> None:
    catalog.put(P, None)
    assert catalog.unlisted == ()
    assert catalog.find("tiny", CHAT) == NOBODY


def test_how_a_peer_writes_a_name_does_not_take_it_from_an_own_server(catalog: Catalog) -> None:
    catalog.put(P, [offer("TINY"), offer("Tiny")])
    assert catalog.find("TINY", CHAT) == Found((), (P,))
    catalog.put(A, [offer("tiny:latest")])
    for typed in ("TINY", "Tiny", "tiny"):
        assert catalog.find(typed, CHAT) == Found((A,))


def test_own_names_are_among_those_compared_however_many_peers_there_are(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_module, "MAX_COMPARED", 3)
    catalog.put(P, [offer(f"peer-{number}") for number in range(10)])
    catalog.put(A, [offer("mine")])
    assert catalog.nearest("mime") == ["mine"]
    assert catalog.nearest("zzzzzzzzzz") == ["mine", "peer-0", "peer-1"]


def test_a_provider_of_the_same_name_takes_the_place_and_outlives_the_removal_of_the_first(catalog: Catalog) -> None:
    again = ScriptedPeer(P.name)
    catalog.put(P, [offer(), offer("old")])
    catalog.put(again, [offer()])
    catalog.remove(P)
    assert catalog.find("tiny", CHAT).peers == (again,)
    assert not catalog.knows("old")
    catalog.remove(again)
    assert catalog.find("tiny", CHAT) == NOBODY


def test_changes_of_own_offers_are_told_and_nothing_else(catalog: Catalog) -> None:
    told: list[bool] = []
    end = catalog.watch(lambda: told.append(catalog.knows("tiny")))
    catalog.put(P, [offer()])
    catalog.remove(P)
    assert told == []
    catalog.put(A, [offer()])
    catalog.put(A, [offer()])  # the same again
    catalog.put(A, None)
    catalog.remove(A)
    catalog.remove(A)
    assert told == [True, False, False]
    end()
    end()
    catalog.put(A, [offer()])
    assert len(told) == 3


def test_a_change_touches_only_what_that_provider_serves(catalog: Catalog) -> None:
    """The cost of a change is counted: models whose record of findings was touched."""
    peers = [ScriptedPeer(f"p{number}") for number in range(300)]
    for number, peer in enumerate(peers):
        catalog.put(peer, [offer(f"m{(number + step) % 300}") for step in range(10)])
    for number in range(300):
        catalog.find(f"m{number}", CHAT)

    def forgotten() -> int:
        return counts(catalog)[3].count(0)

    assert forgotten() == 0
    catalog.put(peers[0], [offer(f"m{step}") for step in range(10)])  # an advert that says the same
    assert forgotten() == 0
    catalog.put(peers[0], [offer(f"m{step}") for step in range(9)])
    assert forgotten() == 1
    catalog.remove(peers[0])
    assert forgotten() == 10


@pytest.mark.untraced
def test_ten_thousand_peers_that_come_and_go_leave_nothing(catalog: Catalog) -> None:
    peers = [ScriptedPeer(f"p{number}") for number in range(10_000)]
    for number, peer in enumerate(peers):
        catalog.put(peer, [offer(f"m{(number + step) % 50}") for step in range(10)])
    assert len(catalog.find("m7", CHAT).peers) == 2_000
    for peer in peers:
        catalog.remove(peer)
    assert counts(catalog) == (0, 0, 0, ())


NAMES = st.sampled_from(["tiny", "tiny:latest", "big", "big:1b"])
OFFERS = st.none() | st.lists(st.builds(offer, NAMES, st.sampled_from(Endpoint)), max_size=3)


@given(changes=st.lists(st.tuples(st.sampled_from([A, B, C, P]), st.just("gone") | OFFERS), max_size=8))
def test_after_any_changes_what_is_found_is_what_was_last_said(changes: list[tuple[ScriptedProvider, object]]) -> None:
    catalog = Catalog()
    said: dict[str, object] = {}
    for provider, offers in changes:
        if isinstance(offers, list) or offers is None:
            catalog.put(provider, offers)
            said[provider.name] = offers
        else:
            catalog.remove(provider)
            said.pop(provider.name, None)
        for name in ("tiny", "big:1b"):
            check_found(catalog, said, name)


def check_found(catalog: Catalog, said: dict[str, object], name: str) -> None:
    for endpoint in (Endpoint.OPENAI_CHAT, Endpoint.NATIVE):
        found = catalog.find(name, endpoint)
        serving = {
            provider
            for provider, offers in said.items()
            if isinstance(offers, list)
            for each in offers
            if each.model.removesuffix(":latest") == name and endpoint in each.endpoints
        }
        assert {provider.name for provider in (*found.own, *found.peers)} == serving
        assert len(found.own) + len(found.peers) == len(serving)
        assert P not in found.own
    assert {provider.name for provider in catalog.unlisted} == {
        name for name, offers in said.items() if offers is None and name != P.name
    }


def test_each_change_gives_another_generation_and_what_changes_nothing_does_not(catalog: Catalog) -> None:
    provider = ScriptedProvider("a")
    generations = [catalog.generation]
    for offers in ([offer("m")], [offer("m")], [offer("n")], None):
        catalog.put(provider, offers)
        generations.append(catalog.generation)
    catalog.remove(provider)
    catalog.remove(provider)
    generations.append(catalog.generation)
    assert generations == [0, 1, 1, 2, 3, 4]
