"""Parts of Anthropic's answers that streams and whole messages share."""

from masa_node.dialects.translation.collecting import Block, CallBlock, RefusalBlock, TextBlock, ThoughtBlock
from masa_node.dialects.translation.conversation import Origin
from masa_node.dialects.translation.events import Citation, Tokens
from masa_node.dialects.translation.thoughts import sealed_for_caller
from masa_node.dialects.translation.wire import object_of

Fields = dict[str, object]


def block_fields(block: Block) -> Fields | None:
    """A block of a whole message; None for one without anything in it."""
    match block:
        case TextBlock(citations=[]) | RefusalBlock():
            return {"type": "text", "text": block.text} if block.text else None
        case TextBlock(citations=citations):
            return {"type": "text", "text": block.text, "citations": [citation_fields(each) for each in citations]}
        case ThoughtBlock():
            return _thought(block)
        case CallBlock(id=id_, name=name):
            return {"type": "tool_use", "id": id_, "name": name, "input": object_of(block.arguments)}


def _thought(block: ThoughtBlock) -> Fields:
    seal = sealed_for_caller(block.seal or "", block.origin, Origin.ANTHROPIC, is_hidden=block.is_hidden)
    if block.is_hidden:
        return {"type": "redacted_thinking", "data": seal}
    return {"type": "thinking", "thinking": block.text, "signature": seal}


def citation_fields(cited: Citation) -> Fields:
    """A citation as that of a search result: of Anthropic's kinds the one that names where it is."""
    return {
        "type": "search_result_location",
        "cited_text": cited.cited_text,
        "source": cited.url,
        "title": cited.title or None,
        "search_result_index": 0,
        "start_block_index": 0,
        "end_block_index": 1,
    }


def usage_fields(tokens: Tokens) -> Fields:
    """Anthropic's counts: cached tokens apart from the others."""
    cached, written = tokens.cache_read, tokens.cache_write
    usage: Fields = {
        "input_tokens": max((tokens.input or 0) - (cached or 0) - (written or 0), 0),
        "output_tokens": tokens.output or 0,
    }
    if cached is not None:
        usage["cache_read_input_tokens"] = cached
    if written is not None:
        usage["cache_creation_input_tokens"] = written
    if tokens.reasoning is not None:
        usage["output_tokens_details"] = {"thinking_tokens": tokens.reasoning}
    return usage
