"""What can be asked of this node now and, if nothing can, why and what to do. Pure.

The greeting, `/readyz`, `masa-node models` and the 404 of a model all tell it alike.
"""

import msgspec

_OLLAMA = "Ollama"


class ServerState(msgspec.Struct, frozen=True):
    """One LLM server. `is_up` None: not asked yet; `models` None: it has no list, any name may be asked of it.

    `note` is what its owner should know: why it is down, why there is no list.
    """

    name: str
    kind: str
    location: str
    is_up: bool | None
    models: int | None
    note: str = ""

    @property
    def serves(self) -> bool:
        """Can anything be asked of it?"""
        return self.is_up is True and self.models != 0

    @property
    def state(self) -> str:
        """In a word or two."""
        if self.is_up is None:
            return "not asked yet"
        if not self.is_up:
            return "down"
        return "up, without models" if self.models == 0 else "up"

    @property
    def line(self) -> str:
        """In a line, with what to do where there is something to do."""
        if not self.is_up:
            why = f" ({self.note.rstrip('.')})" if self.note else ""
            return (
                f"{self.location}: "
                f"{'not asked yet' if self.is_up is None else 'cannot be asked; the node keeps trying'}{why}"
            )
        if self.models is None:
            return f"{self.location}: {self.kind}, which lists no models; any name may be asked of it"
        if self.note:
            return f"{self.location}: {self.kind}, {self.models} models; {self.note}"
        if self.models == 0:
            return f"{self.location}: {self.kind}, running without models. {self._remedy}"
        return f"{self.location}: {self.kind}, {self.models} model{'' if self.models == 1 else 's'}"

    @property
    def _remedy(self) -> str:
        return "Get one: `ollama pull llama3.2`" if self.kind == _OLLAMA else "Load one there"


class Situation(msgspec.Struct, frozen=True):
    """All LLM servers, how many models peers serve that may be asked, and whether servers are looked for.

    `ollama` is the URL that OLLAMA_HOST names, where one is looked for, too; "" if it is not set.
    """

    servers: tuple[ServerState, ...]
    peer_models: int
    finds_local: bool
    ollama: str = ""

    @property
    def is_ready(self) -> bool:
        """Can anything be asked?"""
        return self.peer_models > 0 or any(server.serves for server in self.servers)

    @property
    def why_not(self) -> str:
        """Why nothing can be asked, and what to do; "" if something can."""
        return "" if self.is_ready else f"No model can be asked. {self.remedy}"

    @property
    def remedy(self) -> str:
        """What each LLM server needs, or where one would come from."""
        if self.servers:
            return "; ".join(server.line for server in self.servers) + "."
        if self.ollama:
            where = ", and no LLM server was found on this machine" if self.finds_local else ""
            return (
                f"No Ollama answers at {self.ollama} (OLLAMA_HOST){where}: start it, correct OLLAMA_HOST, or set "
                "LLM_CHAT_URL."
            )
        if self.finds_local:
            return (
                "No LLM server was found on this machine: start one (Ollama, LM Studio, vLLM, llama.cpp), or set "
                "LLM_CHAT_URL."
            )
        return "No LLM server is behind this node: set LLM_CHAT_URL, or FIND_LOCAL=1 to look for one on this machine."
