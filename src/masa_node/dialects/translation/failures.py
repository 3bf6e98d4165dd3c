"""Errors of a server, written in the caller's format: its kind decides how the caller's SDK reacts."""

import re
from enum import StrEnum

import msgspec

from masa_node.chat.request import DialectName
from masa_node.dialects.dialect import ErrorText
from masa_node.dialects.faults import error_status, error_text, quoted
from masa_node.dialects.fields import ABSENT, TEXT, read
from masa_node.dialects.formats.gemini import error_of
from masa_node.dialects.registry import DIALECTS

_BAD_GATEWAY = 502  # a server failed, and nothing more is known


class Kind(StrEnum):
    """What went wrong, in words that are mapped to each format's."""

    INVALID = "invalid"
    AUTHENTICATION = "authentication"
    PERMISSION = "permission"
    NOT_FOUND = "not_found"
    TOO_LARGE = "too_large"
    RATE_LIMIT = "rate_limit"
    QUOTA = "quota"
    OVERLOADED = "overloaded"
    CONTEXT = "context"
    TIMEOUT = "timeout"
    SERVER = "server"


class Failure(msgspec.Struct, frozen=True):
    """A server's error. `code` and `param` are its own words where it has them."""

    kind: Kind
    message: str
    code: str | None = None
    param: str | None = None
    prompt_tokens: int | None = None
    context_tokens: int | None = None
    output_tokens: int | None = None


class _Detail(msgspec.Struct):
    message: msgspec.Raw = ABSENT
    type: msgspec.Raw = ABSENT
    code: msgspec.Raw = ABSENT
    param: msgspec.Raw = ABSENT
    n_prompt_tokens: msgspec.Raw = ABSENT
    n_ctx: msgspec.Raw = ABSENT


class _Envelope(msgspec.Struct):
    error: msgspec.Raw = ABSENT
    errors: msgspec.Raw = ABSENT
    message: msgspec.Raw = ABSENT
    type: msgspec.Raw = ABSENT
    code: msgspec.Raw = ABSENT


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_DETAIL = msgspec.json.Decoder(_Detail)
_DETAILS = msgspec.json.Decoder(list[_Detail])
_COUNT = msgspec.json.Decoder(int)

_KIND_OF_STATUS = {
    401: Kind.AUTHENTICATION,
    403: Kind.PERMISSION,
    404: Kind.NOT_FOUND,
    408: Kind.TIMEOUT,
    413: Kind.TOO_LARGE,
    429: Kind.RATE_LIMIT,
    503: Kind.OVERLOADED,
    504: Kind.TIMEOUT,
    529: Kind.OVERLOADED,
}
# Words of servers that say more than their status: OpenAI's and llama.cpp's codes, Anthropic's types.
_KIND_OF_WORD = {
    "context_length_exceeded": Kind.CONTEXT,
    "exceed_context_size_error": Kind.CONTEXT,
    "model_max_prompt_tokens_exceeded": Kind.CONTEXT,  # Copilot's
    "tokens_limit_reached": Kind.CONTEXT,  # GitHub Models'
    "insufficient_quota": Kind.QUOTA,
    "rate_limit_exceeded": Kind.RATE_LIMIT,
    "rate_limit_error": Kind.RATE_LIMIT,
    "overloaded_error": Kind.OVERLOADED,
    "server_is_overloaded": Kind.OVERLOADED,
    "authentication_error": Kind.AUTHENTICATION,
    "permission_error": Kind.PERMISSION,
    "not_found_error": Kind.NOT_FOUND,
    "request_too_large": Kind.TOO_LARGE,
    "timeout_error": Kind.TIMEOUT,
}
# Anthropic, vLLM, Ollama and Cloudflare have no code for it: their sentence is all that tells a prompt is too long.
_TOO_LONG = re.compile(
    r"prompt is too long|context (?:length|limit|size|window)|input is too long"
    r"|exceeds? the (?:available|model's) context|prompt token count of \d+ exceeds|input token count .{0,40}exceeds"
    r"|maximum prompt length|prompt exceeds max length|exceeded model token limit|range of input length"
    r"|`inputs` tokens \+ `max_new_tokens` must be|must have less than \d+ tokens"  # text-generation-inference
    r"|exceeds the max_model_len|longer than the maximum model length"  # vLLM
    r"|exceeds (?:the maximum allowed|maximum input) length \(\d+"  # SGLang, TensorRT-LLM
    r"|prompt sequence length is greater than"  # mistral.rs
    r"|too many tokens: size limit|reduce the length of (?:the|your) (?:messages|prompt|input)",  # Cohere, Groq
    re.IGNORECASE,
)
# A prompt that fits, but not beside as many tokens as were asked for: prompt, output and context in any order.
_TOO_MUCH_ASKED = (
    re.compile(r"context limit: (?P<prompt>\d+) \+ (?P<output>\d+) > (?P<context>\d+)"),
    re.compile(r"length is (?P<context>\d+) tokens.*\((?P<prompt>\d+) in the messages, (?P<output>\d+) in the compl"),
    re.compile(
        r"is too large: (?P<output>\d+)\..*length is (?P<context>\d+) tokens and your request has (?P<prompt>\d+) input"
    ),
    re.compile(
        r"length is (?P<context>\d+) tokens.*requested (?P<output>\d+) output tokens.*at least (?P<prompt>\d+) input"
    ),
    re.compile(
        r"length of (?P<context>\d+) tokens.*: (?P<prompt>\d+) tokens from the input .*and (?P<output>\d+) tokens"
    ),
    re.compile(r"must be <= (?P<context>\d+)\. Given: (?P<prompt>\d+) `inputs` tokens and (?P<output>\d+) `max_new"),
)
_ONLY_THE_EXCESS = "exceeded by"  # Cohere's: no number is the prompt's
_NUMBER = re.compile(r"\d{2,9}")
_MAX_LOOKED_AT = 1_000  # characters of a message: its numbers are in its first sentences
_FIRST_ERROR, _SERVER_FAULT = 400, 500


def failure_of(body: bytes, status: int) -> Failure:
    """What this error body of any format says; `status` 0 where it came inside a stream."""
    envelope = read(body, _ENVELOPE) or _Envelope()
    detail = read(envelope.error, _DETAIL)
    if detail is None:
        listed = read(envelope.errors, _DETAILS)
        detail = listed[0] if listed else _Detail(envelope.message, envelope.type, envelope.code)
    message = read(detail.message, TEXT) or error_text(body) or f"it gave no message but this: {quoted(body)}"
    words = [read(raw, TEXT) for raw in (detail.code, detail.type)]
    kind = next((_KIND_OF_WORD[word] for word in words if word in _KIND_OF_WORD), None) or _kind_of(
        status or error_status(body) or _SERVER_FAULT
    )
    if kind in (Kind.INVALID, Kind.TOO_LARGE, Kind.SERVER) and _TOO_LONG.search(message):
        kind = Kind.CONTEXT
    prompt, context = read(detail.n_prompt_tokens, _COUNT), read(detail.n_ctx, _COUNT)
    output = None
    if kind is Kind.CONTEXT and prompt is None:
        prompt, context, output = _numbers_in(message)
    return Failure(kind, message, words[0], read(detail.param, TEXT), prompt, context, output)


def _kind_of(status: int) -> Kind:
    known = _KIND_OF_STATUS.get(status)
    if known is not None:
        return known
    return Kind.INVALID if _FIRST_ERROR <= status < _SERVER_FAULT else Kind.SERVER


def _numbers_in(message: str) -> tuple[int | None, int | None, int | None]:
    """The prompt's tokens, the most that fit, and those asked for, where it is these that are too many.

    Of two numbers the larger is the prompt's.
    """
    asked = next((found for pattern in _TOO_MUCH_ASKED if (found := pattern.search(message[:_MAX_LOOKED_AT]))), None)
    if asked is not None:
        prompt, context, output = int(asked["prompt"]), int(asked["context"]), int(asked["output"])
        return prompt, context, output if prompt < context else None
    if _ONLY_THE_EXCESS in message:
        return None, None, None
    numbers = sorted({int(number) for number in _NUMBER.findall(message)}, reverse=True)
    return (numbers[0], numbers[1], None) if len(numbers) == 2 else (None, None, None)  # noqa: PLR2004 - a pair


_ANTHROPIC = {
    Kind.INVALID: "invalid_request_error",
    Kind.AUTHENTICATION: "authentication_error",
    Kind.PERMISSION: "permission_error",
    Kind.NOT_FOUND: "not_found_error",
    Kind.TOO_LARGE: "request_too_large",
    Kind.RATE_LIMIT: "rate_limit_error",
    Kind.QUOTA: "rate_limit_error",
    Kind.OVERLOADED: "overloaded_error",
    Kind.CONTEXT: "invalid_request_error",
    Kind.TIMEOUT: "timeout_error",
    Kind.SERVER: "api_error",
}
# OpenAI's types and codes, as its error guide lists them.
_OPENAI: dict[Kind, tuple[str, str | None]] = {
    Kind.INVALID: ("invalid_request_error", None),
    Kind.AUTHENTICATION: ("invalid_request_error", "invalid_api_key"),
    Kind.PERMISSION: ("permission_error", None),
    Kind.NOT_FOUND: ("invalid_request_error", "model_not_found"),
    Kind.TOO_LARGE: ("invalid_request_error", "request_too_large"),
    Kind.RATE_LIMIT: ("rate_limit_error", "rate_limit_exceeded"),
    Kind.QUOTA: ("insufficient_quota", "insufficient_quota"),
    Kind.OVERLOADED: ("server_error", "server_is_overloaded"),
    Kind.CONTEXT: ("invalid_request_error", "context_length_exceeded"),
    Kind.TIMEOUT: ("server_error", "timeout"),
    Kind.SERVER: ("server_error", None),
}
# From Cloudflare's error table.
_CLOUDFLARE = {
    Kind.AUTHENTICATION: 10000,
    Kind.PERMISSION: 5018,
    Kind.NOT_FOUND: 5007,
    Kind.TOO_LARGE: 3006,
    Kind.RATE_LIMIT: 3040,
    Kind.QUOTA: 3036,
    Kind.OVERLOADED: 3040,
    Kind.TIMEOUT: 3007,
    Kind.SERVER: 5000,
}
_CLOUDFLARE_INVALID = 5004
# Of which Google makes its own words.
_GEMINI = {
    Kind.AUTHENTICATION: 401,
    Kind.PERMISSION: 403,
    Kind.NOT_FOUND: 404,
    Kind.RATE_LIMIT: 429,
    Kind.QUOTA: 429,
    Kind.OVERLOADED: 503,
    Kind.TIMEOUT: 504,
    Kind.SERVER: 500,
}


def openai_words(failure: Failure) -> dict[str, object]:
    """The inside of OpenAI's `error`."""
    kind, code = _OPENAI[failure.kind]
    param = "messages" if failure.kind is Kind.CONTEXT else failure.param
    return {"message": failure.message, "type": kind, "param": param, "code": code or failure.code}


def anthropic_words(failure: Failure) -> dict[str, object]:
    """The inside of Anthropic's `error`. Its clients know by how its sentence begins what of a request is too much."""
    message = failure.message
    if failure.kind is Kind.CONTEXT and failure.output_tokens is not None:
        counts = f"{failure.prompt_tokens} + {failure.output_tokens} > {failure.context_tokens}"
        message = (
            f"input length and `max_tokens` exceed context limit: {counts}, decrease input length or `max_tokens` and "
            f"try again ({message})"
        )
    elif failure.kind is Kind.CONTEXT and not message.startswith("prompt is too long"):
        counts = ""
        if failure.prompt_tokens is not None and failure.context_tokens is not None:
            counts = f": {failure.prompt_tokens} tokens > {failure.context_tokens} maximum"
        message = f"prompt is too long{counts} ({message})"
    return {"type": _ANTHROPIC[failure.kind], "message": message}


def error_body(failure: Failure, dialect: DialectName, request_id: str) -> bytes:
    """A whole error answer in this format: with the kind of failure, where the format has kinds."""
    fields: dict[str, object]
    if dialect in (DialectName.OPENAI, DialectName.OPENAI_RESPONSES):
        fields = {"error": openai_words(failure)}
    elif dialect == DialectName.ANTHROPIC:
        fields = {"type": "error", "error": anthropic_words(failure), "request_id": request_id}
    elif dialect == DialectName.CLOUDFLARE:
        listed = [{"code": _CLOUDFLARE.get(failure.kind, _CLOUDFLARE_INVALID), "message": failure.message}]
        fields = {"result": None, "success": False, "errors": listed, "messages": []}
    elif dialect == DialectName.GEMINI:
        fields = error_of(_GEMINI.get(failure.kind, _FIRST_ERROR), failure.message)
    else:
        return DIALECTS[dialect].error_body(_plain(failure, request_id))
    return msgspec.json.encode(fields)


def error_frame(failure: Failure, dialect: DialectName, request_id: str) -> bytes:
    """The same in the middle of a stream; of responses, whose events are counted, their writer makes it."""
    if dialect == DialectName.ANTHROPIC:
        return b"event: error\ndata: " + error_body(failure, dialect, request_id) + b"\n\n"
    if dialect in (DialectName.OPENAI, DialectName.CLOUDFLARE, DialectName.GEMINI):
        return b"data: " + error_body(failure, dialect, request_id) + b"\n\n"
    return DIALECTS[dialect].error_frame(_plain(failure, request_id))


def _plain(failure: Failure, request_id: str) -> ErrorText:
    """The same for a format whose errors have no kinds."""
    return ErrorText(_BAD_GATEWAY, failure.code or failure.kind.value, failure.message, request_id)
