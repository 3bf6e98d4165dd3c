"""The errors about requests in another format than the LLM's that clients know by their codes."""

from masa_node.chat.errors import NotTranslatable


class ThreadNotKept(NotTranslatable):
    """A request to an LLM of another format asks for a conversation that its server keeps (`thread`). Nothing was sent.

    Send the whole conversation without that field. Anthropic's SDKs do so by themselves: they know the code.
    """

    code = "thread_unsupported_request"
