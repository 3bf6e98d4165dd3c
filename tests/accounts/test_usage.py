import pytest

from masa_node.accounts.usage import DAY_S, MAX_NAME_CHARS, MAX_TOKENS, Account, Sums, account_of
from masa_node.chat.outcome import CALLER_GONE, Outcome
from masa_node.chat.request import OWNER, Endpoint
from tests.fakes.outcomes import WON, by_peer, outcome

TODAY = WON.ended_at_unix_ns // 10**9 // DAY_S


def summed(*outcomes: Outcome) -> Sums:
    sums = Sums()
    for each in outcomes:
        sums.add(each)
    return sums


def test_requests_tokens_and_times_are_summed() -> None:
    assert summed(outcome(), outcome(input_tokens=1, output_tokens=2, first_piece_s=0.5, total_s=0.5)) == Sums(
        requests=2, input_tokens=8, output_tokens=7, first_pieces=2, first_piece_s=0.5256, total_s=2.0
    )


def test_a_stream_without_usage_is_unknown_and_not_nothing() -> None:
    sums = summed(outcome(input_tokens=None, output_tokens=None), outcome())
    assert (sums.input_tokens, sums.input_unknown) == (7, 1)
    assert (sums.output_tokens, sums.output_unknown) == (5, 1)


def test_what_no_llm_answered_took_no_tokens() -> None:
    nobody = outcome(served_by=None, status=404, error="model_not_found", input_tokens=None, output_tokens=None)
    sums = summed(nobody)
    assert (sums.errors, sums.input_unknown, sums.output_unknown) == (1, 0, 0)


@pytest.mark.parametrize(
    "endpoint",
    [
        Endpoint.OPENAI_EMBEDDINGS,
        Endpoint.OLLAMA_EMBED,
        Endpoint.OLLAMA_EMBEDDINGS,
        Endpoint.OPENAI_RERANK,
        Endpoint.OPENAI_MODERATIONS,
    ],
)
def test_what_only_reads_has_no_output_that_could_be_unknown(endpoint: Endpoint) -> None:
    sums = summed(outcome(endpoint=endpoint, output_tokens=None))
    assert (sums.output_unknown, sums.input_tokens) == (0, 7)


def test_counting_tokens_takes_none() -> None:
    sums = summed(outcome(endpoint=Endpoint.ANTHROPIC_COUNT_TOKENS, input_tokens=None, output_tokens=None))
    assert (sums.input_unknown, sums.output_unknown) == (0, 0)


def test_a_caller_that_left_is_no_error() -> None:
    sums = summed(outcome(error=CALLER_GONE, status=499), outcome(error="stalled"), outcome(status=400))
    assert (sums.requests, sums.cancelled, sums.errors) == (3, 1, 2)


def test_a_count_that_must_be_a_lie_is_unknown() -> None:
    sums = summed(outcome(input_tokens=MAX_TOKENS + 1, output_tokens=MAX_TOKENS))
    assert (sums.input_tokens, sums.input_unknown, sums.output_tokens) == (0, 1, MAX_TOKENS)


def test_parts_of_one_account_are_merged() -> None:
    whole = summed(outcome(), outcome(error="x"), outcome(output_tokens=None))
    part = summed(outcome(), outcome(error="x"))
    part.merge(summed(outcome(output_tokens=None)))
    assert part == whole


def test_a_request_counts_on_the_day_on_which_it_ended() -> None:
    day_ns = DAY_S * 10**9
    assert [account_of(outcome(ended_at_unix_ns=ns)).day for ns in (day_ns - 1, day_ns)] == [0, 1]


def test_an_own_request_goes_to_the_account_of_its_key() -> None:
    assert account_of(outcome()) == Account(TODAY, OWNER, "", "m", "llm", is_peer=False)
    assert account_of(outcome(key="alice")).key == "alice"


def test_a_peers_request_goes_to_the_peers_account() -> None:
    assert account_of(outcome(requester="p" * 64)) == Account(TODAY, "", "p" * 64, "m", "llm", is_peer=False)


def test_what_a_peer_answered_is_told_apart() -> None:
    assert account_of(by_peer("q" * 64)) == Account(TODAY, OWNER, "", "m", "q" * 64, is_peer=True)


def test_a_name_that_no_list_has_counts_if_an_llm_answered_for_it() -> None:
    assert account_of(outcome(model="unlisted", model_known=False)).model == "unlisted"


def test_a_name_that_no_list_has_names_no_account() -> None:
    assert account_of(outcome(model="x" * 9, model_known=False, served_by=None, attempts=())).model == ""
    assert len(account_of(outcome(model="x" * 999)).model) == MAX_NAME_CHARS


def test_a_folded_account_still_has_its_key_and_its_direction() -> None:
    own = account_of(outcome(key="alice")).folded()
    assert (own.key, own.requester, own.model) == ("alice", "", "(other)")
    assert account_of(outcome(requester="p")).folded().requester == "(other)"
