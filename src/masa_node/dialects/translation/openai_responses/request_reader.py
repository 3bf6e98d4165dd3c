"""From a body of `/v1/responses` to a conversation."""

import msgspec

from masa_node.dialects.fields import ABSENT
from masa_node.dialects.translation.conversation import (
    ChoiceMode,
    Conversation,
    OutputFormat,
    Sampling,
    Thinking,
    Tool,
    ToolChoice,
)
from masa_node.dialects.translation.kept import Kept, ReadTool
from masa_node.dialects.translation.losses import Losses, leave_out_hosted, refuse
from masa_node.dialects.translation.openai_chat.request_reader import NO_EFFORT
from masa_node.dialects.translation.openai_responses import body as b
from masa_node.dialects.translation.openai_responses.items import JOINT, turns_of
from masa_node.dialects.translation.wire import MAX_TOOLS, MAX_TURNS, BodyReader, check_count, given

_BODY = BodyReader(b.ResponsesBody)
_NAMES = {
    "output": "text.format",
    "parallel_calls": "parallel_tool_calls",
    "thinking": "reasoning",
    "thoughts": "reasoning",
    "max_tokens": "max_output_tokens",
    "image": "input_image",
    "document": "input_file",
}
_LOGPROBS = "message.output_text.logprobs"
_CARRIED_INCLUDES = frozenset({_LOGPROBS, "reasoning.encrypted_content"})
_TOOL_NUANCES = ("output_schema", "allowed_callers", "defer_loading")
_MORE_TOOLS = b'"additional_tools"'  # the type of an item that offers tools
_MORE = BodyReader(b.Item)
_OWN = ("function", "custom")
_TOOL = BodyReader(b.ToolBody)


def read_request(body: bytes, losses: Losses) -> Conversation:
    """The conversation. Raises `NotTranslatable` for what has no neutral form."""
    asked = _BODY.read(body, losses)
    _refuse_state(asked)
    _drop_nuances(asked, losses)
    said = asked.input or []
    check_count(0 if isinstance(said, str) else len(said), MAX_TURNS, "items")
    more = [] if isinstance(said, str) or _MORE_TOOLS not in body else said
    tools, choice = _tools([*(asked.tools or ()), *_tools_in(more, losses)], asked.tool_choice, losses)
    check_count(len(tools), MAX_TOOLS, "tools")
    include = asked.include or []
    return Conversation(
        model=asked.model,
        turns=turns_of(asked.instructions, said, losses),
        stream=bool(asked.stream),
        tools=tools,
        tool_choice=choice,
        parallel_calls=asked.parallel_tool_calls,
        output=_output(asked.text),
        sampling=Sampling(
            max_tokens=asked.max_output_tokens,
            temperature=asked.temperature,
            top_p=asked.top_p,
            presence_penalty=asked.presence_penalty,
            frequency_penalty=asked.frequency_penalty,
            logprobs=_LOGPROBS in include or bool(asked.top_logprobs),
            top_logprobs=asked.top_logprobs,
        ),
        thinking=_thinking(asked.reasoning),
        names=_NAMES | {"logprobs": "include" if _LOGPROBS in include else "top_logprobs"},
    )


def _refuse_state(asked: b.ResponsesBody) -> None:
    for name in b.STATEFUL:
        if given(getattr(asked, name)):
            raise refuse(name, "it names something stored at the server, and nothing is stored here: send it whole.")
    if asked.store:
        raise refuse("store", "answers are not stored here: ask with `store: false`.")
    if asked.background:
        raise refuse("background", "an answer in the background cannot be stored here.")


def _drop_nuances(asked: b.ResponsesBody, losses: Losses) -> None:
    losses.drop(*(name for name in b.NUANCES if given(getattr(asked, name))))
    if asked.text is not None and asked.text.verbosity is not None:
        losses.drop("text.verbosity")
    if any(name not in _CARRIED_INCLUDES for name in asked.include or ()):
        losses.drop("include")
    reasoning = asked.reasoning or b.Reasoning()
    names = ("summary", "generate_summary", "context", "mode")
    losses.drop(*(f"reasoning.{name}" for name in names if getattr(reasoning, name) is not None))


def _thinking(reasoning: b.Reasoning | None) -> Thinking:
    if reasoning is None:
        return Thinking()
    effort, is_shown = reasoning.effort, (reasoning.summary or reasoning.generate_summary) is not None
    return Thinking(enabled=None if effort is None else effort != NO_EFFORT, effort=effort, is_shown=is_shown)


def _output(text: b.TextConfig | None) -> OutputFormat | None:
    form = text.format if text is not None else None
    match form:
        case None | b.Format(type="text"):
            return None
        case b.Format(type="json_object"):
            return OutputFormat()
        case b.Format(type="json_schema") if given(form.schema):
            return OutputFormat(form.schema, form.name, form.description, form.strict)
        case _:
            raise refuse("text.format", f"its type is {form.type!r}.")


def _tools_in(items: list[msgspec.Raw], losses: Losses) -> list[msgspec.Raw]:
    """The tools that items offer."""
    found = [_MORE.read(bytes(item), losses) for item in items if _MORE_TOOLS in bytes(item)]
    return [tool for item in found if item.type == "additional_tools" for tool in item.tools or ()]


def _read_tool(body: bytes, losses: Losses) -> ReadTool:
    tool = _TOOL.read(body, losses)
    if tool.type == "namespace":
        inner = [each for each in tool.tools or () if each.type in _OWN]
        return ReadTool(tool.name, tuple([_tool(each, losses, tool.name) for each in inner]))
    if tool.type in _OWN:
        return ReadTool(tool.name, (_tool(tool, losses),))
    return ReadTool(tool.name, hosted=tool.type or tool.name)


_TOOLS = Kept(_read_tool)


def _tools(
    offered: list[msgspec.Raw], choice: str | b.Choice | None, losses: Losses
) -> tuple[tuple[Tool, ...], ToolChoice | None]:
    read = _TOOLS.read(offered, losses)
    own = [tool for each in read for tool in each.own]
    hosted = [each.hosted for each in read if each.hosted]
    forced = choice.type if isinstance(choice, b.Choice) else None
    leave_out_hosted(hosted, forced, losses, has_others=bool(own))
    if isinstance(choice, b.Choice) and choice.type == "allowed_tools":
        allowed = {tool.name for tool in choice.tools or ()}
        own = [tool for tool in own if tool.name in allowed]
    return tuple(own), _choice(choice)


def _tool(tool: b.ToolBody, losses: Losses, namespace: str | None = None) -> Tool:
    for name in _TOOL_NUANCES:
        if getattr(tool, name) is not ABSENT and given(getattr(tool, name)):
            losses.drop(name)
    prefix = ""
    if namespace:
        prefix = namespace if namespace.endswith(JOINT) else namespace + JOINT
    name = prefix + tool.name
    if tool.type == "custom":
        if given(tool.format):
            losses.drop("format")
        return Tool(name, tool.description, is_free_form=True, prefix=prefix, namespace=namespace)
    schema = tool.parameters if given(tool.parameters) else None
    return Tool(name, tool.description, schema, tool.strict, prefix=prefix, namespace=namespace)


def _choice(choice: str | b.Choice | None) -> ToolChoice | None:
    match choice:
        case None:
            return None
        case "auto" | "none" | "required":
            return ToolChoice(ChoiceMode(choice))
        case b.Choice(type="function" | "custom", name=str(name)):
            return ToolChoice(ChoiceMode.NAMED, name)
        case b.Choice(type="allowed_tools", mode=mode):
            return ToolChoice(ChoiceMode.REQUIRED if mode == "required" else ChoiceMode.AUTO)
        case b.Choice(type=kind) | kind:
            raise refuse("tool_choice", f"it is {kind!r}.")
