"""Every setting: read once, from the environment and `.env`, checked, frozen. `docs/settings.md` is made from here."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from masa_node.accounts.journal import MAX_RACES
from masa_node.node.settings.given_names import given_names, read_dotenv
from masa_node.node.settings.unknown_names import UnknownName, unknown_names
from masa_node.node.settings.words import check_home, converted, from_text
from masa_node.routing.racing.race import DEFAULT_WIDTH, MAX_WIDTH
from masa_node.upstreams.http.urls import redacted

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "console"]
NetworkSwitch = Literal["auto", "on", "off"]
RaceWord = Literal["all", "hedge"]
PrivacyWord = Literal["local", "trusted", "any"]
StakeWord = Literal["", "off", "prefer", "require"]
UsageWord = Literal["count", "ask", "off"]
OnOff = Literal["on", "off"]

NO_LLM = "none"  # a value of LLM

SECRETS = frozenset(
    {
        *("api_key", "llm_chat_token", "llm_cf_token", "openai_api_key", "anthropic_api_key", "relay_token", "rpc_url"),
        *("https_proxy", "http_proxy", "all_proxy"),
    }
)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of a node. The environment variable is the field's name in capitals."""

    llm_chat_url: Annotated[
        str,
        Meta(
            description="Your LLM server: its base URL (`http://localhost:11434`) or a full chat endpoint "
            "(`.../api/chat`, `.../v1/chat/completions`). Unset: the node looks for Ollama (11434), "
            "LM Studio (1234), vLLM (8000) and llama.cpp (8080) on this machine, and at OLLAMA_HOST. Azure's classic "
            "URLs (`https://NAME.openai.azure.com/openai/deployments/...?api-version=...`) and "
            "`http://user:password@host` work too."
        ),
    ] = ""
    llm: Annotated[
        str,
        Meta(
            description="A model that the node itself serves, by llama.cpp in a process of its own (needs the extra "
            "`masa-node[llm]`): `smollm2`, a small one that `masa-node up` fetches once (93 MB), or the path of a GGUF "
            "file. `none` is none, also in `masa-node demo`."
        ),
    ] = ""
    llm_context: Annotated[
        int,
        Meta(
            description="Context of the model of LLM, in tokens: prompts and answers of all requests together. A small "
            "model takes 23 KB for each token, a large one 100 KB and more.",
            ge=256,
        ),
    ] = 8192
    llm_threads: Annotated[
        int,
        Meta(description="Threads of the model of LLM. Unset: half of the cores, 8 at most.", ge=0, le=1024),
    ] = 0
    llm_chat_token: Annotated[
        str, Meta(description="Key for the server at LLM_CHAT_URL (`Authorization: Bearer`).")
    ] = ""
    llm_cf_url: Annotated[
        str,
        Meta(
            description="Cloudflare Workers AI: `https://api.cloudflare.com/client/v4/accounts/<account>/ai/run`,"
            " or an AI gateway's `.../workers-ai`. The model's name is appended."
        ),
    ] = ""
    llm_cf_token: Annotated[str, Meta(description="API token for LLM_CF_URL.")] = ""
    llm_cf_api_url: Annotated[
        str,
        Meta(
            description="Base of the Cloudflare API that lists models, where it cannot be told from LLM_CF_URL "
            "(`https://api.cloudflare.com/client/v4`)."
        ),
    ] = ""
    openai_api_key: Annotated[str, Meta(description="Put OpenAI's models behind the node.")] = ""
    openai_base_url: Annotated[
        str, Meta(description="Base URL of OpenAI's API, as for its SDK: requests go to `<it>/chat/completions`.")
    ] = "https://api.openai.com/v1"
    anthropic_api_key: Annotated[str, Meta(description="Put Anthropic's models behind the node.")] = ""
    anthropic_base_url: Annotated[str, Meta(description="Base URL of Anthropic's API.")] = "https://api.anthropic.com"
    https_proxy: Annotated[
        str,
        Meta(
            description="HTTP proxy through which https:// servers (LLMs, the chain's RPC) are reached: "
            "`http://user:password@proxy:3128`, `proxy:3128`. A proxy's own scheme is http; socks5:// and https:// "
            "stop the start. As with curl, the lower-case names of these four settings work too, and win."
        ),
    ] = ""
    http_proxy: Annotated[
        str,
        Meta(description="The same for http:// servers. This machine itself is never reached through a proxy."),
    ] = ""
    all_proxy: Annotated[str, Meta(description="The same where HTTPS_PROXY or HTTP_PROXY is not set.")] = ""
    no_proxy: Annotated[
        str,
        Meta(
            description="Servers, comma-separated, that are reached without a proxy: `example.org` (and every name "
            "below it), `10.0.0.0/8`, `gpu-box:11434`, or `*` for all."
        ),
    ] = ""
    ollama_host: Annotated[
        str, Meta(description="Where an Ollama may be (`host:port`); looked at when LLM_CHAT_URL is not set.")
    ] = ""
    masa_config: Annotated[
        str,
        Meta(
            description="A `masa.toml` with several LLM servers. Unset: `masa.toml` in the current folder or in "
            "MASA_DIR, if there."
        ),
    ] = ""
    masa_dir: Annotated[str, Meta(description="Folder where the node keeps its files.")] = "~/.masa"
    demo: Annotated[bool, Meta(description="Also serve the built-in `masa-demo` model.")] = False
    demo_pieces_per_s: Annotated[
        float, Meta(description="Speed of `masa-demo`, in words a second.", gt=0, le=1_000_000)
    ] = 50.0
    find_local: Annotated[
        bool, Meta(description="Look for LLM servers on this machine when LLM_CHAT_URL is not set.")
    ] = True
    host: Annotated[str, Meta(description="Address to listen on. Any other than loopback needs API_KEY.")] = "127.0.0.1"
    port: Annotated[
        int,
        Meta(
            description="Port to listen on; 0 takes a free one. Unset: 8080, or the next free one up to 8089.",
            ge=0,
            le=65535,
        ),
    ] = 8080
    api_key: Annotated[
        str,
        Meta(
            description="Keys, comma-separated, one of which every caller must send (`Authorization: Bearer` or "
            "`x-api-key`)."
        ),
    ] = ""
    allowed_hosts: Annotated[
        str,
        Meta(
            description="Host names, comma-separated, that the node answers for beside localhost, "
            "host.docker.internal, this machine's name and IP addresses. `*.example.org` means every name below it."
        ),
    ] = ""
    allowed_origins: Annotated[
        str,
        Meta(
            description="Origins of web pages, comma-separated, that may use the node beside its own and those on "
            "localhost: `https://chat.example.org`, `https://*.example.org`, `chrome-extension://*`. An entry that "
            "could never match stops the start."
        ),
    ] = ""
    max_body: Annotated[int, Meta(description="Largest request body, bytes.", ge=1)] = 10_000_000
    max_form: Annotated[
        int,
        Meta(
            description="Largest request body where it may be a form with a sound or a picture in it "
            "(`/v1/audio`, `/v1/images`), bytes. MAX_BODY counts where it is more, "
            "MAX_BODIES_TOTAL where it is less. Peers' requests too.",
            ge=1,
        ),
    ] = 26_500_000  # OpenAI takes sounds of 25 MiB; the form around one is small
    max_bodies_total: Annotated[
        int,
        Meta(
            description="Bytes that the bodies of all requests under way may take together; beyond that the largest "
            "ones get 503. At least MAX_BODY.",
            ge=1,
        ),
    ] = 128 * 1024 * 1024  # a body of 250 kB, which is a long prompt, for each of MAX_CONCURRENT and MAX_QUEUE
    max_concurrent: Annotated[int, Meta(description="Chat requests that may be under way at once.", ge=1)] = 256
    max_queue: Annotated[
        int, Meta(description="Chat requests that may wait beyond that; the next ones get 503.", ge=0)
    ] = 256
    llm_timeout: Annotated[
        float,
        Meta(
            description="Seconds until an LLM must have answered, or shown that it works: the head of its answer or a "
            "heartbeat is such a sign. (A whole answer comes with its head; the embedded LLM tells before.)",
            gt=0,
        ),
    ] = 30.0
    llm_idle_timeout: Annotated[
        float,
        Meta(
            description="Seconds of silence allowed after such a sign, and between two pieces of a stream.",
            gt=0,
        ),
    ] = 120.0
    llm_begin_timeout: Annotated[
        float,
        Meta(
            description="Seconds until the first piece of an answer has to be there, whatever signs there were. "
            "LLM_TIMEOUT counts where it is longer.",
            gt=0,
        ),
    ] = 600.0
    llm_refresh: Annotated[float, Meta(description="Seconds between two listings of a server's models.", ge=1)] = 30.0
    network: Annotated[
        NetworkSwitch,
        Meta(
            description="Peers: `auto` is on once this node has anything to do with any (BOOTNODES, DISCOVER_LAN, "
            "OPEN_NETWORK, an invite given or taken, peers remembered in MASA_DIR), `off` never."
        ),
    ] = "auto"
    bootnodes: Annotated[
        str,
        Meta(
            description="Peers to join, comma-separated: `<node id>` or `<node id>@<ip:port>` (`masa-node id` prints "
            "a node's own). They are members of this node's network from then on."
        ),
    ] = ""
    open_network: Annotated[
        bool, Meta(description="Let every node in. Unset: only listed nodes, invited ones, and those they vouch for.")
    ] = False
    discover_lan: Annotated[
        bool, Meta(description="Look for peers on the local network, and be found there (multicast DNS).")
    ] = False
    peer_links: Annotated[
        int, Meta(description="Links with other members at random; up to twice as many are kept.", ge=2, le=112)
    ] = 16
    allow_private_peers: Annotated[
        bool,
        Meta(
            description="Dial loopback and private addresses that peers tell of others. Unset: only those of the kind "
            "of network over which the teller itself is reached."
        ),
    ] = False
    trusted_peers: Annotated[
        str,
        Meta(
            description="Node ids, comma-separated, that may see requests marked `X-Masa-Privacy: trusted`; besides "
            "those marked with `masa-node peers trust`."
        ),
    ] = ""
    node_name: Annotated[str, Meta(description="Name that peers see beside this node's id.", max_length=64)] = ""
    peer_host: Annotated[str, Meta(description="Address to listen on for peers (UDP).")] = "0.0.0.0"  # noqa: S104 - each peer proves its key
    peer_port: Annotated[
        int,
        Meta(
            description="UDP port for peers. Unset: a free one at the first start, the same from then on.",
            ge=0,
            le=65535,
        ),
    ] = 0
    peer_address: Annotated[
        str,
        Meta(
            description="Where peers elsewhere reach this node, if a port was forwarded by hand: `ip:port`. They are "
            "told of it first. Forward that UDP port to PEER_PORT of this machine."
        ),
    ] = ""
    relay_url: Annotated[
        str,
        Meta(
            description="Relay for peers that cannot reach this node directly: the URL of your own iroh relay, or "
            "`public` for those that iroh's makers run. A relay sees only encrypted packets. Unset: none."
        ),
    ] = ""
    relay_token: Annotated[str, Meta(description="Access token for the relay at RELAY_URL.")] = ""
    address_lookup: Annotated[
        bool,
        Meta(description="Publish and look up peers' addresses at the servers of iroh's makers. Unset: never."),
    ] = False
    share: Annotated[
        str,
        Meta(
            description="Which models peers may use: `none`, `local` (those of your own servers, not hosted ones), "
            "`all`, or names with `*`, comma-separated."
        ),
    ] = "local"
    max_peer_jobs: Annotated[int, Meta(description="Peers' requests that may be under way at once.", ge=1)] = 4
    max_peer_queue: Annotated[
        int, Meta(description="Peers' requests that may wait beyond that; the next ones get `busy`.", ge=0)
    ] = 8
    peer_rate: Annotated[int, Meta(description="Requests a minute accepted from one peer.", ge=1)] = 300
    race: Annotated[
        RaceWord,
        Meta(
            description="Which peers are asked when no LLM of this node answers: `all` that serve the model at once, "
            "or `hedge`: the best, and another when it fails. Where it is only slower than usual, another is asked for "
            "at most a tenth of the requests of a minute. A request may say otherwise: `X-Masa-Race`."
        ),
    ] = "all"
    race_width: Annotated[
        int, Meta(description="Peers that are asked at the same time for one request.", ge=1, le=MAX_WIDTH)
    ] = DEFAULT_WIDTH
    privacy: Annotated[
        PrivacyWord,
        Meta(
            description="How far requests may travel: `local` never to a peer, `trusted` only to peers marked so "
            "(TRUSTED_PEERS, `masa-node peers trust`), `any`. A request can only tighten it (`X-Masa-Privacy`)."
        ),
    ] = "any"
    stake_network: Annotated[
        str,
        Meta(
            description="Chain and contract of stakes: a network profile (`sepolia`, a `.toml` file, or its name "
            "in MASA_DIR). Unset: stakes are not checked."
        ),
    ] = ""
    rpc_url: Annotated[
        str,
        Meta(
            description="JSON-RPC servers of the chain, comma-separated, asked in this order, instead of the profile's."
        ),
    ] = ""
    stake_contract: Annotated[str, Meta(description="Address of the staking contract, instead of the profile's.")] = ""
    stake_providers: Annotated[
        StakeWord,
        Meta(
            description="Peers that requests go to: `require` only staked ones, `prefer` those first, `off` any. "
            "Unset: `prefer` with STAKE_NETWORK, `off` without."
        ),
    ] = ""
    stake_callers: Annotated[
        StakeWord,
        Meta(
            description="Peers that are served: `require` only staked ones, `prefer` those first while requests wait, "
            "`off` any. Unset: `prefer` with STAKE_NETWORK, `off` without."
        ),
    ] = ""
    stake_allow: Annotated[
        str,
        Meta(
            description="Node ids, comma-separated, that count as staked here, shown as `allowed`; this node's "
            "own among them if it is to use a network without a stake."
        ),
    ] = ""
    journal: Annotated[
        int, Meta(description="Requests that are remembered with their races, in 64 MB; 0: none.", ge=0, le=MAX_RACES)
    ] = 1_000
    usage: Annotated[
        UsageWord,
        Meta(
            description="`count` requests, tokens and times by day, key, model and provider in MASA_DIR, as "
            "`masa-node usage` shows them, or `off`. `ask` counts, and asks OpenAI's streams how many tokens they take."
        ),
    ] = "count"
    console: Annotated[
        OnOff, Meta(description="The console, the node as pages for a browser at `/console/`; `off`: there is none.")
    ] = "on"
    log_level: Annotated[LogLevel, Meta(description="Lowest severity of the lines to log.")] = "info"
    log_format: Annotated[
        LogFormat,
        Meta(description="`console` for people, `json` for programs, `auto` picks by whether stderr is a terminal."),
    ] = "auto"
    port_is_set: Annotated[bool, Meta(description="(not a setting) was PORT given?")] = False

    def __repr__(self) -> str:
        """Without secrets, so that it may stand in a log or a trace."""
        values = {name: shown_value(name, getattr(self, name)) for name in self.__struct_fields__}
        return f"Settings({values})"


def shown_value(name: str, value: object) -> object:
    """The value of this field as it may stand in a log: no secret, and no user, password or query of a URL."""
    if name in SECRETS:
        return "***" if value else value
    return redacted(value) if isinstance(value, str) and "://" in value else value


def read_settings(environ: Mapping[str, str] | None = None, dotenv: Path = Path(".env")) -> Settings:
    """The settings: the environment wins over `.env`; what is set to nothing counts as not set.

    Raises `ConfigurationError` naming the variable and what it may be.
    """
    given = given_names(os.environ if environ is None else environ, dotenv, Settings.__struct_fields__)
    values: dict[str, object] = {"port_is_set": bool(given.get("PORT", "").strip())}
    for field in msgspec.structs.fields(Settings):
        if (name := field.name) != "port_is_set" and (text := given.get(name.upper(), "").strip()):
            values[name] = from_text(name, text, field.type, is_secret=name in SECRETS)
    settings = msgspec.convert(values, Settings)
    check_home("MASA_DIR", settings.masa_dir)
    return settings


def check_settings(settings: Settings) -> None:
    """Those that a program gives are held to the same bounds. Raises `ConfigurationError` as `read_settings`."""
    for field in msgspec.structs.fields(Settings):
        converted(field.name, getattr(settings, field.name), field.type, is_secret=field.name in SECRETS)
    check_home("MASA_DIR", settings.masa_dir)


def unknown_settings(
    environ: Mapping[str, str] | None = None, dotenv: Path = Path(".env"), used: Iterable[str] = ()
) -> list[UnknownName]:
    """Names that look like settings and are none, in `.env` and in the environment. Raises as `read_settings`."""
    known = [field.name.upper() for field in msgspec.structs.fields(Settings)]
    return unknown_names(known, read_dotenv(dotenv), str(dotenv), os.environ if environ is None else environ, used)
