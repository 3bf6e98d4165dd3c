"""Which format a body unmistakably is in: it has fields, or parts of messages, that only one format has. Pure."""

import re
from itertools import islice

import msgspec

from masa_node.chat.request import DIALECT_OF_ENDPOINT, DialectName, Endpoint
from masa_node.dialects.bodies.glance import find_fast
from masa_node.dialects.condensing import LARGE_BYTES, STEP_BYTES, Steps
from masa_node.dialects.fields import ABSENT, TEXT, is_given, is_json, read

BODY_DEPTH = 6  # `messages[].tool_calls[].function.arguments` is the deepest that is looked for

# From the vendors' references, November 2026. What a second format has too (`logprobs`, `seed`, `top_k`) is not here.
_FIELDS: dict[DialectName, frozenset[str]] = {
    DialectName.OLLAMA: frozenset({"options", "keep_alive", "format", "think", "template", "context"}),
    DialectName.OPENAI: frozenset(
        {"max_completion_tokens", "response_format", "stream_options", "n", "logit_bias", "parallel_tool_calls"}
        | {"reasoning_effort", "stop", "store", "user", "modalities", "audio", "prediction", "verbosity"}
        | {"web_search_options", "safety_identifier", "prompt_cache_key", "functions", "function_call", "echo"}
    ),
    DialectName.ANTHROPIC: frozenset(
        {"anthropic_version", "anthropic_beta", "stop_sequences", "mcp_servers", "context_management", "output_config"}
    ),
    DialectName.CLOUDFLARE: frozenset({"lora"}),
}
_PARTS: dict[bytes, DialectName] = {
    **dict.fromkeys([b'"image_url"', b'"input_audio"', b'"file"', b'"refusal"'], DialectName.OPENAI),
    **dict.fromkeys([b'"tool_use"', b'"tool_result"', b'"thinking"'], DialectName.ANTHROPIC),
    **dict.fromkeys([b'"redacted_thinking"', b'"document"', b'"image"'], DialectName.ANTHROPIC),
}
_ANTHROPIC_CHOICES = frozenset({"auto", "any", "tool", "none"})


class _Typed(msgspec.Struct):
    type: msgspec.Raw = ABSENT


class _Function(msgspec.Struct, frozen=True):
    arguments: msgspec.Raw = ABSENT


class _Call(msgspec.Struct):
    function: _Function = _Function()


class _Message(msgspec.Struct):
    role: msgspec.Raw = ABSENT
    content: msgspec.Raw = ABSENT
    images: msgspec.Raw = ABSENT
    tool_name: msgspec.Raw = ABSENT
    tool_calls: msgspec.Raw = ABSENT


class _Tool(msgspec.Struct):
    input_schema: msgspec.Raw = ABSENT


# A struct, and no dictionary: of a hundred thousand fields that would be 20 ms.
_LOOKED_AT = {"messages", "prompt", "input", "system", "stream", "tools", "tool_choice"}.union(*_FIELDS.values())
_BODY = msgspec.json.Decoder(msgspec.defstruct("_Body", [(name, msgspec.Raw, ABSENT) for name in sorted(_LOOKED_AT)]))
_TYPED = msgspec.json.Decoder(_Typed)
_PARTS_OF = msgspec.json.Decoder(list[_Typed])
_CALLS = msgspec.json.Decoder(list[_Call])
_MESSAGES = msgspec.json.Decoder(list[_Message])
_TOOLS = msgspec.json.Decoder(list[_Tool])


class BodyFormat(msgspec.Struct, frozen=True):
    """`said` is the one format that the body is in; Ollama's for one with fields of two, None for one of none.

    `is_prompt`: it has a prompt and no messages. `stream` is the JSON of its field `stream`.
    """

    said: DialectName | None = None
    is_prompt: bool = False
    stream: bytes = b""


def body_format(body: bytes) -> BodyFormat:
    """What is to be seen of this JSON object."""
    known = read(body, _BODY)
    if known is None:
        return BodyFormat()
    fields: dict[str, msgspec.Raw] = msgspec.structs.asdict(known)
    names = {name for name, value in fields.items() if is_given(value)}
    stream = bytes(fields["stream"])
    if "input" in names and names.isdisjoint(("messages", "prompt")):
        return BodyFormat(DialectName.OPENAI_RESPONSES, stream=stream)
    found = _of_names(names)
    if "messages" in names:
        found |= _of_messages(fields["messages"]) | _of_tools(fields)
        if "system" in names:
            found.add(DialectName.ANTHROPIC)
    said = None if not found else found.pop() if len(found) == 1 else DialectName.OLLAMA
    return BodyFormat(said, "prompt" in names and "messages" not in names, stream)


_CHATS = {
    DialectName.OPENAI: Endpoint.OPENAI_CHAT,
    DialectName.OPENAI_RESPONSES: Endpoint.OPENAI_RESPONSES,
    DialectName.ANTHROPIC: Endpoint.ANTHROPIC_MESSAGES,
    DialectName.OLLAMA: Endpoint.OLLAMA_CHAT,
    DialectName.CLOUDFLARE: Endpoint.CLOUDFLARE_RUN,
}
_PROMPTS = {DialectName.OPENAI: Endpoint.OPENAI_COMPLETIONS, DialectName.OLLAMA: Endpoint.OLLAMA_GENERATE}


def endpoint_in(dialect: DialectName, *, is_prompt: bool) -> Endpoint:
    """Where a chat in this format, one of CHAT_DIALECTS, is asked for, or what goes on from a prompt."""
    return (is_prompt and _PROMPTS.get(dialect)) or _CHATS[dialect]


# By what it serves, which is the format of a server's own chat endpoint: those that speak others too are named first.
_OWN = (
    Endpoint.OLLAMA_CHAT,
    Endpoint.CLOUDFLARE_RUN,
    Endpoint.OPENAI_CHAT,
    Endpoint.ANTHROPIC_MESSAGES,
    Endpoint.OPENAI_RESPONSES,
)


def own_format(endpoints: frozenset[Endpoint]) -> DialectName | None:
    """The format of the chat endpoint of a server that serves these; None if it tells of none."""
    return next((DIALECT_OF_ENDPOINT[endpoint] for endpoint in _OWN if endpoint in endpoints), None)


def _of_names(names: set[str]) -> set[DialectName]:
    return {dialect for dialect, own in _FIELDS.items() if not own.isdisjoint(names)}


def _of_messages(raw: bytes | msgspec.Raw) -> set[DialectName]:
    found: set[DialectName] = set()
    for message in read(raw, _MESSAGES) or []:
        if is_given(message.images) or is_given(message.tool_name):
            found.add(DialectName.OLLAMA)
        if bytes(message.role) == b'"developer"':
            found.add(DialectName.OPENAI)
        if bytes(message.content).startswith(b"["):
            parts = read(message.content, _PARTS_OF) or []
            found.update(_PARTS[bytes(part.type)] for part in parts if bytes(part.type) in _PARTS)
        if is_given(message.tool_calls):
            found.update(_of_call(call) for call in read(message.tool_calls, _CALLS) or [])
    return found


def _of_call(call: _Call) -> DialectName:
    """Ollama's arguments are an object, OpenAI's a text."""
    return DialectName.OLLAMA if bytes(call.function.arguments).startswith(b"{") else DialectName.OPENAI


def _of_tools(fields: dict[str, msgspec.Raw]) -> set[DialectName]:
    found: set[DialectName] = set()
    if any(is_given(tool.input_schema) for tool in read(fields["tools"], _TOOLS) or []):
        found.add(DialectName.ANTHROPIC)
    if is_given(fields["tool_choice"]):
        typed = read(fields["tool_choice"], _TYPED)
        is_anthropic = typed is not None and (read(typed.type, TEXT) or "") in _ANTHROPIC_CHOICES
        found.add(DialectName.ANTHROPIC if is_anthropic else DialectName.OPENAI)
    return found


# ---- fewer messages ----

_LIST = re.compile(rb'"messages"[ \t\n\r]{0,64}+:[ \t\n\r]{0,64}+\[')
# Within a text, the quote would be escaped.
_BETWEEN = re.compile(rb'\}[ \t\n\r]{0,64}+,[ \t\n\r]{0,64}+(?=\{[ \t\n\r]{0,64}+")')
_BATCH_BYTES = STEP_BYTES
_TRIES = 16  # what looks like the end of a message may be that of a part of it
_LETTERS = (rb"\u005", rb"\u006", rb"\u007")  # as escapes, and the underscore
_MAY_SAY = (
    *(b'"image', b'"tool_', b'"developer"', b'"input_audio"', b'"file"', b'"refusal"', b'hinking"', b'"document"'),
    *_LETTERS,
)
_SAYS = {
    DialectName.OLLAMA: b'{"images":0},',
    DialectName.OPENAI: b'{"role":"developer"},',
    DialectName.ANTHROPIC: b'{"content":[{"type":"image"}]},',
}


class _Unread(msgspec.Struct, gc=False):
    """A message that is not looked into."""


_ANY_MESSAGES = msgspec.json.Decoder(list[_Unread])


def fewer_messages(body: bytes) -> Steps[bytes]:
    """Of a large body, one in which `body_format` sees the same: most messages are left out, and one that says the same
    stands for all that say something.

    They are read a batch at a time. If all from one message on are whole messages up to what may be the end of one, it
    is that, and no part of a text. What cannot be read so stays as it is.
    """
    begun = _LIST.search(body, 0, LARGE_BYTES) if len(body) > LARGE_BYTES else None
    if begun is None or not is_json(body[: begun.start()] + b'"messages":[]}'):
        return body
    at, said = begun.end(), set[DialectName]()
    while len(body) - at > 2 * _BATCH_BYTES:
        batch = yield from _batch_at(body, at)
        if batch is None:
            break
        messages, at = batch
        if DialectName.OLLAMA not in said and _may_say(messages):  # with that, what others say makes no difference
            said |= _of_messages(messages)
    if at == begun.end():
        return body
    return b"".join((body[: begun.end()], *(_SAYS[dialect] for dialect in said), memoryview(body)[at:]))


def _batch_at(body: bytes, begin: int) -> Steps[tuple[bytes, int] | None]:
    """A list of the next messages, and where they go on; None if no end of one is found."""
    for end in islice(_BETWEEN.finditer(body, begin + _BATCH_BYTES, begin + 2 * _BATCH_BYTES), _TRIES):
        yield
        messages = b"[%s]" % body[begin : end.start() + 1]
        if read(messages, _ANY_MESSAGES) is not None:
            return messages, end.end()
    return None


def _may_say(messages: bytes) -> bool:
    """May any of them say in which format it is? Quick."""
    return any(find_fast(messages, sought) >= 0 for sought in _MAY_SAY)
