"""Items of a response's output, as streams and whole bodies tell them."""

import msgspec

from masa_node.dialects.translation.collecting import (
    Block,
    CallBlock,
    RefusalBlock,
    TextBlock,
    ThoughtBlock,
)
from masa_node.dialects.translation.conversation import ChoiceMode, Conversation, Origin, Tool
from masa_node.dialects.translation.events import AnswerContext, Citation, Logprob, StopReason, Tokens
from masa_node.dialects.translation.thoughts import sealed_for_caller
from masa_node.dialects.translation.tools import input_of, schema_of
from masa_node.dialects.translation.wire import encode

Fields = dict[str, object]


class Output:
    """Makes the items of one answer."""

    def __init__(self, context: AnswerContext) -> None:
        self._id = context.answer_id
        self._tools = {tool.name: tool for tool in context.conversation.tools}

    def item(self, block: Block, at: int, status: str = "completed", text: msgspec.Raw | None = None) -> Fields:
        """The item at this place of the output. `text` is that of a text block, if it is known as JSON."""
        match block:
            case TextBlock():
                return self.message(at, status, [text_part(block, text)])
            case RefusalBlock():
                return self.message(at, status, [{"type": "refusal", "refusal": block.text}])
            case ThoughtBlock():
                return self._thought(block, at)
            case CallBlock():
                return self._call(block, at, status)

    def id_of(self, block: Block, at: int) -> str:
        """The item's id."""
        match block:
            case TextBlock() | RefusalBlock():
                return f"msg_{self._id}_{at}"
            case ThoughtBlock(origin=Origin.OPENAI, seal=str(seal)) if seal.partition(" ")[0]:
                return seal.partition(" ")[0]
            case ThoughtBlock():
                return f"rs_{self._id}_{at}"
            case CallBlock(name=name):
                return f"{'ctc' if self.is_free_form(name) else 'fc'}_{self._id}_{at}"

    def is_free_form(self, name: str) -> bool:
        """Was this tool offered as one that takes any text?"""
        tool = self._tools.get(name)
        return tool is not None and tool.is_free_form

    def message(self, at: int, status: str, content: list[Fields]) -> Fields:
        """A message with this content."""
        id_ = f"msg_{self._id}_{at}"
        return {"id": id_, "type": "message", "status": status, "role": "assistant", "content": content}

    def _thought(self, block: ThoughtBlock, at: int) -> Fields:
        summary = [{"type": "summary_text", "text": block.text}] if block.text else []
        seal = block.seal or ""
        if block.origin is Origin.OPENAI:
            seal = seal.partition(" ")[2]
        sealed = sealed_for_caller(seal, block.origin, Origin.OPENAI, is_hidden=block.is_hidden)
        encrypted = sealed or None
        return {"id": self.id_of(block, at), "type": "reasoning", "summary": summary, "encrypted_content": encrypted}

    def _call(self, block: CallBlock, at: int, status: str) -> Fields:
        tool = self._tools.get(block.name)
        fields: Fields = {"id": self.id_of(block, at), "call_id": block.id, "name": block.name}
        if tool is not None and tool.namespace:
            fields["name"], fields["namespace"] = block.name.removeprefix(tool.prefix), tool.namespace
        if tool is not None and tool.is_free_form:
            return {**fields, "type": "custom_tool_call", "input": input_of(block.arguments)}
        arguments = block.arguments or ("{}" if status == "completed" else "")
        return {**fields, "type": "function_call", "status": status, "arguments": arguments}


def text_part(block: TextBlock, text: msgspec.Raw | None = None) -> Fields:
    """The content of a message; `text` is that of the block, if it is known as JSON."""
    annotations = [annotation(each) for each in block.citations]
    return {
        "type": "output_text",
        "text": block.text if text is None else text,
        "annotations": annotations,
        "logprobs": [logprob(each) for each in block.logprobs],
    }


def annotation(cited: Citation) -> Fields:
    """Where words come from."""
    where: Fields = {"url": cited.url, "title": cited.title, "start_index": cited.start, "end_index": cited.end}
    return {"type": "url_citation", **where}


def logprob(each: Logprob) -> Fields:
    """How likely a token was."""
    rivals = [
        {"token": other.token, "logprob": other.logprob, "bytes": other.bytes or []} for other in each.top_logprobs
    ]
    return {"token": each.token, "logprob": each.logprob, "bytes": each.bytes or [], "top_logprobs": rivals}


def usage_fields(tokens: Tokens) -> Fields:
    """The counts of responses."""
    before, after = tokens.input or 0, tokens.output or 0
    return {
        "input_tokens": before,
        "input_tokens_details": {
            "cached_tokens": tokens.cache_read or 0,
            "cache_write_tokens": tokens.cache_write or 0,
        },
        "output_tokens": after,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning or 0},
        "total_tokens": before + after,
    }


_CUT = {StopReason.LENGTH: "max_output_tokens", StopReason.REFUSAL: "content_filter"}


def last_status(block: Block, reason: StopReason) -> str:
    """The status of the last item: what was being said, or the arguments of a call that are not whole, was cut."""
    is_cut = reason in _CUT and not (isinstance(block, CallBlock) and block.given.is_whole())
    return "incomplete" if is_cut else "completed"


def status_fields(reason: StopReason) -> Fields:
    """How the response ended."""
    why = _CUT.get(reason)
    if why is None:
        return {"status": "completed", "incomplete_details": None}
    return {"status": "incomplete", "incomplete_details": {"reason": why}}


def echo_of(conversation: Conversation) -> bytes:
    """What of the request a response repeats, as JSON without the outer braces: made once for all events."""
    choice = conversation.tool_choice
    tool_choice: object = "auto"
    if choice is not None:
        is_named = choice.mode is ChoiceMode.NAMED
        tool_choice = {"type": "function", "name": choice.name} if is_named else choice.mode.value
    sampling, output = conversation.sampling, conversation.output
    form: Fields = {"type": "text"}
    if output is not None:
        form = {"type": "json_object"}
        if output.schema is not None:
            form = {"type": "json_schema", "name": output.name or "answer", "schema": output.schema}
    fields: Fields = {
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": conversation.parallel_calls is not False,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_output_tokens": sampling.max_tokens,
        "tool_choice": tool_choice,
        "tools": [_tool(tool) for tool in conversation.tools],
        "previous_response_id": None,
        "reasoning": {"effort": conversation.thinking.effort, "summary": None},
        "store": False,
        "text": {"format": form},
        "truncation": "disabled",
        "background": False,
    }
    return encode(fields)[1:-1]


def _tool(tool: Tool) -> Fields:
    fields: Fields = {"name": tool.name, "description": tool.description}
    if tool.is_free_form:
        return {"type": "custom", "name": tool.name, **({"description": tool.description} if tool.description else {})}
    return {"type": "function", **fields, "parameters": schema_of(tool.schema), "strict": tool.strict}
