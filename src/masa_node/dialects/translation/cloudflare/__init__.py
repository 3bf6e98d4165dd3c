"""Cloudflare Workers AI's native run."""
