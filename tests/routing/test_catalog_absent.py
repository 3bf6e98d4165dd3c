"""What is known of providers that left: for a while, in bounds, and no longer than they are away."""

from masa_node.chat.request import Endpoint
from masa_node.routing.catalog import AWAY_S, MAX_ABSENT, Absences
from tests.routing.scripted import ScriptedPeer, offer

CHAT = Endpoint.OPENAI_CHAT


def names(absences: Absences, model: str, now_s: float = 1.0, endpoint: Endpoint = CHAT) -> list[str]:
    return [absence.provider.name for absence in absences.serving(model, (endpoint,), now_s)]


def test_who_served_a_model_is_known_the_latest_first() -> None:
    absences = Absences()
    absences.left(ScriptedPeer("a"), (offer("tiny"), offer("big")), 0.0)
    absences.left(ScriptedPeer("b"), (offer("tiny"),), 0.5)
    assert (names(absences, "tiny"), names(absences, "big"), names(absences, "none")) == (["b", "a"], ["a"], [])


def test_a_model_is_known_by_any_of_its_spellings_and_at_its_own_endpoints_only() -> None:
    absences = Absences()
    absences.left(ScriptedPeer("a"), (offer("tiny:latest", CHAT),), 0.0)
    assert names(absences, "Tiny") == ["a"]
    assert names(absences, "tiny", endpoint=Endpoint.ANTHROPIC_MESSAGES) == []


def test_who_stays_away_for_long_has_gone() -> None:
    absences = Absences()
    absences.left(ScriptedPeer("a"), (offer("tiny"),), 0.0)
    absences.left(ScriptedPeer("b"), (offer("tiny"),), 10.0)
    assert names(absences, "tiny", AWAY_S) == ["b"]
    assert absences.names() == ["b"]


def test_who_is_back_is_not_away() -> None:
    absences = Absences()
    absences.left(ScriptedPeer("a"), (offer("tiny"),), 0.0)
    absences.back("a")
    absences.back("never there")
    assert names(absences, "tiny") == []


def test_no_more_are_kept_than_there_can_be_links() -> None:
    absences = Absences()
    for number in range(MAX_ABSENT + 2):
        absences.left(ScriptedPeer(f"p{number}"), (offer("tiny"),), 0.0)
    assert len(absences.names()) == MAX_ABSENT
    assert "p0" not in absences.names()
