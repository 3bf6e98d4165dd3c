"""The requests that are under way, of own callers and of peers: to be seen, and to be ended by the owner."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

import msgspec

from masa_node.accounts.events import Events
from masa_node.chat.errors import MasaError
from masa_node.chat.journal_errors import EndedByOwner, NodeStopping
from masa_node.chat.outcome import CALLER_GONE, STATUS_CALLER_GONE, Outcome
from masa_node.chat.request import Endpoint, Request, RequestId
from masa_node.chat.statuses import status_of


class RequestUnderWay(msgspec.Struct, frozen=True):
    """One of them, for people. `running_s` is since when, in seconds. `key` is "" for a peer's, which `peer` names."""

    request_id: RequestId
    came_at_unix_s: float
    running_s: float
    endpoint: Endpoint
    model: str
    key: str
    peer: str | None
    stream: bool
    body_bytes: int


class Answering(Protocol):
    """What answers a request: its task, or whatever can be ended like one."""

    def cancel(self) -> object:
        """End it: its LLM is stopped."""
        ...

    def uncancel(self) -> int:
        """See `asyncio.Task`."""
        ...


class Entry:
    """One request, and what answers it."""

    __slots__ = ("began_at_unix_s", "ended_by", "request", "task")

    def __init__(self, request: Request, task: Answering | None, began_at_unix_s: float = 0.0) -> None:
        self.request = request
        self.task = task
        self.began_at_unix_s = began_at_unix_s
        self.ended_by: MasaError | None = None

    @property
    def key(self) -> str:
        """The name of the key that asked; "" for a peer's request, as in its outcome."""
        return self.request.key if self.request.requester is None else ""

    def why_ended(self) -> MasaError | None:
        """Asked by its task, once, when that is cancelled: what it goes on to tell its caller.

        None where the caller has left, too: nobody is there to be told.
        """
        if self.ended_by is None or self.task is None or self.task.uncancel() > 0:
            return None
        return self.ended_by

    def is_one(self, request_id: str, key: str | None) -> bool:
        """Has it this id, and is it of this key, or of anybody?"""
        return self.request.request_id == request_id and key in (None, self.key)


class UnderWay:
    """As many entries as requests are admitted or wait. Ids may be callers' own, and one may be there twice.

    `events` are told of each that begins.
    """

    def __init__(self, now_unix_s: Callable[[], float] = time.time, events: Events | None = None) -> None:
        self._now_unix_s = now_unix_s
        self._events = events if events is not None else Events()
        self._is_stopping = False
        self._entries: dict[Entry, None] = {}  # in the order in which they came
        self._ended: dict[tuple[RequestId, str], list[MasaError]] = {}  # of those with this id and key: why

    def stop(self) -> None:
        """The node cuts all that are under way still, or begin from now on: each of them is told."""
        self._is_stopping = True
        for entry in list(self._entries):
            self._end(entry, _stopped())

    def add(self, request: Request, answering: Answering | None = None) -> Entry:
        """The running task, or what is given, begins to answer it; `remove` once it has ended."""
        entry = Entry(request, answering or asyncio.current_task())
        self.put(entry)
        return entry

    def put(self, entry: Entry) -> None:
        """This one begins."""
        entry.began_at_unix_s = self._now_unix_s()
        self._entries[entry] = None
        if self._is_stopping:  # not before whoever begins it is ready to be ended
            asyncio.get_running_loop().call_soon(self._end, entry, _stopped())
        if self._events.is_heard:
            self._events.tell("began", _begun(entry), entry.key)

    def remove(self, entry: Entry) -> None:
        """It has ended."""
        del self._entries[entry]
        entry.task = None  # it may lead back here
        if entry.ended_by is not None:
            known = entry.request.request_id, entry.key
            self._ended[known].pop()
            if not self._ended[known]:
                del self._ended[known]

    def end(self, request_id: str, key: str | None = None) -> int:
        """End those with this id, with `key` only those of that: their LLMs are stopped. How many there were.

        A peer's are ended without `key` alone.
        """
        found = [each for each in self._entries if each.is_one(request_id, key)]
        for entry in found:
            self._end(entry, EndedByOwner("The owner of this node has ended the request."))
        return len(found)

    def _end(self, entry: Entry, why: MasaError) -> None:
        if entry.task is not None and entry.ended_by is None:
            entry.ended_by = why
            self._ended.setdefault((entry.request.request_id, entry.key), []).append(why)
            entry.task.cancel()

    def requests(self, key: str | None = None) -> list[RequestUnderWay]:
        """All, the oldest first; with `key` only those of that."""
        now_unix_s = self._now_unix_s()
        return [_shown(each, now_unix_s) for each in self._entries if key in (None, each.key)]

    def holds(self, request_id: str) -> bool:
        """Is there one with this id, whoever asked?"""
        return any(each.is_one(request_id, None) for each in self._entries)

    def as_ended(self, outcome: Outcome) -> Outcome:
        """The outcome, which says so where it was not the caller that left, with the status that was told."""
        known = outcome.request_id, outcome.key
        if outcome.error != CALLER_GONE or known not in self._ended:
            return outcome
        why = self._ended[known][0]
        status = status_of(why) if outcome.status == STATUS_CALLER_GONE else outcome.status
        return msgspec.structs.replace(outcome, error=why.code, status=status)


def _stopped() -> NodeStopping:
    return NodeStopping("The node was stopped before the answer was whole. Ask again in a moment.")


def _begun(entry: Entry) -> Callable[[], RequestUnderWay]:
    """It as it begins, made when somebody gets it; the request itself, with its body, is not held."""
    request = entry.request
    who = (request.model, entry.key, request.requester)
    parts = (request.endpoint, *who, request.wants_stream, len(request.body))
    return partial(RequestUnderWay, request.request_id, round(entry.began_at_unix_s, 3), 0.0, *parts)


def _shown(entry: Entry, now_unix_s: float) -> RequestUnderWay:
    request = entry.request
    return RequestUnderWay(
        request_id=request.request_id,
        came_at_unix_s=round(entry.began_at_unix_s, 3),
        running_s=round(now_unix_s - entry.began_at_unix_s, 3),
        endpoint=request.endpoint,
        model=request.model,
        key=entry.key,
        peer=request.requester,
        stream=request.wants_stream,
        body_bytes=len(request.body),
    )
