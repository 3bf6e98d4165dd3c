"""An LLM that the node brings itself: a model file, served by a process of its own, as an ordinary LLM server.

The process is started with the node, ends with it, and is started again, after a pause that doubles, when it dies.
"""

import asyncio
import contextlib
import os
import secrets
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from masa_node.chat.answer import Answer
from masa_node.chat.errors import ConnectionRefused, ProviderError, Unreachable
from masa_node.chat.offer import ModelOffer
from masa_node.chat.request import Endpoint, Request
from masa_node.routing.provider import Sign, no_sign
from masa_node.routing.running.tidy_group import TidyGroup
from masa_node.upstreams.embedded.process import EmbeddedProcess
from masa_node.upstreams.embedded.program import EmbeddedModel
from masa_node.upstreams.embedded.work import Work
from masa_node.upstreams.http.client import HttpClient
from masa_node.upstreams.spec import UpstreamKind, UpstreamSpec
from masa_node.upstreams.upstream import Upstream

FIRST_PAUSE_S = 1.0
NOTICED_WITHIN_S = 1.0  # the end of the process, once nothing listens at its port any more
LONGEST_PAUSE_S = 60.0  # a model that does not fit into memory will not do so soon
STEADY_AFTER_S = 60.0  # one that has served for so long is started again after the first pause
MAX_DEFAULT_THREADS = 8  # beyond, memory is what limits llama.cpp on most machines

# What llama.cpp has as it is started here. It makes embeddings and rankings only when started for nothing else.
ENDPOINTS = frozenset(
    {
        Endpoint.NATIVE,
        Endpoint.OPENAI_CHAT,
        Endpoint.OPENAI_COMPLETIONS,
        Endpoint.OPENAI_RESPONSES,
        Endpoint.ANTHROPIC_MESSAGES,
        Endpoint.ANTHROPIC_COUNT_TOKENS,
    }
)

log = structlog.get_logger()


Start = Callable[[EmbeddedModel], Awaitable[EmbeddedProcess]]


class EmbeddedLlm:
    """The model as a provider. Its process runs while `run()` does; several nodes of one process may share it.

    `trouble` says why it does not run, "" while it does or is being started. Requests wait for a model that is being
    loaded, within their own deadline.
    """

    is_local = True
    is_trusted = True
    label = "llama.cpp, started by this node"
    note = ""

    def __init__(
        self, spec: UpstreamSpec, model: EmbeddedModel, http: HttpClient, start: Start = EmbeddedProcess.start
    ) -> None:
        self.name = spec.name
        self.location = f"{spec.name} ({model.model_id}, built in)"
        self.is_hosted = spec.hosted
        self.priority = spec.priority or 0
        self.model_id = model.model_id
        self.trouble = ""
        self._spec = spec
        self._model = model
        self._http = http
        self._start = start
        self._upstream: Upstream | None = None
        self._work: Work | None = None  # of the process that serves
        self._offers: list[ModelOffer] | None = None
        self._changed = asyncio.Event()
        self.invalidation = asyncio.Event()

    def expected(self) -> list[ModelOffer]:
        """What it will serve: nothing else may be asked of it while it loads, since llama.cpp answers to any name."""
        return [ModelOffer(model, ENDPOINTS) for model in self._spec.models or (self.model_id,)]

    async def offers(self) -> list[ModelOffer]:
        """See `Listable`. Waits while the model is loaded. Asked once: nothing changes while the process lives."""
        upstream = await self._serving()
        if self._offers is None:
            offers = await upstream.offers() or ()
            self._offers = [msgspec.structs.replace(each, endpoints=each.endpoints & ENDPOINTS) for each in offers]
        return self._offers

    async def answer(self, request: Request, sign: Sign = no_sign) -> Answer:
        """See `Provider`. Waits while the model is being loaded. An answer in one piece takes as long as it takes: that
        it is worked on is a sign of life.
        """
        try:
            return await self._answer(await self._serving(), request, sign)
        except ConnectionRefused:  # it has just ended; why is known in a moment
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(NOTICED_WITHIN_S):
                    while not self.trouble:
                        await self._changed.wait()
            if self.trouble:
                raise self._down() from None
            raise

    async def _answer(self, upstream: Upstream, request: Request, sign: Sign) -> Answer:
        if self._work is None:
            return await upstream.answer(request, sign)
        failed: ProviderError | None = None
        async with TidyGroup() as group:
            showing = group.create_task(self._work.show(sign, request.first_piece_deadline_s))
            try:
                return await upstream.answer(request, sign)
            except ProviderError as error:
                failed = error
            finally:
                showing.cancel()
        try:
            raise failed
        finally:
            del failed  # its frames are these

    async def is_loaded(self) -> bool:
        """Wait until its model can be asked, which is True, or there is trouble."""
        while self._upstream is None and not self.trouble:
            await self._changed.wait()
        return self._upstream is not None

    async def run(self) -> None:
        """Keep the process running, until cancelled."""
        pause_s = FIRST_PAUSE_S
        while True:
            served_s, why = await self._run_once()
            if served_s >= STEADY_AFTER_S:
                pause_s = FIRST_PAUSE_S
            self._change(None, f"{why}; it is started again within {pause_s:g} s")
            log.warning("the embedded LLM is down", upstream=self.name, model=self.model_id, why=self.trouble)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            self._change(None, "")

    async def _run_once(self) -> tuple[float, str]:
        """From its start to its end: for how many seconds it served, and why it ended."""
        key = secrets.token_urlsafe()
        try:
            process = await self._start(self.options(key))
        except OSError as exc:
            return 0.0, f"it cannot be started: {exc}"
        try:
            if url := await process.loaded():
                loaded_at_s = asyncio.get_running_loop().time()
                self._work = Work(self._http, url, key)
                given = self._spec
                spec = UpstreamSpec(given.name, UpstreamKind.OPENAI, f"{url}/v1", key, given.models, given.hosted)
                self._change(Upstream(spec, self._http), "")
                why = await process.ended()
                return asyncio.get_running_loop().time() - loaded_at_s, why
            return 0.0, f"its model was not loaded: {await process.ended()}"
        finally:
            self._upstream = self._work = self._offers = None
            await process.end()

    def options(self, key: str) -> EmbeddedModel:
        """What its process is to serve."""
        threads = self._model.threads or default_threads()
        return msgspec.structs.replace(self._model, key=key, threads=threads)

    def _change(self, upstream: Upstream | None, trouble: str) -> None:
        self._upstream, self.trouble = upstream, trouble
        self._changed.set()
        self._changed = asyncio.Event()
        if upstream is not None or trouble:
            self.invalidation.set()

    async def _serving(self) -> Upstream:
        """The server, once its model is loaded. Raises `Unreachable` while there is trouble."""
        await self.is_loaded()
        if self._upstream is not None:
            return self._upstream
        raise self._down()

    def _down(self) -> Unreachable:
        error = Unreachable(f"The embedded LLM is down: {self.trouble}.")
        error.location = self.location
        return error


def default_threads() -> int:
    """Half of the cores: the node and its owner have work to do too."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores // 2, MAX_DEFAULT_THREADS))
