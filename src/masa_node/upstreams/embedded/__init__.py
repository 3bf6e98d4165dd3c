"""An LLM that the node brings itself.

Primitives: `llm.EmbeddedLlm`, `model` (which file), `fetch` (how it comes here), `process` and the `program` in it.
"""
