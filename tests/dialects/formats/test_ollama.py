import json

import pytest

from masa_node.chat.answer import Usage
from masa_node.dialects.dialect import ErrorText, Mark
from masa_node.dialects.formats.ollama import Ollama
from tests.dialects import recorded

DIALECT = Ollama()


@pytest.mark.parametrize(
    ("line", "mark"),
    [
        (b'{"message":{"content":"a"},"done":false}', Mark.PIECE),
        (b'{"response":"a"}', Mark.PIECE),
        (b'{"done":false}', Mark.META),
        (b'{"message":{"role":"assistant","content":""},"done":false}', Mark.META),
        (b'{"message":{"role":"assistant","content":"","thinking":"hm"},"done":false}', Mark.PIECE),
        (b'{"message":{"role":"assistant","tool_calls":[{"function":{}}]},"done":false}', Mark.PIECE),
        (b'{"response":"","thinking":"hm","done":false}', Mark.PIECE),
        (b'\xef\xbb\xbf{"response":"a","done":false}', Mark.PIECE),
        (b'{"error":"","response":"a"}', Mark.PIECE),
        (b"{}", Mark.NOISE),
        (b'{"status":"ping"}', Mark.NOISE),
        (b'{"message":{},"done":true}', Mark.END),
        (b'{"message":{},"done" : true}\r', Mark.END),
        (b'{"error":"boom"}', Mark.ERROR),
        (b'{"error":null,"done":true}', Mark.END),
        (b'{"x":1}', Mark.NOISE),
        (b'{"choices":[{"delta":{"content":"hi"}}]}', Mark.ALIEN),
        (b'{"message":{},"done":"Yes"}', Mark.END),
        (b'{"message":{},"done":1.0}', Mark.END),
        (b"{", Mark.ALIEN),
        (b"[]", Mark.NOISE),
        (b" \r", Mark.NOISE),
        (b"", Mark.NOISE),
    ],
)
def test_a_line_is_what_it_says(line: bytes, mark: Mark) -> None:
    assert DIALECT.mark(line, Usage()) is mark


def test_only_the_terminal_line_counts_tokens() -> None:
    usage = Usage()
    DIALECT.mark(b'{"response":"a","done":false,"eval_count":1}', usage)
    assert usage == Usage(None, None)
    DIALECT.mark(b'{"response":"","done":true,"prompt_eval_count":2,"eval_count":1}', usage)
    assert usage == Usage(2, 1)


@pytest.mark.parametrize("case", ["err_model_404", "err_bad_json", "err_no_model"])
def test_errors_have_the_shape_of_a_real_ollama(case: str) -> None:
    seen = recorded.load("ollama_native")["cases"][case]["response"]["json"]
    assert json.loads(DIALECT.error_body(ErrorText(404, "c", seen["error"], "r"))) == seen


def test_an_error_in_a_stream_is_one_line_and_no_blank_one_follows() -> None:
    assert DIALECT.error_frame(ErrorText(500, "c", "two\nlines", "r")) == b'{"error":"two\\nlines"}\n'
