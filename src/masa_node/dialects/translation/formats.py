"""Which format is spoken at which endpoint, and which endpoint of a server is best for a caller of another."""

from collections.abc import Callable
from functools import partial

from masa_node.chat.request import DIALECT_OF_ENDPOINT, Endpoint
from masa_node.dialects.translation.anthropic import answer_reader as anthropic_answer_reader
from masa_node.dialects.translation.anthropic import answer_writer as anthropic_answer_writer
from masa_node.dialects.translation.anthropic import request_reader as anthropic_request_reader
from masa_node.dialects.translation.anthropic import request_writer as anthropic_request_writer
from masa_node.dialects.translation.cloudflare import answer_reader as cloudflare_answer_reader
from masa_node.dialects.translation.cloudflare import answer_writer as cloudflare_answer_writer
from masa_node.dialects.translation.cloudflare import request_reader as cloudflare_request_reader
from masa_node.dialects.translation.cloudflare import request_writer as cloudflare_request_writer
from masa_node.dialects.translation.completions import answer_writer as completions_answer_writer
from masa_node.dialects.translation.completions import request_reader as completions_request_reader
from masa_node.dialects.translation.context import AnswerContext, AnswerReader, AnswerWriter
from masa_node.dialects.translation.conversation import Conversation
from masa_node.dialects.translation.losses import Losses
from masa_node.dialects.translation.ollama import answer_reader as ollama_answer_reader
from masa_node.dialects.translation.ollama import answer_writer as ollama_answer_writer
from masa_node.dialects.translation.ollama import request_reader as ollama_request_reader
from masa_node.dialects.translation.ollama import request_writer as ollama_request_writer
from masa_node.dialects.translation.openai_chat import answer_reader as chat_answer_reader
from masa_node.dialects.translation.openai_chat import answer_writer as chat_answer_writer
from masa_node.dialects.translation.openai_chat import request_reader as chat_request_reader
from masa_node.dialects.translation.openai_chat import request_writer as chat_request_writer
from masa_node.dialects.translation.openai_responses import answer_reader as responses_answer_reader
from masa_node.dialects.translation.openai_responses import answer_writer as responses_answer_writer
from masa_node.dialects.translation.openai_responses import request_reader as responses_request_reader
from masa_node.dialects.translation.openai_responses import request_writer as responses_request_writer

ReadRequest = Callable[[bytes, Losses], Conversation]
WriteRequest = Callable[[Conversation, Losses], bytes]

# What callers may speak.
REQUEST_READERS: dict[Endpoint, ReadRequest] = {
    Endpoint.OPENAI_CHAT: chat_request_reader.read_request,
    Endpoint.OPENAI_COMPLETIONS: completions_request_reader.read_request,
    Endpoint.OPENAI_RESPONSES: responses_request_reader.read_request,
    Endpoint.ANTHROPIC_MESSAGES: anthropic_request_reader.read_request,
    Endpoint.ANTHROPIC_COUNT_TOKENS: anthropic_request_reader.read_request,
    Endpoint.OLLAMA_CHAT: ollama_request_reader.read_chat,
    Endpoint.OLLAMA_GENERATE: ollama_request_reader.read_generate,
    Endpoint.CLOUDFLARE_RUN: cloudflare_request_reader.read_request,
}
ANSWER_WRITERS: dict[Endpoint, Callable[[AnswerContext], AnswerWriter]] = {
    Endpoint.OPENAI_CHAT: chat_answer_writer.ChatAnswerWriter,
    Endpoint.OPENAI_COMPLETIONS: completions_answer_writer.CompletionsAnswerWriter,
    Endpoint.OPENAI_RESPONSES: responses_answer_writer.ResponsesAnswerWriter,
    Endpoint.ANTHROPIC_MESSAGES: anthropic_answer_writer.AnthropicAnswerWriter,
    Endpoint.OLLAMA_CHAT: ollama_answer_writer.OllamaAnswerWriter,
    Endpoint.OLLAMA_GENERATE: partial(ollama_answer_writer.OllamaAnswerWriter, is_generate=True),
    Endpoint.CLOUDFLARE_RUN: cloudflare_answer_writer.CloudflareAnswerWriter,
}
# What servers may speak, the format that carries most first.
REQUEST_WRITERS: dict[Endpoint, WriteRequest] = {
    Endpoint.OPENAI_CHAT: chat_request_writer.write_request,
    Endpoint.ANTHROPIC_MESSAGES: anthropic_request_writer.write_request,
    Endpoint.OLLAMA_CHAT: ollama_request_writer.write_request,
    Endpoint.OPENAI_RESPONSES: responses_request_writer.write_request,
    Endpoint.CLOUDFLARE_RUN: cloudflare_request_writer.write_request,
}
ANSWER_READERS: dict[Endpoint, Callable[[AnswerContext], AnswerReader]] = {
    Endpoint.OPENAI_CHAT: chat_answer_reader.ChatAnswerReader,
    Endpoint.ANTHROPIC_MESSAGES: anthropic_answer_reader.AnthropicAnswerReader,
    Endpoint.OLLAMA_CHAT: ollama_answer_reader.OllamaAnswerReader,
    Endpoint.OPENAI_RESPONSES: responses_answer_reader.ResponsesAnswerReader,
    Endpoint.CLOUDFLARE_RUN: cloudflare_answer_reader.CloudflareAnswerReader,
}


def is_translated_from(endpoint: Endpoint) -> bool:
    """Can a caller of this endpoint be served by a server that speaks another format?"""
    return endpoint in REQUEST_READERS


def targets_for(endpoint: Endpoint) -> tuple[Endpoint, ...]:
    """The endpoints of servers that a request for this one can be translated to, the best first."""
    return tuple(target for target in REQUEST_WRITERS if target is not endpoint)


def label_of(source: Endpoint, target: Endpoint) -> str:
    """The translation in words: `anthropic>openai`."""
    return f"{DIALECT_OF_ENDPOINT[source]}>{DIALECT_OF_ENDPOINT[target]}"
