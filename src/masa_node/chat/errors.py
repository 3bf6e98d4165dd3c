"""The error tree. A class docstring is what its reader should know and do; `code` is its stable name; the message names
what happened, what was tried and what to do next. Statuses live in `statuses.py`, dialects' shapes in `dialects/`.
"""

from masa_node.chat.request import Endpoint, Headers


class MasaError(Exception):
    """The root: every error this program raises on purpose."""

    code = "error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Bug(MasaError):
    """Something went wrong inside the node. Please report it with the request id; the log says where."""

    code = "internal_error"


# ---- the caller's fault ----


class CallerError(MasaError):
    """The request cannot be served as it stands; the caller should change it."""

    code = "invalid_request"


class BadJson(CallerError):
    """The body is not a JSON object. Send one, as the LLM's own documentation describes it."""

    code = "bad_json"


class BadModel(CallerError):
    """The body names no model, or the name is not usable. Put `"model": "<id>"` into the body."""

    code = "bad_model"


class BodyTooLarge(CallerError):
    """The body is larger than MAX_BODY, or MAX_FORM where it may be a form. Send less, or raise that on the node."""

    code = "body_too_large"


class BodyTooSlow(CallerError):
    """The body did not arrive in time. Send it faster."""

    code = "body_too_slow"


class EncodedBody(CallerError):
    """The body is compressed. Send it without Content-Encoding."""

    code = "encoded_body"


class UnknownModel(CallerError):
    """No LLM known here serves that model. Ask for one that the message names, or GET /api/v1/llm/models."""

    code = "model_not_found"


class DialectNotServed(CallerError):
    """The model is here, but its LLM does not speak this endpoint's format. Use the endpoint that the message names."""

    code = "dialect_not_served"


class NotTranslatable(CallerError):
    """The model's LLM speaks another format, and the request holds what that one cannot carry. Nothing was sent.

    The message names the field. Leave it out, or ask a model whose LLM speaks the format of the endpoint.
    """

    code = "not_translatable"


class BadHeader(CallerError):
    """A header of the request (X-Masa-Race, X-Masa-Privacy) has a value that it may not have.

    X-Masa-Privacy may not be looser than PRIVACY on the node.
    """

    code = "bad_header"


class UnknownPath(CallerError):
    """There is no such endpoint. The message names those that exist."""

    code = "unknown_path"


class WrongMethod(CallerError):
    """The endpoint exists, for another method. The message names it."""

    code = "method_not_allowed"

    def __init__(self, message: str, allowed: str) -> None:
        super().__init__(message)
        self.allowed = allowed


# ---- policy ----


class PolicyError(MasaError):
    """The node's rules refuse the request."""

    code = "refused"


class BadHost(PolicyError):
    """The Host header is missing, doubled or malformed. Use a client that sends a proper one."""

    code = "bad_host"


class HostRefused(PolicyError):
    """The Host header names a host that this node does not answer for. Add it to ALLOWED_HOSTS."""

    code = "host_refused"


class OriginRefused(PolicyError):
    """A web page of another origin asks. Add that origin to ALLOWED_ORIGINS if it is meant to."""

    code = "origin_refused"


class Unauthorized(PolicyError):
    """No key in force came along. Send one as `Authorization: Bearer` or `x-api-key`: `masa-node keys`, API_KEY."""

    code = "unauthorized"


class RequestLoop(PolicyError):
    """This node's LLM URL leads back to this node. Point LLM_CHAT_URL at an LLM server."""

    code = "request_loop"


class CallerStalled(PolicyError):
    """The caller did not read on for LLM_IDLE_TIMEOUT, or for 10 s while others waited: the answer was given up."""

    code = "caller_stalled"


class PrivacyRefused(PolicyError):
    """Only peers serve the model, and the request's X-Masa-Privacy (or PRIVACY) keeps it from them."""

    code = "privacy_refused"


class StakeRequired(PolicyError):
    """Only peers serve the model, STAKE_PROVIDERS=require holds, and this node is not staked itself.

    The message tells why not. Stake, and sign a delegation for this node: `masa-node stake deposit`, `stake delegate`.
    """

    code = "stake_required"


class NoStakedPeer(PolicyError):
    """Only peers serve the model, none of them is staked, and STAKE_PROVIDERS=require keeps the request from them."""

    code = "no_staked_peer"


class StakeUnknown(PolicyError):
    """It is not known now whether this node, or any peer that serves the model, is staked: the chain is not read.

    See `masa-node stake status`, and whether RPC_URL answers.
    """

    code = "stake_unknown"


class Overloaded(MasaError):
    """The queue of requests is full, or MAX_BODIES_TOTAL spent on their bodies. Try again after `retry_after_s`."""

    code = "overloaded"

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


# ---- a provider's fault: absorbed by the race while another may still answer ----


class ProviderError(MasaError):
    """An LLM (or the way to it) failed. `location` is where, in words: "ollama (http://localhost:11434)"."""

    code = "provider_failed"
    location = ""
    away_for_s: float | None = None  # since it was there; None: it is not known to be away for a short time only


class ProviderAway(ProviderError):
    """The LLM server or the peer that serves the model is away: it was there a short time ago. Ask again soon."""

    code = "provider_away"


class Unreachable(ProviderError):
    """No connection could be made. Start the LLM server, or correct its URL."""

    code = "unreachable"


class ConnectionRefused(Unreachable):
    """Nothing listens at the LLM's address. Start the LLM server, or correct its URL."""

    code = "connection_refused"


class DnsFailed(Unreachable):
    """The LLM's host name does not resolve. Correct the URL, or the name service."""

    code = "dns_failed"


class TlsFailed(Unreachable):
    """The secure connection could not be made: the certificate is not trusted, or TLS is not spoken there."""

    code = "tls_failed"


class ProxyFailed(Unreachable):
    """The proxy named in HTTPS_PROXY, HTTP_PROXY or ALL_PROXY does not lead to the LLM. The message says why.

    Correct that setting, or name in NO_PROXY what is reached without a proxy.
    """

    code = "proxy_failed"


class ConnectionClosed(ProviderError):
    """The LLM closed the connection before it answered a byte."""

    code = "connection_closed"


class BrokenAnswer(ProviderError):
    """The answer was cut: the connection broke, or the terminal frame is missing."""

    code = "broken_answer"


class NotAnAnswer(ProviderError):
    """What came is not an answer in the expected format: HTML, a redirect, garbage, an endless frame."""

    code = "not_an_answer"


class EncodedAnswer(NotAnAnswer):
    """The LLM's answer is compressed in a way that this node cannot read. Have its server send it plain, or as gzip."""

    code = "encoded_answer"


class ErrorInStream(ProviderError):
    """The LLM's stream began with an error frame, or ended with one behind its first pieces, which is passed on."""

    code = "error_in_stream"


class FirstPieceTimeout(ProviderError):
    """No answer, and no sign that the LLM works, within LLM_TIMEOUT; or signs alone for LLM_BEGIN_TIMEOUT.

    The message names the timer. Raise it, or ask for a stream.
    """

    code = "first_piece_timeout"


class Stalled(ProviderError):
    """The LLM began to work or to answer, and then nothing came for LLM_IDLE_TIMEOUT."""

    code = "stalled"


class ErrorAnswer(ProviderError):
    """The LLM answered with an error of its own; `is_json` tells whether it can be passed on as it came."""

    code = "error_answer"

    def __init__(
        self, message: str, *, status: int, headers: Headers = (), body: bytes = b"", is_json: bool = False
    ) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers
        self.body, self.is_json = body, is_json


class MemoryFull(ProviderError):
    """The node holds as many bytes of whole answers as it may, and this one was the largest; or as many connections.

    Ask for a stream, or again later.
    """

    code = "memory_full"


class EndpointMissing(ErrorAnswer):
    """The LLM's server has no such endpoint; `endpoints` are those that it has. Ask for it through one of them."""

    code = "endpoint_missing"

    def __init__(self, message: str, endpoints: frozenset[Endpoint], headers: Headers = (), status: int = 400) -> None:
        super().__init__(message, status=status, headers=headers)
        self.endpoints = endpoints


class PeerBusy(ProviderError):
    """The peer serves as many requests as its owner allows. Others are asked; try again later if there are none."""

    code = "peer_busy"


class PeerRefused(ProviderError):
    """The peer does not serve this request: the model is not shared, or too many requests came from this node."""

    code = "peer_refused"


class StakeDemanded(PeerRefused):
    """The peer serves staked nodes only (STAKE_CALLERS=require there). See `masa-node stake status` on this node."""

    code = "stake_demanded"


class StakeUndecided(PeerBusy):
    """The peer serves staked nodes only, and cannot tell now whether this one is: it does not reach the chain.

    Try again soon.
    """

    code = "stake_undecided"


class LinkLost(ProviderError):
    """The connection to the peer is gone: it was killed, lost its network, or closed the connection."""

    code = "peer_lost"


class StreamReset(ProviderError):
    """The peer gave this one stream up; its other streams go on."""

    code = "stream_reset"


class PeerUnreachable(ProviderError):
    """No connection to the peer could be made. It may be off, or behind a firewall that needs a relay (RELAY_URL)."""

    code = "peer_unreachable"


class ProtocolFault(ProviderError):
    """The peer does not keep to the wire protocol. It may be of another version, broken, or hostile."""

    code = "protocol_fault"


class LinkRefused(ProviderError):
    """One of the two nodes does not want this link. The message says which, why, and what its owner can do."""

    code = "link_refused"

    def __init__(self, why: str, refusal: str) -> None:
        super().__init__(why)
        self.refusal = refusal


class VersionRefused(LinkRefused):
    """The two nodes have no version of the protocol in common. The message says which of them to update."""

    code = "peer_version"


class ChainUnknown(MasaError):
    """The chain could not be read, so nothing is known. See whether RPC_URL answers, and for the right chain."""

    code = "chain_unknown"


# ---- the node's own ----


class ConfigurationError(MasaError):
    """A setting is wrong. The message names the setting and what it may be."""

    code = "configuration"
