"""What reads and what writes each format: a table for each of the four, by endpoint.

A new format of callers has a row in the first two, one of servers a row in the last two.
"""

from collections.abc import Callable
from functools import partial

from masa_node.chat.request import Endpoint
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
from masa_node.dialects.translation.conversation import Conversation
from masa_node.dialects.translation.events import AnswerContext, AnswerReader, AnswerWriter
from masa_node.dialects.translation.formats import EMBEDDED_BY
from masa_node.dialects.translation.gemini import answer_writer as gemini_answer_writer
from masa_node.dialects.translation.gemini import embeddings as gemini_embeddings
from masa_node.dialects.translation.gemini import request_reader as gemini_request_reader
from masa_node.dialects.translation.losses import Losses
from masa_node.dialects.translation.ollama import answer_reader as ollama_answer_reader
from masa_node.dialects.translation.ollama import answer_writer as ollama_answer_writer
from masa_node.dialects.translation.ollama import embeddings
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

# One for each of `SOURCES` and `EMBEDDED_FROM`; tokens are counted for no answer that is translated.
REQUEST_READERS: dict[Endpoint, ReadRequest] = {
    Endpoint.OPENAI_CHAT: chat_request_reader.read_request,
    Endpoint.OPENAI_COMPLETIONS: completions_request_reader.read_request,
    Endpoint.OPENAI_RESPONSES: responses_request_reader.read_request,
    Endpoint.ANTHROPIC_MESSAGES: anthropic_request_reader.read_request,
    Endpoint.ANTHROPIC_COUNT_TOKENS: anthropic_request_reader.read_request,
    Endpoint.OLLAMA_CHAT: ollama_request_reader.read_chat,
    Endpoint.OLLAMA_GENERATE: ollama_request_reader.read_generate,
    Endpoint.CLOUDFLARE_RUN: cloudflare_request_reader.read_request,
    Endpoint.GEMINI_GENERATE: gemini_request_reader.read_request,
    Endpoint.GEMINI_STREAM: partial(gemini_request_reader.read_request, is_stream=True),
    Endpoint.GEMINI_COUNT_TOKENS: gemini_request_reader.read_count,
    Endpoint.GEMINI_EMBED: gemini_embeddings.read_one,
    Endpoint.GEMINI_BATCH_EMBED: gemini_embeddings.read_batch,
    Endpoint.OLLAMA_EMBED: embeddings.read_embed,
    Endpoint.OLLAMA_EMBEDDINGS: embeddings.read_embeddings,
}
ANSWER_WRITERS: dict[Endpoint, Callable[[AnswerContext], AnswerWriter]] = {
    Endpoint.OPENAI_CHAT: chat_answer_writer.ChatAnswerWriter,
    Endpoint.OPENAI_COMPLETIONS: completions_answer_writer.CompletionsAnswerWriter,
    Endpoint.OPENAI_RESPONSES: responses_answer_writer.ResponsesAnswerWriter,
    Endpoint.ANTHROPIC_MESSAGES: anthropic_answer_writer.AnthropicAnswerWriter,
    Endpoint.OLLAMA_CHAT: ollama_answer_writer.OllamaAnswerWriter,
    Endpoint.OLLAMA_GENERATE: partial(ollama_answer_writer.OllamaAnswerWriter, is_generate=True),
    Endpoint.CLOUDFLARE_RUN: cloudflare_answer_writer.CloudflareAnswerWriter,
    Endpoint.GEMINI_GENERATE: gemini_answer_writer.GeminiAnswerWriter,
    Endpoint.GEMINI_STREAM: gemini_answer_writer.GeminiAnswerWriter,
    Endpoint.GEMINI_EMBED: partial(gemini_embeddings.EmbeddingsWriter, is_one=True),
    Endpoint.GEMINI_BATCH_EMBED: gemini_embeddings.EmbeddingsWriter,
    Endpoint.OLLAMA_EMBED: embeddings.EmbeddingsWriter,
    Endpoint.OLLAMA_EMBEDDINGS: partial(embeddings.EmbeddingsWriter, is_one=True),
}
# One for each of `TARGETS` and `EMBEDDED_BY`.
REQUEST_WRITERS: dict[Endpoint, WriteRequest] = {
    Endpoint.OPENAI_CHAT: chat_request_writer.write_request,
    Endpoint.ANTHROPIC_MESSAGES: anthropic_request_writer.write_request,
    Endpoint.OLLAMA_CHAT: ollama_request_writer.write_request,
    Endpoint.OPENAI_RESPONSES: responses_request_writer.write_request,
    Endpoint.CLOUDFLARE_RUN: cloudflare_request_writer.write_request,
    EMBEDDED_BY: embeddings.write_request,
}
ANSWER_READERS: dict[Endpoint, Callable[[AnswerContext], AnswerReader]] = {
    Endpoint.OPENAI_CHAT: chat_answer_reader.ChatAnswerReader,
    Endpoint.ANTHROPIC_MESSAGES: anthropic_answer_reader.AnthropicAnswerReader,
    Endpoint.OLLAMA_CHAT: ollama_answer_reader.OllamaAnswerReader,
    Endpoint.OPENAI_RESPONSES: responses_answer_reader.ResponsesAnswerReader,
    Endpoint.CLOUDFLARE_RUN: cloudflare_answer_reader.CloudflareAnswerReader,
    EMBEDDED_BY: embeddings.EmbeddingsReader,
}
