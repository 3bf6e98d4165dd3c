"""From a body of `/v1/completions` to a conversation: the prompt becomes the one thing that the user says."""

import msgspec

from masa_node.dialects.fields import ABSENT
from masa_node.dialects.translation.conversation import Conversation, Role, Sampling, Text, Turn
from masa_node.dialects.translation.losses import Losses, refuse
from masa_node.dialects.translation.openai_chat.body import StreamOptions
from masa_node.dialects.translation.wire import BodyReader, given, stop_sequences

_NUANCES = ("logit_bias", "user")
_NAMES = {"choices": "n"}
_NO_PROMPT = "the other format takes a conversation, not the text of a prompt."


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    model: str = ""
    prompt: str | list[str | int | list[int]] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: str | list[str] | None = None
    n: int | None = None
    best_of: int | None = None
    echo: bool | None = None
    suffix: str | None = None
    logprobs: int | None = None
    logit_bias: msgspec.Raw = ABSENT
    user: msgspec.Raw = ABSENT


_BODY = BodyReader(_Body)


def read_request(body: bytes, losses: Losses) -> Conversation:
    """The conversation. Raises `NotTranslatable` for what is about the text of a prompt itself."""
    asked = _BODY.read(body, losses)
    for name in ("echo", "suffix"):
        if getattr(asked, name):
            raise refuse(name, _NO_PROMPT)
    if asked.logprobs is not None:  # none beside each token is the token's own
        raise refuse("logprobs", _NO_PROMPT)
    if (asked.best_of or 1) > 1:
        raise refuse("best_of", "the server gives each answer that it makes.")
    losses.drop(*(name for name in _NUANCES if given(getattr(asked, name))))
    return Conversation(
        model=asked.model,
        turns=(Turn(Role.USER, (Text(_prompt(asked.prompt)),)),),
        stream=bool(asked.stream),
        with_usage=bool(asked.stream_options and asked.stream_options.include_usage),
        sampling=Sampling(
            max_tokens=asked.max_tokens,
            temperature=asked.temperature,
            top_p=asked.top_p,
            top_k=asked.top_k,
            min_p=asked.min_p,
            seed=asked.seed,
            presence_penalty=asked.presence_penalty,
            frequency_penalty=asked.frequency_penalty,
            stop=stop_sequences(asked.stop),
            choices=asked.n,
        ),
        names=_NAMES,
    )


def _prompt(prompt: str | list[str | int | list[int]] | None) -> str:
    match prompt:
        case str(text) | [str(text)]:
            return text
        case None | []:
            return ""
        case _:
            raise refuse("prompt", "several prompts, or tokens instead of text, have no place in a conversation.")
