"""All links of this node: takes those that peers make, makes those that are wanted, at most one with each peer."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterable
from typing import Protocol

import msgspec
import structlog

from masa_node.chat.errors import LinkLost, LinkRefused, PeerUnreachable, ProtocolFault, ProviderError
from masa_node.network.links.control import (
    OWN_VERSIONS,
    Hello,
    Referral,
    RefusalCode,
    Refused,
    Versions,
    common_version,
    version_refused,
)
from masa_node.network.links.frames import FrameKind, OpensRequests, header_frame, read_header
from masa_node.network.links.membership import Grounds, Membership, origin_of
from masa_node.network.links.peer_record import MembershipLevel, is_weaker
from masa_node.network.links.room import Newcomer, TakenLink, has_spare_room, link_that_goes
from masa_node.network.links.session import ControlStream, Session, SessionOwner
from masa_node.network.transport.foreign_text import sanitize
from masa_node.network.transport.interfaces import Link, NodeId, PeerAddress, Transport, short_id
from masa_node.network.transport.resolver import resolve
from masa_node.network.transport.sources import source_of

MAX_LINKS = 256  # 90 kB each when idle
RANDOM_LINKS = 16  # a random network of 10^6 nodes is whole with 14 links each (Erdos and Renyi: ln n)
NOT_NEEDED = "not needed now"  # why a link is closed with a peer that may be asked again: it is dialed then
MAX_GREETINGS = 64  # links of strangers that have not introduced themselves yet;
MAX_GREETINGS_PER_SITE, MAX_GREETINGS_PER_CUSTOMER = 48, 32  # of these (`sources.source_of`): nobody can hold all
MAX_GREETINGS_PER_MEMBER = 2  # strangers in a crowd keep no member out; one that starts again has an old link, too
GREET_WITHIN_S = 5.0  # three round trips on a very bad line
DIAL_WITHIN_S = 5.0
REFUSAL_READ_WITHIN_S = 1.0
YOUNG_S = 2 * GREET_WITHIN_S  # two links this young were made at the same time, by both sides
LOG_REFUSALS_EVERY_S = 1.0  # strangers must not fill the log

_FULL = "it has as many links as it keeps. Try again later."

log = structlog.get_logger()


class LinksOwner(SessionOwner, Protocol):
    """Is told of links."""

    def greeting(self, peer: NodeId, theirs: Hello | None = None) -> Hello:
        """How to introduce this node to that peer, which has introduced itself with `theirs` or not yet."""
        ...

    def linked(self, session: Session, membership: MembershipLevel, hello: Hello) -> None:
        """The peer may be asked and served from now on."""
        ...

    def turned_away(self, peer: NodeId, why: LinkRefused) -> None:
        """A peer that made a link was refused."""
        ...

    def referral(self, peer: NodeId, membership: MembershipLevel) -> Referral:
        """Whom a peer, which would have been let in so, may try instead of this node, which has no room."""
        ...

    def referred(self, peer: NodeId, address: str, referral: Referral) -> None:
        """This peer, dialed at `address`, had no room. Nothing of what it said has been checked."""
        ...

    def unlinked(self, session: Session) -> None:
        """The link is gone; `session.why` tells why."""
        ...


class Links:
    """`run` it in a task; `connect` and `reach` work while it runs."""

    def __init__(
        self,
        transport: Transport,
        membership: Membership,
        owner: LinksOwner,
        versions: Versions = OWN_VERSIONS,
        random_links: int = RANDOM_LINKS,
    ) -> None:
        self.random_links = random_links  # with peers that its owner did not let in itself; twice as many are taken
        self._versions = versions
        self._transport = transport
        self._membership = membership
        self._owner = owner
        self.sessions: dict[NodeId, Session] = {}  # the live ones, by peer; not to be changed by others
        self._connecting: dict[NodeId, asyncio.Task[Session | ProviderError]] = {}
        self._greetings: Counter[str] = Counter()
        self._refusal_logged_s = float("-inf")
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Take links until cancelled, or until the transport is closed; all links are closed then."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                try:
                    await self._accept(group)
                finally:
                    self._group = None  # nothing new from now on
                for session in list(self.sessions.values()):
                    session.close("stopping")
        finally:
            self._group = None

    async def _accept(self, group: asyncio.TaskGroup) -> None:
        """Until the transport is closed."""
        with contextlib.suppress(LinkLost):
            while True:
                link = await self._transport.accept()
                counts = self._counts(link)
                if any(self._greetings[who] >= most for who, most in counts.items()):
                    link.close("too many at once")
                else:
                    self._greetings.update(counts.keys())
                    group.create_task(self._take(link, counts))

    async def reach(self, address: PeerAddress) -> OpensRequests:
        """Where requests to this peer are opened: the channels of a live link, made now if there is none.

        Raises `PeerUnreachable`, `LinkRefused`, `LinkLost`, `ProtocolFault`.
        """
        session = await self.connect(address)
        session.used_s = self._now_s()
        return session.mux

    def linked(self, peer: NodeId) -> OpensRequests | None:
        """The same of a live link, if there is one."""
        session = self._live(peer)
        if session is None:
            return None
        session.used_s = self._now_s()
        return session.mux

    async def connect(self, address: PeerAddress, *, is_spare: bool = False) -> Session:
        """The session with this peer; callers that want the same one at once share the attempt. Raises as `reach`.

        A peer that has links enough refuses one that the caller can do without (`is_spare`). When cancelled the
        attempt goes on, bounded by DIAL_WITHIN_S + GREET_WITHIN_S.
        """
        peer = address.node_id
        session = self._live(peer)
        if session is not None:
            return session
        if self._group is None:
            raise PeerUnreachable("the network of this node is not running.")
        if peer == self._transport.keys.node_id:
            raise PeerUnreachable("that is this node itself.")
        attempt = self._connecting.get(peer)
        if attempt is None:
            attempt = self._group.create_task(self._attempt(address, is_spare=is_spare))
            self._connecting[peer] = attempt
        try:
            outcome = await asyncio.shield(attempt)
        except asyncio.CancelledError:
            if attempt.cancelled() and not _is_being_cancelled():
                raise PeerUnreachable("this node is stopping.") from None
            raise
        if isinstance(outcome, Session):
            return outcome
        raise outcome

    async def wait_for_attempt(self, peer: NodeId) -> None:
        """Until no attempt to reach this peer is under way: the greeting of one may lack what is known since."""
        attempt = self._connecting.get(peer)
        if attempt is not None:
            await asyncio.wait([attempt])

    def drop(self, peer: NodeId, why: str) -> None:
        """Close the link with this peer, if there is one."""
        session = self.sessions.get(peer)
        if session is not None:
            session.close(why)

    def _live(self, peer: NodeId) -> Session | None:
        """The session with it, unless that is being closed."""
        session = self.sessions.get(peer)
        return session if session is not None and not session.why else None

    async def _attempt(self, address: PeerAddress, *, is_spare: bool) -> Session | ProviderError:
        """Dial and greet. A failure is returned, so that all waiting callers get it and the group goes on."""
        try:
            return await self._dial(address, is_spare=is_spare)
        except ProviderError as exc:
            return exc
        except Exception as exc:  # the other links go on whatever this peer said
            log.exception("bug while a peer was dialed", peer=short_id(address.node_id), kind=type(exc).__name__)
            return PeerUnreachable("something went wrong inside this node; its log tells where.")
        finally:
            self._connecting.pop(address.node_id, None)

    async def _dial(self, address: PeerAddress, *, is_spare: bool) -> Session:
        try:
            async with asyncio.timeout(DIAL_WITHIN_S):
                link = await self._transport.dial(await resolve(address))
        except TimeoutError:
            raise PeerUnreachable(f"no connection within {DIAL_WITHIN_S:g} s.") from None
        other = self._live(link.peer)
        if other is not None:
            link.close("the peer came in meanwhile")  # its link may carry requests already, and they would be lost
            return other
        try:
            async with asyncio.timeout(GREET_WITHIN_S):
                return await self._introduce(link, is_spare=is_spare)
        except TimeoutError:
            link.close("no greeting in time")
            raise PeerUnreachable(f"it did not greet within {GREET_WITHIN_S:g} s.") from None
        except BaseException:
            link.close("greeting failed")
            raise

    async def _introduce(self, link: Link, *, is_spare: bool) -> Session:
        """The dialing side of the greeting."""
        control = ControlStream(await link.open())
        has_link = self._live(link.peer) is not None
        hello = msgspec.structs.replace(self._greeting(link.peer), has_link=has_link, is_spare=is_spare)
        await control.write(header_frame(FrameKind.HELLO, hello))
        kind, payload = await control.next()
        if kind is FrameKind.REFUSED:
            return self._other_session(link, payload)
        if kind is not FrameKind.WELCOME:
            raise ProtocolFault(f"it answered HELLO with {kind.name}.")
        protocol = common_version(read_header(payload, Versions), self._versions)
        welcome = read_header(payload, Hello)
        grounds = await self._membership.judge(link.peer, welcome, time.time())
        other = self._live(link.peer)
        if other is not None and not other.link.is_dialed and link.peer < self._transport.keys.node_id:
            link.close("both sides dialed at once")  # as `_check_room` decides on the other side
            return other
        self._make_room(link, grounds, is_spare=is_spare)
        return self._enter(link, control, grounds, welcome, protocol)

    def _other_session(self, link: Link, payload: bytes) -> Session:
        """The peer refused; when it did because both dialed at once, its link is the one."""
        refused = read_header(payload, Refused)
        session, address = self._live(link.peer), link.path().address
        link.close("refused")
        if refused.code == RefusalCode.FULL:
            self._owner.referred(link.peer, address, Referral(refused.others, refused.voucher))
        if refused.code == RefusalCode.DUPLICATE and session is not None:
            return session
        if refused.code == RefusalCode.VERSION:
            raise version_refused(read_header(payload, Versions), self._versions)
        raise LinkRefused(f"it refused this node: {sanitize(refused.why)}", refused.code)

    def _greeting(self, peer: NodeId, theirs: Hello | None = None) -> Hello:
        hello, own = self._owner.greeting(peer, theirs), self._versions
        return msgspec.structs.replace(hello, min_protocol=own.min_protocol, max_protocol=own.max_protocol)

    def _counts(self, link: Link) -> dict[str, int]:
        """What this link's greeting counts against, and how many each of these may have at once."""
        if self._membership.is_member(link.peer):
            return {link.peer: MAX_GREETINGS_PER_MEMBER}
        site, customer = source_of(link.path().address)
        return {"strangers": MAX_GREETINGS, site: MAX_GREETINGS_PER_SITE, customer: MAX_GREETINGS_PER_CUSTOMER}

    async def _take(self, link: Link, counted_as: Iterable[str]) -> None:
        """The other side of the greeting: a peer made this link. Raises nothing."""
        try:
            async with asyncio.timeout(GREET_WITHIN_S):
                await self._greet(link)
        except LinkRefused as exc:
            if exc.refusal != RefusalCode.DUPLICATE:
                self._log_refusal(link.peer, exc.message)
        except LinkLost:
            link.close("greeting failed")  # it thought better of it: when both dial at once, one does
        except (ProviderError, TimeoutError) as exc:
            link.close("greeting failed")
            self._log_refusal(link.peer, str(exc) or "it did not greet in time")
        except Exception as exc:  # the other links go on whatever this peer said
            link.close("greeting failed")
            log.exception("bug while a peer was greeted", peer=short_id(link.peer), kind=type(exc).__name__)
        except BaseException:
            link.close("stopping")
            raise
        finally:
            self._greetings -= Counter(counted_as)  # which forgets those that come to nothing

    async def _greet(self, link: Link) -> None:
        stream = await link.accept()
        control = ControlStream(stream)
        kind, payload = await control.next()
        if kind is not FrameKind.HELLO:
            raise ProtocolFault(f"it began with {kind.name}.")
        referral = Referral()
        try:
            protocol = common_version(read_header(payload, Versions), self._versions)
            hello = read_header(payload, Hello)
            grounds = await self._membership.judge(link.peer, hello, time.time())
            try:
                self._check_room(link, hello, grounds)
            except LinkRefused as exc:
                if exc.refusal == RefusalCode.FULL:
                    referral = self._owner.referral(link.peer, grounds.membership)
                raise
        except LinkRefused as exc:
            self._owner.turned_away(link.peer, exc)
            await self._refuse(link, control, exc, referral)
            raise
        welcome = msgspec.structs.replace(self._greeting(link.peer, hello), invite=None)
        await control.write(header_frame(FrameKind.WELCOME, welcome))
        self._enter(link, control, grounds, hello, protocol)

    def _check_room(self, link: Link, hello: Hello, grounds: Grounds) -> None:
        old = self.sessions.get(link.peer)
        if old is None:
            levels = map(self._membership.standing_of, self.sessions)
            is_of_no_owner = hello.is_spare and is_weaker(grounds.membership, MembershipLevel.INVITED)
            if is_of_no_owner and not has_spare_room(levels, self.random_links):
                raise LinkRefused(_FULL, RefusalCode.FULL)
            self._make_room(link, grounds, is_spare=hello.is_spare)
            return
        now_s = self._now_s()
        is_new_one_better = not hello.has_link and now_s - old.since_s > YOUNG_S  # the peer started again
        if old.link.is_dialed and not is_new_one_better and self._transport.keys.node_id < link.peer:
            raise LinkRefused("both sides dialed at once; the other link stays.", RefusalCode.DUPLICATE)

    def _make_room(self, link: Link, grounds: Grounds, *, is_spare: bool) -> None:
        """Close a link for this one if all are taken (`room.py`). Raises `LinkRefused` when none may go."""
        are_many = len(self.sessions) >= MAX_LINKS and link.peer not in self.sessions
        live = [session for session in self.sessions.values() if not session.why] if are_many else []
        if len(live) < MAX_LINKS:
            return  # also where one that is ending makes room
        newcomer = Newcomer(grounds.membership, origin_of(link, grounds), is_spare)
        number = link_that_goes([self._taken(session) for session in live], newcomer)
        if number is None:
            raise LinkRefused(_FULL, RefusalCode.FULL)
        is_alike = self._membership.standing_of(live[number].peer) is grounds.membership
        live[number].close(NOT_NEEDED if is_alike else "a member needs the link")

    def _taken(self, session: Session) -> TakenLink:
        may_go = session.is_idle(self._now_s()) and not session.link.is_dialed
        level = self._membership.standing_of(session.peer)
        is_wanted = may_go and self._membership.is_wanted(session.peer)
        return TakenLink(level, session.origin, session.used_s, may_go and not is_wanted)

    async def _refuse(self, link: Link, control: ControlStream, refusal: LinkRefused, referral: Referral) -> None:
        """Send the refusal, and give the peer a moment to read it before the link is closed."""
        with contextlib.suppress(ProviderError, TimeoutError):
            async with asyncio.timeout(REFUSAL_READ_WITHIN_S):
                own = self._versions
                answer = Refused(refusal.refusal, refusal.message, own.min_protocol, own.max_protocol, *referral)
                await control.write(header_frame(FrameKind.REFUSED, answer))
                await control.finish()
                await link.closed()
        link.close("refused")

    def _enter(self, link: Link, control: ControlStream, grounds: Grounds, hello: Hello, protocol: int) -> Session:
        """The link is good: it replaces one that is there. Raises `LinkLost` when this node is stopping."""
        if self._group is None:
            raise LinkLost("this node is stopping.")
        session = Session(link, control, self._owner, grounds.membership)
        session.vouched_by, session.protocol, session.origin = grounds.vouched_by, protocol, origin_of(link, grounds)
        old = self.sessions.get(link.peer)
        self._group.create_task(self._keep(session))
        self.sessions[link.peer] = session
        if old is not None:
            old.close("replaced by a newer link")
        self._owner.linked(session, grounds.membership, hello)
        return session

    async def _keep(self, session: Session) -> None:
        try:
            await session.run()
        except Exception as exc:  # the other links go on whatever this peer said
            session.why = session.why or "something went wrong inside this node"
            log.exception("bug on the link with a peer", peer=short_id(session.peer), kind=type(exc).__name__)
        finally:
            if self.sessions.get(session.peer) is session:
                del self.sessions[session.peer]
                self._owner.unlinked(session)

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()

    def _log_refusal(self, peer: NodeId, why: str) -> None:
        now_s = self._now_s()
        if now_s - self._refusal_logged_s >= LOG_REFUSALS_EVERY_S:
            self._refusal_logged_s = now_s
            log.warning("peer refused", peer=short_id(peer), why=why)


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
