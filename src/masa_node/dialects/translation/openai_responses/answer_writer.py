"""From neutral events to those of responses: items one after the other, parallel calls open beside each other."""

from msgspec import Raw

from masa_node.dialects.translation.collecting import (
    Block,
    CallBlock,
    RefusalBlock,
    TextBlock,
    ThoughtBlock,
    collected,
)
from masa_node.dialects.translation.events import (
    AnswerContext,
    Begun,
    CallBegun,
    CallPiece,
    Citation,
    Ended,
    Event,
    Failed,
    Finished,
    Logprob,
    RefusalPiece,
    StopReason,
    TextPiece,
    ThoughtPiece,
    ThoughtSealed,
    Tokens,
    Used,
    merged,
)
from masa_node.dialects.translation.failures import Failure, openai_words
from masa_node.dialects.translation.openai_responses.output import (
    Fields,
    Output,
    annotation,
    echo_of,
    last_status,
    logprob,
    status_fields,
    text_part,
    usage_fields,
)
from masa_node.dialects.translation.tools import input_of
from masa_node.dialects.translation.wire import encode

_MORE_TEXT = b"response.output_text.delta"


class ResponsesAnswerWriter:
    """Writes one answer."""

    def __init__(self, context: AnswerContext) -> None:
        self._context = context
        self._output = Output(context)
        self._echo = echo_of(context.conversation)
        self._begun = Begun()
        self._is_begun = False
        self._is_failed = False
        self._tokens = Tokens()
        self._reason = StopReason.END
        self._number = 0
        self._done: dict[int, Fields] = {}  # the items that are complete, by their place
        self._places = 0
        self._open: tuple[int, Block] | None = None  # what is being said, or thought
        self._calls: dict[int, tuple[int, CallBlock]] = {}
        self._place: tuple[TextBlock | None, bytes] = (None, b"")

    def write(self, event: Event) -> bytes:
        """See `AnswerWriter`."""
        match event:
            case TextPiece(text=text, choice=0, logprobs=logprobs):
                return self._text(text, logprobs)
            case CallPiece(call=call, arguments=arguments, choice=0) if call in self._calls:
                return self._arguments(call, arguments)
            case ThoughtPiece(text=text, choice=0) if text:
                return self._thought(text)
            case Begun() | Used() | Failed() | Ended():
                return self._of_answer(event)
            case _:
                return b"" if event.choice else self._write_other(event)

    def _of_answer(self, event: Begun | Used | Failed | Ended) -> bytes:
        match event:
            case Begun():
                return self._begin(event)
            case Used(tokens=tokens):
                self._tokens = merged(self._tokens, tokens)
                return b""
            case Failed(failure=failure):
                return self._fail(failure)
            case Ended():
                return self._end()

    def _write_other(self, event: Event) -> bytes:
        match event:
            case CallBegun():
                return self._call(event)
            case ThoughtSealed():
                return self._sealed(event)
            case RefusalPiece(text=text) if text:
                return self._refusal(text)
            case Citation():
                return self._citation(event)
            case Finished(reason=reason):
                self._reason = reason
                return self._close_all()
            case _:
                return b""

    def _begin(self, event: Begun) -> bytes:
        if self._is_begun:
            return b""
        self._is_begun = True
        self._begun = event
        if event.tokens is not None:
            self._tokens = merged(self._tokens, event.tokens)
        response = self._response([], {"status": "in_progress", "incomplete_details": None, "usage": None})
        return self._frame(b"response.created", b'"response":' + response) + self._frame(
            b"response.in_progress", b'"response":' + response
        )

    def _response(self, output: list[Fields], state: Fields) -> bytes:
        begun, context = self._begun, self._context
        id_ = begun.id if begun.id.startswith("resp_") else f"resp_{context.answer_id}"
        created = begun.created_unix_s if begun.created_unix_s is not None else context.now_unix_s
        model = begun.model or context.conversation.model
        fields: Fields = {"id": id_, "object": "response", "created_at": created, "model": model, "output": output}
        fields["error"] = None
        return encode({**fields, **state})[:-1] + b"," + self._echo + b"}"

    def _frame(self, name: bytes, fields: bytes | memoryview) -> bytes:
        number, self._number = self._number, self._number + 1
        head = b'event: %b\ndata: {"type":"%b","sequence_number":%d,' % (name, name, number)
        return b"".join((head, fields, b"}\n\n"))

    def _event(self, name: str, fields: Fields) -> bytes:
        return self._frame(name.encode(), memoryview(encode(fields))[1:-1])

    def _add(self, block: Block, item: Fields) -> bytes:
        at, self._places = self._places, self._places + 1
        if isinstance(block, CallBlock):
            self._calls[block.call] = (at, block)
        else:
            self._open = (at, block)
        return self._event("response.output_item.added", {"output_index": at, "item": item})

    def _text(self, text: str, logprobs: list[Logprob] | None) -> bytes:
        frames = b""
        if self._open is None or not isinstance(self._open[1], TextBlock):
            if not text:
                return b""
            frames = self._open_message(
                TextBlock(), {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            )
        at, block = self._open or (0, TextBlock())
        if not isinstance(block, TextBlock):
            return frames
        block.pieces.append(text)
        block.logprobs += logprobs or ()
        if logprobs:
            rated = encode([logprob(each) for each in logprobs])
            return frames + self._frame(_MORE_TEXT, self._place_of(block, at) + rated + b',"delta":' + encode(text))
        return frames + self._frame(_MORE_TEXT, self._place_of(block, at) + b'[],"delta":' + encode(text))

    def _place_of(self, block: TextBlock, at: int) -> bytes:
        """Where its words belong; made once."""
        if self._place[0] is not block:
            id_ = self._output.id_of(block, at).encode()
            fields = b'"item_id":"%b","output_index":%d,"content_index":0,"logprobs":' % (id_, at)
            self._place = (block, fields)
        return self._place[1]

    def _open_message(self, block: TextBlock | RefusalBlock, part: Fields) -> bytes:
        closed = self._close_what_is_over()
        at = self._places
        frames = self._add(block, self._output.message(at, "in_progress", []))
        return closed + frames + self._part("response.content_part.added", block, at, part)

    def _part(self, name: str, block: Block, at: int, part: Fields) -> bytes:
        where = {"item_id": self._output.id_of(block, at), "output_index": at, "content_index": 0}
        return self._event(name, {**where, "part": part})

    def _refusal(self, text: str) -> bytes:
        frames = b""
        if self._open is None or not isinstance(self._open[1], RefusalBlock):
            frames = self._open_message(RefusalBlock(), {"type": "refusal", "refusal": ""})
        at, block = self._open or (0, RefusalBlock())
        if isinstance(block, RefusalBlock):
            block.pieces.append(text)
        where = {"item_id": self._output.id_of(block, at), "output_index": at, "content_index": 0}
        return frames + self._event("response.refusal.delta", {**where, "delta": text})

    def _citation(self, cited: Citation) -> bytes:
        if self._open is None or not isinstance(self._open[1], TextBlock):
            return b""
        at, block = self._open[0], self._open[1]
        where = {"item_id": self._output.id_of(block, at), "output_index": at, "content_index": 0}
        fields: Fields = {**where, "annotation_index": len(block.citations), "annotation": annotation(cited)}
        block.citations.append(cited)
        return self._event("response.output_text.annotation.added", fields)

    def _thought(self, text: str) -> bytes:
        frames = b""
        if self._open is None or not isinstance(self._open[1], ThoughtBlock):
            frames = self._open_thought()
        at, block = self._open or (0, ThoughtBlock())
        if isinstance(block, ThoughtBlock):
            block.pieces.append(text)
        fields = b'"item_id":%b,"output_index":%d,"summary_index":0,"delta":%b'
        id_ = encode(self._output.id_of(block, at))
        return frames + self._frame(b"response.reasoning_summary_text.delta", fields % (id_, at, encode(text)))

    def _open_thought(self) -> bytes:
        closed = self._close_what_is_over()
        at, block = self._places, ThoughtBlock()
        id_ = self._output.id_of(block, at)
        added = self._add(block, {"id": id_, "type": "reasoning", "summary": []})
        part: Fields = {
            "item_id": id_,
            "output_index": at,
            "summary_index": 0,
            "part": {"type": "summary_text", "text": ""},
        }
        return closed + added + self._event("response.reasoning_summary_part.added", part)

    def _sealed(self, event: ThoughtSealed) -> bytes:
        block = self._open[1] if self._open is not None else None
        if event.is_hidden or not isinstance(block, ThoughtBlock):
            closed = self._close_what_is_over()
            hidden = ThoughtBlock([], event.seal, event.origin, is_hidden=event.is_hidden)
            added = self._add(hidden, self._output.item(hidden, self._places))
            return closed + added + self._close_open()
        block.seal, block.origin = event.seal, event.origin
        return self._close_open()

    def _call(self, event: CallBegun) -> bytes:
        closed = self._close_what_is_over()
        block = CallBlock(event.call, event.id, event.name)
        return closed + self._add(block, self._output.item(block, self._places, "in_progress"))

    def _arguments(self, call: int, arguments: str) -> bytes:
        at, block = self._calls[call]
        block.given.add(arguments)
        if self._output.is_free_form(block.name):
            return b""  # the text is inside the JSON: told when it is complete
        fields = b'"item_id":"%b","output_index":%d,"delta":%b'
        id_ = self._output.id_of(block, at).encode()
        return self._frame(b"response.function_call_arguments.delta", fields % (id_, at, encode(arguments)))

    def _close_what_is_over(self) -> bytes:
        """Something else begins. A call whose arguments are not complete stays open beside it."""
        complete = [call for call, (_, block) in self._calls.items() if block.given.is_whole()]
        return self._close_open() + b"".join(self._close_call(call) for call in complete)

    def _close_call(self, call: int) -> bytes:
        at, block = self._calls.pop(call)
        where: Fields = {"item_id": self._output.id_of(block, at), "output_index": at}
        if self._output.is_free_form(block.name):
            text = input_of(block.arguments)
            frames = self._event("response.custom_tool_call_input.delta", {**where, "delta": text})
            frames += self._event("response.custom_tool_call_input.done", {**where, "input": text})
        else:
            done = {**where, "name": block.name, "arguments": block.arguments or "{}"}
            frames = self._event("response.function_call_arguments.done", done)
        return frames + self._complete(at, block)

    def _close_all(self) -> bytes:
        return self._close_open() + b"".join(self._close_call(call) for call in list(self._calls))

    def _close_open(self) -> bytes:
        if self._open is None:
            return b""
        (at, block), self._open = self._open, None
        text = Raw(encode(block.text)) if isinstance(block, TextBlock) else None
        return b"".join((self._last_words(at, block, text), self._complete(at, block, text)))

    def _last_words(self, at: int, block: Block, text: Raw | None) -> bytes:
        where: Fields = {"item_id": self._output.id_of(block, at), "output_index": at}
        match block:
            case TextBlock():
                part = text_part(block, text)
                done = {**where, "content_index": 0, "text": part["text"], "logprobs": part["logprobs"]}
                return self._event("response.output_text.done", done) + self._part(
                    "response.content_part.done", block, at, part
                )
            case RefusalBlock():
                done = {**where, "content_index": 0, "refusal": block.text}
                words: Fields = {"type": "refusal", "refusal": block.text}
                return self._event("response.refusal.done", done) + self._part(
                    "response.content_part.done", block, at, words
                )
            case ThoughtBlock(pieces=[]) | CallBlock():
                return b""
            case ThoughtBlock():
                summary = {**where, "summary_index": 0}
                part = {"type": "summary_text", "text": block.text}
                return self._event(
                    "response.reasoning_summary_text.done", {**summary, "text": block.text}
                ) + self._event("response.reasoning_summary_part.done", {**summary, "part": part})

    def _complete(self, at: int, block: Block, text: Raw | None = None) -> bytes:
        item = self._done[at] = self._output.item(block, at, last_status(block, self._reason), text)
        return self._event("response.output_item.done", {"output_index": at, "item": item})

    def _end(self) -> bytes:
        if self._is_failed:
            return b""
        begun = b"" if self._is_begun else self._begin(Begun())
        closed = self._close_all()
        status = status_fields(self._reason)
        output = [self._done[at] for at in sorted(self._done)]
        response = self._response(output, {**status, "usage": usage_fields(self._tokens)})
        name = b"response.%b" % str(status["status"]).encode()
        return begun + closed + self._frame(name, b'"response":' + response)

    def _fail(self, failure: Failure) -> bytes:
        """As OpenAI does: SDKs raise at the first event, Codex reads why in the second."""
        self._is_failed = True
        words = openai_words(failure)
        error = {name: words[name] for name in ("code", "message", "param")}
        failed = {"code": words["code"] or "server_error", "message": failure.message}
        state: Fields = {"status": "failed", "incomplete_details": None, "usage": None, "error": failed}
        response = self._response([], state)
        return self._event("error", error) + self._frame(b"response.failed", b'"response":' + response)

    def whole(self, events: list[Event]) -> bytes:
        """See `AnswerWriter`."""
        reply = collected(events)
        self._begun = reply.begun
        choice = reply.first
        reason = choice.reason or StopReason.END
        output = [self._output.item(block, at) for at, block in enumerate(choice.blocks[:-1])]
        output += [self._output.item(each, len(output), last_status(each, reason)) for each in choice.blocks[-1:]]
        state = {**status_fields(reason), "usage": usage_fields(reply.tokens)}
        return self._response(output, state)
