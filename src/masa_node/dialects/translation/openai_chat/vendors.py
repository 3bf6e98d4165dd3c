"""What some vendors demand of requests that others do not: each refuses a session that lacks it."""

import hashlib
import re
from collections.abc import Callable, Iterable
from itertools import groupby
from operator import itemgetter
from typing import cast

from masa_node.dialects.translation.conversation import Conversation, Fields, Names
from masa_node.dialects.translation.losses import Losses
from masa_node.dialects.translation.thoughts import NAMED_REASONING, beside_a_call

# OpenAI's own models; gpt-oss is an open one, on servers like those of others.
OPENAIS = re.compile(r"(?:^|/)(?:gpt-(?!oss)|chatgpt-|o\d)")
# Of these, the models that think whatever they are told, that do so if they are told nothing, and that do if told to.
_THINKS = re.compile(r"(?:^|/)(?:o\d|gpt-5(?![.\d]|-chat))")
_THINKS_BY_ITSELF = re.compile(r"(?:^|/)gpt-(?:5\.[4-9]|[6-9])")
_THINKS_IF_TOLD = re.compile(r"(?:^|/)gpt-5\.[1-3]")
_NO_EFFORT = "none"
_NOT_BESIDE_THINKING = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
_MISTRALS = re.compile(r"(?:^|/)(?:open-)?(?:mi[sx]tral|codestral|devstral|ministral|magistral|pixtral)", re.IGNORECASE)
_THOUGHTS = frozenset({"reasoning_content", NAMED_REASONING})
_HEARD: Fields = {"role": "assistant", "content": "OK."}
_NO_SIGNATURE = "skip_thought_signature_validator"  # Google's word for calls that its model has not made
_MISTRALS_ID = re.compile(r"[a-zA-Z0-9]{9}").fullmatch
_MISTRALS_ID_CHARS = 9


def as_chosen(values: Fields, conversation: Conversation, losses: Losses) -> Fields:
    """Those of these fields that are given; none of how tokens are chosen where a model of OpenAI's thinks."""
    given = {name: value for name, value in values.items() if value is not None}
    if _thinks(conversation.model, conversation.thinking.effort):
        for name in _NOT_BESIDE_THINKING:
            if given.pop(name, None) is not None:
                losses.drop(conversation.names.get(name, name))
    return given


def _thinks(model: str, effort: str | None) -> bool:
    if effort == _NO_EFFORT:
        return _THINKS.search(model) is not None
    is_told = effort is not None and _THINKS_IF_TOLD.search(model) is not None
    return is_told or _THINKS.search(model) is not None or _THINKS_BY_ITSELF.search(model) is not None


def as_demanded(messages: list[Fields], model: str, names: Names, losses: Losses) -> list[Fields]:
    """The messages as the vendor of this model takes them. None of those that are given is changed."""
    if not _are_in_place(messages):
        messages = _results_first(messages)
    if not OPENAIS.search(model):
        messages = users_joined(messages)
    if _MISTRALS.search(model):
        messages = _as_mistral_takes_them(messages, names, losses)
    for pattern, mend in _DEMANDS:
        if pattern.search(model):
            messages = [mend(message, losses) for message in messages]
    return messages


def users_joined(messages: list[Fields]) -> list[Fields]:
    """What the user says in several messages as one: templates of Gemma and Mistral raise for a second in a row."""
    before: object = ""
    for message in messages:
        role = message["role"]
        if role == "user" == before:
            break
        before = role
    else:
        return messages  # as nearly always
    joined: list[Fields] = []
    for role, run in groupby(messages, key=itemgetter("role")):
        said = list(run)
        if role == "user" and len(said) > 1:
            said = [{**said[0], "content": _together([message["content"] for message in said])}]
        joined += said
    return joined


def _together(contents: Iterable[object]) -> object:
    said = [content for content in contents if content]
    if all(isinstance(content, str) for content in said):
        return "\n\n".join(cast("list[str]", said))
    listed = [
        [{"type": "text", "text": each}] if isinstance(each, str) else cast("list[Fields]", each) for each in said
    ]
    return [part for parts in listed for part in parts]


def _as_mistral_takes_them(messages: list[Fields], names: Names, losses: Losses) -> list[Fields]:
    """Ids as Mistral makes them, words of the model where there are none, and no field that it has not."""
    taken: list[Fields] = []
    for message in messages:
        if message["role"] == "user" and taken and taken[-1]["role"] == "tool":
            taken.append(_HEARD)
        own = {name: value for name, value in message.items() if name not in _THOUGHTS}
        if len(own) < len(message):
            losses.drop(names.get("thoughts", "thinking"))
        says_nothing = own["role"] == "assistant" and not own.get("content") and "tool_calls" not in own
        taken.append(_HEARD if says_nothing else _with_short_ids(own))
    return taken


def _are_in_place(messages: list[Fields]) -> bool:
    """Is there nothing between calls and results, and no result too many? So it is nearly always."""
    open_calls = 0
    for message in messages:
        if message["role"] == "tool":
            open_calls -= 1
            if open_calls < 0:
                return False
        else:
            calls = message.get("tool_calls")
            open_calls = len(_calls(message)) if calls else 0
    return True


def _results_first(messages: list[Fields]) -> list[Fields]:
    """The results of calls right behind the calls, one of each: what came between them, as pictures do, comes after."""
    ordered: list[Fields] = []
    places: dict[object, int] = {}
    behind = 0
    for message in messages:
        if message["role"] == "tool" and message["tool_call_id"] in places:
            place = places[message["tool_call_id"]]
            if place:
                first = ordered[place]
                ordered[place] = {**first, "content": f"{first['content']}\n{message['content']}"}
                continue
            ordered.insert(behind, message)
            places[message["tool_call_id"]] = behind
            behind += 1
            continue
        ordered.append(message)
        if message["role"] == "assistant":
            places = dict.fromkeys([call["id"] for call in _calls(message)], 0)  # none is there yet
            behind = len(ordered)
    return ordered


def _calls(message: Fields) -> list[Fields]:
    return cast("list[Fields]", message.get("tool_calls") or [])


def _signed(message: Fields, losses: Losses) -> Fields:
    """The first call of each message has a signature at Gemini: where a client has lost it, the word for that."""
    calls = _calls(message)
    if not calls or "extra_content" in calls[0]:
        return message
    losses.drop("thought_signature")
    return {**message, "tool_calls": [{**calls[0], **beside_a_call(_NO_SIGNATURE)}, *calls[1:]]}


def _thoughtful(message: Fields, losses: Losses) -> Fields:
    """Calls of DeepSeek's thinking models stand beside a thought: where a client has lost it, an empty one."""
    del losses
    if not _calls(message) or not _THOUGHTS.isdisjoint(message):
        return message
    return {**message, "reasoning_content": ""}


def _with_short_ids(message: Fields) -> Fields:
    """Ids of calls as Mistral makes them, if another server or a client made them."""
    if "tool_call_id" in message:
        return {**message, "tool_call_id": _short(str(message["tool_call_id"]))}
    calls = _calls(message)
    if not calls:
        return message
    return {**message, "tool_calls": [{**call, "id": _short(str(call["id"]))} for call in calls]}


def _short(call_id: str) -> str:
    if _MISTRALS_ID(call_id):
        return call_id
    return hashlib.sha256(call_id.encode("utf-8", "replace")).hexdigest()[:_MISTRALS_ID_CHARS]


_DEMANDS: tuple[tuple[re.Pattern[str], Callable[[Fields, Losses], Fields]], ...] = (
    (re.compile(r"(?:^|/)gemini-[3-9]"), _signed),
    (re.compile(r"deepseek-(?:reasoner|v[4-9])", re.IGNORECASE), _thoughtful),
)
