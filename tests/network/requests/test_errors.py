import pytest

from masa_node.chat.errors import (
    BadJson,
    EndpointMissing,
    ErrorAnswer,
    MasaError,
    NotAnAnswer,
    Overloaded,
    ProviderError,
    ProxyFailed,
    UnknownModel,
    Unreachable,
)
from masa_node.chat.request import Endpoint
from masa_node.network.requests.errors import CODES, error_of, failure_of, redact
from masa_node.network.requests.frames import RequestFailure


def refused_key(status: int) -> ErrorAnswer:
    return ErrorAnswer("wrong key sk-123", status=status, headers=(), body=b"", is_json=False)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Overloaded("full", 1), "peer_busy"),
        (UnknownModel("m"), "peer_refused"),
        (BadJson("no"), "peer_refused"),
        (ProxyFailed("proxy.example:3128 said no"), Unreachable.code),
        (MasaError("a bug"), "internal_error"),
    ],
)
def test_each_error_crosses_as_what_the_requester_can_act_upon(error: MasaError, code: str) -> None:
    assert failure_of(error).code == code


@pytest.mark.parametrize("status", [401, 403, 407])
def test_a_refused_key_is_its_owners_matter_and_the_llms_words_stay_here(status: int) -> None:
    failure = failure_of(refused_key(status))
    assert failure.code == ProviderError.code
    assert "sk-123" not in failure.message


def test_addresses_of_the_owner_never_cross() -> None:
    failure = failure_of(NotAnAnswer("http://10.0.0.7:11434/api gave HTML, as did [::1]:80 and gpu-box:8000"))
    assert failure.message == "(address) gave HTML, as did (address) and (address)"
    assert redact("port 5 of 6") == "port 5 of 6"


@pytest.mark.parametrize("code", sorted(CODES))
def test_a_code_is_the_same_error_on_the_other_side(code: str) -> None:
    error = error_of(RequestFailure(code, "why", "its LLM server"), "peer bob")
    assert type(error) is CODES[code]
    assert (error.message, error.location) == ("why", "peer bob, its LLM server")


def test_an_unknown_code_is_a_failure_and_silence_gets_words() -> None:
    error = error_of(RequestFailure("from_the_future", ""), "peer bob")
    assert (error.code, error.message) == (ProviderError.code, "it failed and does not say why.")


@pytest.mark.parametrize("status", [None, 404])
def test_a_missing_endpoint_is_the_callers_matter_also_when_no_status_is_told(status: int | None) -> None:
    failure = RequestFailure(
        EndpointMissing.code, "it has none", status=status, endpoints=(Endpoint.OPENAI_CHAT.value,)
    )
    error = error_of(failure, "peer bob")
    assert isinstance(error, EndpointMissing)
    assert error.status == (status or EndpointMissing("", frozenset()).status)
    assert error.endpoints == {Endpoint.OPENAI_CHAT}
