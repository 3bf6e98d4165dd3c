"""What is written of an answer that is ended in its midst."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from masa_node.api.reply_sink import ReplySink
from masa_node.chat.answer import WRITTEN, WholeAnswer
from masa_node.chat.journal_errors import NodeStopping
from masa_node.chat.request import DialectName
from tests.accounts.test_under_way import asked


@pytest.mark.parametrize("has_begun", [True, False])
async def test_into_the_midst_of_a_whole_answer_nothing_is_put(*, has_begun: bool) -> None:
    """Of a large one, which its caller reads slowly, the head and a part are written."""
    written: list[object] = []

    def take(*what: object) -> object:
        written.append(what)
        return WRITTEN

    reply = SimpleNamespace(has_begun=has_begun, is_paused=False, piece=take, whole=take)
    sink = ReplySink(asked(), cast("Any", reply), is_native=False)
    sink.head(WholeAnswer(200, (), b"{}", DialectName.OPENAI), ())
    size = await sink.failed(NodeStopping("It was stopped."), ())
    assert (size > 0, len(written)) == (not has_begun, int(not has_begun))
