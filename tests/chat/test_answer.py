from masa_node.chat.answer import Usage, WholeAnswer
from masa_node.chat.request import DialectName


def test_a_whole_answer_holds_nothing_open_so_it_can_be_closed_twice() -> None:
    answer = WholeAnswer(200, (), b"{}", DialectName.OPENAI)
    answer.close()
    answer.close()
    assert answer.body == b"{}"


def test_usage_is_unknown_until_the_llm_says_it() -> None:
    assert WholeAnswer(200, (), b"{}", DialectName.OPENAI).usage == Usage(None, None)


def test_two_answers_do_not_share_their_usage() -> None:
    first, second = (WholeAnswer(200, (), b"{}", DialectName.OPENAI) for _ in range(2))
    first.usage.input_tokens = 1
    assert second.usage.input_tokens is None


def test_a_later_count_wins_and_what_it_leaves_out_stays() -> None:
    usage = Usage()
    usage.note(9, None)
    usage.note(None, 5)
    assert usage == Usage(9, 5)
    usage.note(0, 6)
    assert usage == Usage(0, 6)
