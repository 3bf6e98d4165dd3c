import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.chat.offer import ModelOffer, same_model_key
from masa_node.chat.request import Endpoint


@pytest.mark.parametrize(
    ("model", "key"),
    [
        ("tiny", "tiny"),
        ("tiny:latest", "tiny"),
        ("tiny:1b", "tiny:1b"),
        ("latest", "latest"),
        ("tiny:latest-2", "tiny:latest-2"),
        ("@cf/meta/llama-3", "@cf/meta/llama-3"),
    ],
)
def test_the_latest_tag_is_the_model_without_a_tag(model: str, key: str) -> None:
    assert same_model_key(model) == key


@given(st.text())
def test_a_name_and_its_latest_tag_meet_under_one_key(model: str) -> None:
    assert same_model_key(model + ":latest") == model


def test_an_offer_says_nothing_that_its_server_did_not() -> None:
    offer = ModelOffer("m", frozenset({Endpoint.NATIVE}))
    assert (offer.listing, offer.owned_by, offer.created_at_unix_s, offer.context_tokens) == (b"{}", None, None, None)
