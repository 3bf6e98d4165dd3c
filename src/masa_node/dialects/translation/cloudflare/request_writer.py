"""From a conversation to a body of `/ai/run/{model}`."""

from masa_node.dialects.translation.conversation import ChoiceMode, Conversation, Tool
from masa_node.dialects.translation.losses import Losses, drop_description, refuse
from masa_node.dialects.translation.openai_chat.request_writer import messages_of
from masa_node.dialects.translation.openai_chat.vendors import users_joined
from masa_node.dialects.translation.tools import FREE_FORM, allowed_name, schema_of
from masa_node.dialects.translation.wire import encode

Fields = dict[str, object]
_SAMPLING = ("max_tokens", "temperature", "top_p", "top_k", "seed", "presence_penalty", "frequency_penalty")


def write_request(conversation: Conversation, losses: Losses) -> bytes:
    """The body. Raises `NotTranslatable` for what Cloudflare's run cannot carry."""
    _refuse_what_is_not_carried(conversation)
    sampling, names = conversation.sampling, conversation.names
    body: Fields = {"model": conversation.model, "messages": users_joined(messages_of(conversation, losses))}
    if conversation.stream:
        body["stream"] = True
    _add_tools(body, conversation, losses)
    if conversation.output is not None:
        schema = conversation.output.schema
        drop_description(conversation.output.description, names, losses)
        form: Fields = {"type": "json_object"} if schema is None else {"type": "json_schema", "json_schema": schema}
        body["response_format"] = form
    values = {name: getattr(sampling, name) for name in _SAMPLING}
    body.update((name, value) for name, value in values.items() if value is not None)
    if sampling.min_p is not None:
        losses.drop(names.get("min_p", "min_p"))
    thinking = names.get("thinking", "thinking")
    if conversation.thinking.enabled is not None:
        losses.drop(thinking)
    if conversation.thinking.effort is not None:
        losses.drop(names.get("effort", thinking))
    return encode(body)


def _refuse_what_is_not_carried(conversation: Conversation) -> None:
    sampling, names = conversation.sampling, conversation.names
    if (sampling.choices or 1) > 1:
        raise refuse(names.get("choices", "n"), "Cloudflare gives one answer per request.")
    if sampling.logprobs:
        raise refuse(names.get("logprobs", "logprobs"), "Cloudflare does not return them.")
    if sampling.stop:
        raise refuse(names.get("stop", "stop"), "Cloudflare has no stop sequences.")


def _add_tools(body: Fields, conversation: Conversation, losses: Losses) -> None:
    choice = conversation.tool_choice
    if not conversation.tools or (choice is not None and choice.mode is ChoiceMode.NONE):
        return
    if choice is not None and choice.mode is not ChoiceMode.AUTO:
        raise refuse("tool_choice", "Cloudflare has no way to require a tool call.")
    body["tools"] = [_tool(tool) for tool in conversation.tools]
    if choice is not None:  # some models call no tool where it is not said
        body["tool_choice"] = "auto"
    if conversation.parallel_calls is False:
        losses.drop(conversation.names.get("parallel_calls", "parallel_tool_calls"))
    if any(tool.strict for tool in conversation.tools):
        losses.drop("strict")


def _tool(tool: Tool) -> Fields:
    schema = FREE_FORM if tool.is_free_form else schema_of(tool.schema)
    return {"name": allowed_name(tool.name), "description": tool.description or "", "parameters": schema}
