"""From a conversation to a body of `/v1/responses`."""

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
from masa_node.dialects.translation.openai_chat.request_writer import effort_of, words_of
from masa_node.dialects.translation.openai_chat.vendors import as_chosen
from masa_node.dialects.translation.tools import FREE_FORM, allowed_name, openai_schema_of, readable_to_openai
from masa_node.dialects.translation.wire import encode


def write_request(conversation: Conversation, losses: Losses) -> bytes:
    """The body. Raises `NotTranslatable` for what responses cannot carry."""
    _refuse_what_is_not_carried(conversation)
    body: Fields = {"model": conversation.model, "store": False}
    body["input"] = [item for turn in conversation.turns for item in written(turn, _items, conversation.names, losses)]
    if conversation.stream:
        body["stream"] = True
    if conversation.tools:
        body["tools"] = [_tool(tool, losses) for tool in conversation.tools]
        if conversation.tool_choice is not None:
            body["tool_choice"] = _choice(conversation.tool_choice)
        if conversation.parallel_calls is not None:
            body["parallel_tool_calls"] = conversation.parallel_calls
    if conversation.output is not None:
        body["text"] = {"format": _output(conversation.output, losses)}
    _add_sampling(body, conversation, losses)
    _add_thinking(body, conversation, losses)
    return encode(body)


def _add_thinking(body: Fields, conversation: Conversation, losses: Losses) -> None:
    thinking = conversation.thinking
    include = ["message.output_text.logprobs"] if conversation.sampling.logprobs else []
    if thinking.effort is not None:
        body["reasoning"] = {"effort": effort_of(thinking.effort, conversation.model)}
        include.append("reasoning.encrypted_content")
    elif thinking.enabled is not None:
        losses.drop(conversation.names.get("thinking", "thinking"))
    if thinking.effort is not None and thinking.budget_tokens is not None:
        losses.drop("thinking.budget_tokens")
    if include:
        body["include"] = include


def _refuse_what_is_not_carried(conversation: Conversation) -> None:
    sampling, names = conversation.sampling, conversation.names
    if (sampling.choices or 1) > 1:
        raise refuse(names.get("choices", "n"), "responses give one answer per request.")
    if sampling.stop:
        raise refuse(names.get("stop", "stop"), "responses have no stop sequences.")


def _add_sampling(body: Fields, conversation: Conversation, losses: Losses) -> None:
    sampling, names = conversation.sampling, conversation.names
    values: Fields = {
        "max_output_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_logprobs": (sampling.top_logprobs or 0) if sampling.logprobs else None,
    }
    body.update(as_chosen(values, conversation, losses))
    for name in ("top_k", "min_p", "seed", "presence_penalty", "frequency_penalty"):
        if getattr(sampling, name) is not None:
            losses.drop(names.get(name, name))


def _items(turn: Turn, names: Names, losses: Losses) -> list[Fields]:
    only = turn.parts[0] if len(turn.parts) == 1 else None
    if type(only) is ToolResult:
        return [_result(only)]
    items: list[Fields] = []
    said: list[Fields] = []
    is_answer = turn.role is Role.ASSISTANT
    for part in turn.parts:
        item = _item(part, names, losses)
        if item is None:
            said.append(_part(part, is_answer=is_answer))
            continue
        if said:
            items.append(_message(turn.role, said))
            said = []
        items += item
    if said:
        items.append(_message(turn.role, said))
    return items


def _item(part: Part, names: Names, losses: Losses) -> list[Fields] | None:
    """What is an item of its own; None for a part of a message."""
    match part:
        case Text():
            return None
        case ToolCall(id=id_, name=name, arguments=arguments):
            call: Fields = {"type": "function_call", "call_id": id_, "name": allowed_name(name)}
            call["arguments"] = arguments or "{}"
            return [call]
        case ToolResult():
            return [_result(part)]
        case Thought():
            return _thought(part, names, losses)
        case _:
            return None


def _message(role: Role, said: list[Fields]) -> Fields:
    """Words of an answer alone are plain text: as parts they would need the id of the message that they were."""
    content: object = said
    if all(part["type"] == "output_text" for part in said):
        content = "".join([str(part["text"]) for part in said])
    return {"type": "message", "role": role.value, "content": content}


def _part(part: Part, *, is_answer: bool) -> Fields:
    match part:
        case Text(text=text):
            return {"type": "output_text" if is_answer else "input_text", "text": text}
        case Refusal(text=text):
            return {"type": "refusal", "refusal": text}
        case Image(detail=detail):
            return {"type": "input_image", "image_url": url_of(part), "detail": detail or "auto"}
        case Document():
            return _document(part)
        case _:
            raise refuse("messages[].content", "a message holds what it cannot.")


def _document(document: Document) -> Fields:
    if document.text is not None:
        return {"type": "input_text", "text": f"{document.name}\n\n{document.text}" if document.name else document.text}
    if document.data is None:
        return {"type": "input_file", "file_url": document.url or ""}
    return {"type": "input_file", "filename": document.name or "document.pdf", "file_data": url_of(document)}


def _result(result: ToolResult) -> Fields:
    output: object = words_of(result)
    media = [part for part in result.parts if type(part) is not Text]
    if media:
        parts = (Text(words_of(result)), *media) if result.is_error else result.parts
        output = [_part(part, is_answer=False) for part in parts]
    return {"type": "function_call_output", "call_id": result.call_id, "output": output}


def _thought(thought: Thought, names: Names, losses: Losses) -> list[Fields]:
    if thought.origin is not Origin.OPENAI or not thought.seal:
        losses.drop(names.get("thoughts", "thinking"))
        return []
    item_id, _, encrypted = thought.seal.partition(" ")
    summary = [{"type": "summary_text", "text": thought.text}] if thought.text else []
    item: Fields = {"type": "reasoning", "id": item_id, "summary": summary}
    return [{**item, "encrypted_content": encrypted} if encrypted else item]


def _tool(tool: Tool, losses: Losses) -> Fields:
    schema = FREE_FORM if tool.is_free_form else openai_schema_of(tool.schema, losses)
    fields: Fields = {
        "type": "function",
        "name": allowed_name(tool.name),
        "parameters": schema,
        "strict": bool(tool.strict),
    }
    return fields if tool.description is None else {**fields, "description": tool.description}


def _choice(choice: ToolChoice) -> object:
    if choice.mode is ChoiceMode.NAMED:
        return {"type": "function", "name": allowed_name(choice.name or "")}
    return choice.mode.value


def _output(output: OutputFormat, losses: Losses) -> Fields:
    if output.schema is None:
        return {"type": "json_object"}
    fields: Fields = {
        "type": "json_schema",
        "name": output.name or "answer",
        "schema": readable_to_openai(output.schema, losses),
    }
    more = {"description": output.description, "strict": output.strict}
    return {**fields, **{name: value for name, value in more.items() if value is not None}}
