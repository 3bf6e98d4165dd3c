"""Ollama's own chat and generate, and its embeddings."""
