"""From a conversation to a body of `/v1/chat/completions`."""

import re

from msgspec import Raw

from masa_node.dialects.fields import LIST, read
from masa_node.dialects.translation.conversation import (
    ChoiceMode,
    Conversation,
    Document,
    Fields,
    Image,
    Names,
    Origin,
    OutputFormat,
    Part,
    Refusal,
    Role,
    Text,
    Thought,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)
from masa_node.dialects.translation.kept import written
from masa_node.dialects.translation.losses import Losses, refuse
from masa_node.dialects.translation.media import url_of
from masa_node.dialects.translation.openai_chat.vendors import OPENAIS, as_chosen, as_demanded
from masa_node.dialects.translation.thoughts import NAMED_REASONING, beside_a_call
from masa_node.dialects.translation.tools import FREE_FORM, allowed_name, openai_schema_of, readable_to_openai
from masa_node.dialects.translation.wire import encode

LEVELS = {"minimal": "low", "xhigh": "high", "max": "high"}  # low, medium and high are what all servers know
_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_-]")
_MAX_SCHEMA_NAME = 64
_TAKEN_BACK = frozenset(
    {Origin.GOOGLE, Origin.OPENROUTER, Origin.COPILOT}
)  # with what they signed, by servers of this format


def write_request(conversation: Conversation, losses: Losses) -> bytes:
    """The body. Raises `NotTranslatable` for what chat completions cannot carry."""
    body: Fields = {"model": conversation.model}
    body["messages"] = as_demanded(messages_of(conversation, losses), conversation.model, conversation.names, losses)
    if conversation.stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    if conversation.tools:
        body["tools"] = [_tool(tool, losses) for tool in conversation.tools]
        if conversation.tool_choice is not None:
            body["tool_choice"] = _choice(conversation.tool_choice)
        if conversation.parallel_calls is not None:
            body["parallel_tool_calls"] = conversation.parallel_calls
    if conversation.output is not None:
        body["response_format"] = _output(conversation.output, losses)
    _add_sampling(body, conversation, losses)
    _add_thinking(body, conversation, losses)
    return encode(body)


def _add_sampling(body: Fields, conversation: Conversation, losses: Losses) -> None:
    sampling, names = conversation.sampling, conversation.names
    newer = OPENAIS.search(conversation.model)  # they refuse `max_tokens`, most other servers know nothing else
    values: Fields = {
        "max_completion_tokens" if newer else "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "stop": sampling.stop or None,
        "n": sampling.choices,
        "logprobs": sampling.logprobs or None,
        "top_logprobs": sampling.top_logprobs if sampling.logprobs else None,
    }
    body.update(as_chosen(values, conversation, losses))
    for name in ("top_k", "min_p"):
        if getattr(sampling, name) is not None:
            losses.drop(names.get(name, name))


def _add_thinking(body: Fields, conversation: Conversation, losses: Losses) -> None:
    """Only what was said in words of effort: a model that does not think refuses the field."""
    thinking = conversation.thinking
    if thinking.effort is not None:
        body["reasoning_effort"] = effort_of(thinking.effort, conversation.model)
    elif thinking.enabled is not None:
        losses.drop(conversation.names.get("thinking", "thinking"))
    if thinking.effort is not None and thinking.budget_tokens is not None:
        losses.drop("thinking.budget_tokens")


def effort_of(effort: str, model: str) -> str:
    """The effort in words that servers of OpenAI's formats take; its own models know two more."""
    if OPENAIS.search(model):
        return "xhigh" if effort == "max" else effort
    return LEVELS.get(effort, effort)


def messages_of(conversation: Conversation, losses: Losses) -> list[Fields]:
    """The messages. System texts at the beginning become one: many servers' templates take no second.

    Nor do they take one in the midst, where the user says it: only OpenAI's own models know it there.
    """
    leading: list[str] = []
    messages: list[Fields] = []
    names = conversation.names
    later = "system" if OPENAIS.search(conversation.model) else "user"
    for turn in conversation.turns:
        if turn.role is Role.SYSTEM:
            text = "\n\n".join(part.text for part in turn.parts if isinstance(part, Text))
            if messages:
                messages.append({"role": later, "content": text})
            else:
                leading.append(text)
        else:
            messages += written(turn, _said, names, losses)
    if leading:
        messages.insert(0, {"role": "system", "content": "\n\n".join(text for text in leading if text)})
    return messages


def _said(turn: Turn, names: Names, losses: Losses) -> list[Fields]:
    parts = turn.parts
    if turn.role is Role.ASSISTANT:
        return [_assistant(parts, names, losses)]
    only = parts[0] if len(parts) == 1 else None
    if type(only) is Text:
        return [{"role": "user", "content": only.text}]
    return _user(parts, names)


def _user(parts: tuple[Part, ...], names: Names) -> list[Fields]:
    messages: list[Fields] = []
    content: list[Fields] = []
    for part in parts:
        if type(part) is ToolResult:
            messages.append(_result(part))
            content += _pictures_of(part, names)
    content += [_part(part, names) for part in parts if type(part) is not ToolResult]
    if content or not messages:
        messages.append({"role": "user", "content": _content(content)})
    return messages


def _content(parts: list[Fields]) -> object:
    """Plain text where it is one text: every server reads that."""
    match parts:
        case []:
            return ""
        case [{"type": "text", "text": text}]:
            return text
        case _:
            return parts


def _result(result: ToolResult) -> Fields:
    return {"role": "tool", "tool_call_id": result.call_id, "content": words_of(result)}


def words_of(result: ToolResult) -> str:
    """The words of a tool in formats that have no flag for its errors: the model has to read that it failed."""
    text = "\n".join([part.text for part in result.parts if type(part) is Text])
    return told_result(text) if result.is_error else text


def told_result(text: str) -> str:
    """The words of a tool that failed, as those of one."""
    if "error" in text[:64].lower():
        return text
    return f"Error: {text}" if text else "Error"


def _pictures_of(result: ToolResult, names: Names) -> list[Fields]:
    """Pictures that a tool gave: its own message holds text only, so they come in the one after."""
    media = [part for part in result.parts if type(part) is not Text]
    if not media:
        return []
    return [{"type": "text", "text": f"From the tool call {result.call_id}:"}, *(_part(part, names) for part in media)]


def _part(part: Part, names: Names) -> Fields:
    match part:
        case Text(text=text):
            return {"type": "text", "text": text}
        case Image(detail=detail):
            where: Fields = {"url": url_of(part)}
            return {"type": "image_url", "image_url": where if detail is None else {**where, "detail": detail}}
        case Document():
            return _document(part, names)
        case _:
            raise refuse("messages[].content", "a user's message holds what only an assistant's can.")


def _document(document: Document, names: Names) -> Fields:
    if document.text is not None:
        return {"type": "text", "text": f"{document.name}\n\n{document.text}" if document.name else document.text}
    if document.data is None:
        raise refuse(names.get("document", "document"), "chat completions take files in the body only, not their URL.")
    file: Fields = {"filename": document.name or "document.pdf", "file_data": url_of(document)}
    return {"type": "file", "file": file}


def _assistant(parts: tuple[Part, ...], names: Names, losses: Losses) -> Fields:
    text = "".join([part.text for part in parts if type(part) is Text])
    if len(parts) == 1 and text:
        return {"role": "assistant", "content": text}
    calls = [call_of(part) for part in parts if type(part) is ToolCall]
    refusal = "".join([part.text for part in parts if type(part) is Refusal])
    message: Fields = {"role": "assistant", "content": text or (None if calls or refusal else "")}
    thoughts = [part for part in parts if type(part) is Thought]
    thought = open_thoughts([each for each in thoughts if each.origin not in _TAKEN_BACK], names, losses)
    if thought:
        is_named = any(each.origin is Origin.OPEN and each.seal == NAMED_REASONING for each in thoughts)
        message[NAMED_REASONING if is_named else "reasoning_content"] = thought
    opaque = [each for each in thoughts if each.origin is Origin.COPILOT]
    if opaque:
        message["reasoning_text"] = "".join([each.text for each in opaque])
        message["reasoning_opaque"] = opaque[-1].seal
    details = _details([each for each in thoughts if each.origin is Origin.OPENROUTER], names, losses)
    if details:
        message["reasoning_details"] = details
    if refusal:
        message["refusal"] = refusal
    if calls:
        message["tool_calls"] = calls
    _add_signatures(message, calls, [each for each in thoughts if each.origin is Origin.GOOGLE])
    return message


def _details(thoughts: list[Thought], names: Names, losses: Losses) -> list[Raw]:
    """OpenRouter's, as it gave them. What a client has spoilt is left out by name: it would be refused."""
    details: list[Raw] = []
    for thought in thoughts:
        found = read((thought.seal or "").encode("utf-8", "replace"), LIST)
        if found is None:
            losses.drop(names.get("thoughts", "thinking"))
        details += found or ()
    return details


def _add_signatures(message: Fields, calls: list[Fields], signed: list[Thought]) -> None:
    """Gemini's go back where they were: with a call, or with the words."""
    if not signed:
        return
    holders = {str(call["id"]): call for call in reversed(calls)} | {"": message}
    for each in signed:
        call_id, _, signature = (each.seal or "").partition(" ")
        if signature and call_id in holders:
            holders[call_id].update(beside_a_call(signature))


def open_thoughts(thoughts: list[Thought], names: Names, losses: Losses) -> str:
    """The thoughts of open models, which get them back; those sealed for another are left out by name."""
    if any(thought.origin is not Origin.OPEN for thought in thoughts):
        losses.drop(names.get("thoughts", "thinking"))
    return "".join(thought.text for thought in thoughts if thought.origin is Origin.OPEN)


def call_of(call: ToolCall) -> Fields:
    """A call as chat completions have it."""
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": allowed_name(call.name), "arguments": call.arguments or "{}"},
    }


def _tool(tool: Tool, losses: Losses) -> Fields:
    function: Fields = {"name": allowed_name(tool.name)}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = FREE_FORM if tool.is_free_form else openai_schema_of(tool.schema, losses)
    if tool.strict:  # what is said by saying nothing: some servers refuse the field
        function["strict"] = True
    return {"type": "function", "function": function}


def _choice(choice: ToolChoice) -> object:
    if choice.mode is ChoiceMode.NAMED:
        return {"type": "function", "function": {"name": allowed_name(choice.name or "")}}
    return choice.mode.value


def _output(output: OutputFormat, losses: Losses) -> Fields:
    if output.schema is None:
        return {"type": "json_object"}
    name = _NOT_IN_A_NAME.sub("_", output.name or "answer")[:_MAX_SCHEMA_NAME]
    form: Fields = {"name": name, "schema": readable_to_openai(output.schema, losses)}
    if output.description is not None:
        form["description"] = output.description
    if output.strict is not None:
        form["strict"] = output.strict
    return {"type": "json_schema", "json_schema": form}
