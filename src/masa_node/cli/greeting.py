"""What `up` and `demo` print when the node listens."""

import msgspec

from masa_node.node.compose import Node


def greet_json(address: str, node: Node) -> None:
    """One line of JSON."""
    upstreams = [{"name": provider.name, "place": provider.place} for provider in node.roster.providers]
    print(msgspec.json.encode({"event": "listening", "address": address, "upstreams": upstreams}).decode(), flush=True)


def greet(address: str, node: Node) -> None:
    """The address, what is behind it, and a command to try."""
    places = [provider.place for provider in node.roster.providers]
    model = "masa-demo" if node.settings.demo else "MODEL"
    body = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}], "stream": true}}'
    print(f"Masa Node listens on {address}")
    print(f"  behind it: {', '.join(places) if places else 'nothing yet; looking for LLM servers on this machine'}")
    print(f"  models:    curl {address}/api/v1/llm/models")
    print(f"  OpenAI:    base URL {address}/v1     Anthropic, Ollama: {address}")
    print("  try it:")
    print(f"    curl -N {address}/v1/chat/completions -d '{body}'")
    print("  Ctrl+C stops it.", flush=True)
