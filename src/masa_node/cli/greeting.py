"""What `up` and `demo` print while the node starts."""

import json

import msgspec

from masa_node.node.compose import Node
from masa_node.upstreams.roster import Listed

MAX_SHOWN_MODELS = 12
ID_CHARS = 10  # of a node's id, as the other commands show it


class GreetPrograms:
    """One line of JSON for each event."""

    def listening(self, address: str, node: Node) -> None:
        """See `Announce`."""
        upstreams = [{"name": provider.name, "place": provider.place} for provider in node.roster.providers]
        _print_line({"event": "listening", "address": address, "upstreams": upstreams})

    def settled(self, address: str, node: Node) -> None:
        """See `Announce`."""
        states = [{"name": name, "kind": kind, "up": is_up} for name, kind, is_up in node.states()]
        _print_line(
            {
                "event": "settled",
                "address": address,
                "upstreams": states,
                "models": _models(node),
                "node_id": node.node_id or None,
                "staking": node.staking_line,
            }
        )


class GreetPeople:
    """The address, what is behind it, and a command to try."""

    def listening(self, address: str, node: Node) -> None:
        """See `Announce`."""
        print(f"Masa Node listens on {address}", flush=True)
        if not node.roster.providers and node.settings.find_local:
            print("Looking for LLM servers on this machine (LLM_CHAT_URL is not set) ...", flush=True)

    def settled(self, address: str, node: Node) -> None:
        """See `Announce`."""
        models = _models(node)
        for provider in node.roster.providers:
            print(f"  {_state(node, provider)}")
        if not node.roster.providers:
            _tell_nothing_behind(node)
        if models:
            more = f" and {len(models) - MAX_SHOWN_MODELS} more" if len(models) > MAX_SHOWN_MODELS else ""
            print(f"  Models: {', '.join(models[:MAX_SHOWN_MODELS])}{more}")
        if node.node_id:
            print(f"  Peers: this node is {node.node_id[:ID_CHARS]} on its network; `masa-node peers` shows the others")
        print(f"  Staking: {node.staking_line}")
        print(f"\nOpenAI clients: base URL {address}/v1   Anthropic and Ollama clients: {address}")
        if models:
            print("Try it:")
            print(f"  curl {address}/api/v1/llm/models")
            print(f"  curl -N {address}/v1/chat/completions -d '{_body(models[0])}'")
        else:
            print("No model can be asked yet; `masa-node models` lists them once there are some.")
        print("Ctrl+C stops it.", flush=True)


def _tell_nothing_behind(node: Node) -> None:
    if node.settings.find_local:
        print("  No LLM server found. Start one (Ollama, LM Studio, vLLM, llama.cpp), or set LLM_CHAT_URL;")
    else:
        print("  No LLM server is behind it. Set LLM_CHAT_URL, or FIND_LOCAL=1 to look for one on this machine;")
    print("  `masa-node demo` needs none; `masa-node join LINK` brings a friend's models here.")


def _models(node: Node) -> list[str]:
    return [offer.model for _, offer in node.catalog.all_offers()]


def _state(node: Node, provider: Listed) -> str:
    count = sum(1 for owner, _ in node.catalog.all_offers() if owner is provider)
    if node.roster.is_up(provider):
        return f"{provider.place}: {provider.label}, {count} model{'' if count == 1 else 's'}"
    return f"{provider.place}: not reached; the node keeps trying"


def _body(model: str) -> str:
    messages = [{"role": "user", "content": "Hello"}]
    return json.dumps({"model": model, "messages": messages, "stream": True}).replace("'", "'\\''")


def _print_line(value: object) -> None:
    print(msgspec.json.encode(value).decode(), flush=True)
