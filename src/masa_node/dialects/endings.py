"""How one LLM server ends its streams, as far as it has shown: some never say why an answer stopped."""

from collections.abc import Callable

from masa_node.dialects.choices import Choices

MAX_MODELS = 256  # of one server; a hundred bytes each, and what is forgotten is learnt again


class Endings:
    """What was seen of one server and one model. Each stream calls `begin`, and at its terminal frame what it returns.

    A stream whose choices "have not ended" until its terminal frame was cut - unless the server never says otherwise:
    then it has shown so with an earlier stream. One that others ran into shows nothing: that is when the server
    for Python cuts them (REAL-WORLD: llama_cpp.server). See docs/decisions/0014-how-an-answer-ends.md.
    """

    __slots__ = ("_begun", "_gives_reasons", "_has_shown")

    def __init__(self, *, has_shown: bool = False) -> None:
        self._begun = 0
        self._gives_reasons = False
        self._has_shown = has_shown

    def begin(self) -> Callable[[Choices], bool]:
        """A stream begins. What is returned tells, at its terminal frame, whether these choices make it a whole one."""
        self._begun += 1
        mine = self._begun
        return lambda choices: self._judge(choices, is_alone=mine == self._begun)

    def judge_whole(self, choices: Choices) -> bool:
        """Is a complete body with these choices a whole answer? Without any reason it shows that its server gives none.

        No SDK asks for one, and a body that is cut is no JSON: only a choice beside one that has ended tells of a cut.
        """
        self._gives_reasons = self._gives_reasons or choices.any_ended
        self._has_shown = self._has_shown or (choices.are_open and not choices.any_ended)
        return not choices.are_cut_of_whole

    def _judge(self, choices: Choices, *, is_alone: bool) -> bool:
        if choices.any_ended:
            self._gives_reasons = True
        if not choices.are_open:
            return True
        if choices.any_ended or self._gives_reasons:
            return False
        if not choices.is_told:  # nothing was said of an end at all
            return True
        is_whole = self._has_shown
        self._has_shown = self._has_shown or is_alone
        return is_whole


class EndingsByModel:
    """Those of one server, of at most MAX_MODELS models: the one that was first seen goes first."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[str, Endings] = {}

    def of(self, model: str) -> Endings:
        """What was seen of this model; a gateway may have servers of several kinds behind it."""
        endings = self._known.get(model)
        if endings is None:
            if len(self._known) >= MAX_MODELS:
                del self._known[next(iter(self._known))]
            endings = self._known[model] = Endings()
        return endings
