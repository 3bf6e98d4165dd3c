"""Whose fault is a 404: is the model not there, or the endpoint? Pure.

An error about the model names it, or says "model". One about the path says "not found" and no more, names the path, or
is a page of a web server. What is neither is left to the caller as the LLM said it.
"""

import re
from urllib.parse import urlsplit

from masa_node.chat.errors import ErrorAnswer

NOT_FOUND, NOT_ALLOWED, NOT_IMPLEMENTED = 404, 405, 501
MIN_NAME_CHARS = 3  # shorter names are found in any text
# FastAPI, llama.cpp, Azure, Spring: nothing but the status in words.
_GENERIC = re.compile(
    rb'"\s*(?:(?:file|page|resource|path|route|endpoint|url|method) )?not (?:found|allowed)\.?\s*"', re.IGNORECASE
)
_ABOUT_MODELS = (b"model", b"deployment")


def is_of_the_path(error: ErrorAnswer, url: str, model: str) -> bool:
    """Does this answer say that there is no such endpoint, and nothing about the model?"""
    if error.status not in (NOT_FOUND, NOT_ALLOWED):
        return False
    body = error.body.lower()
    name = model.lower().encode()
    if any(word in body for word in _ABOUT_MODELS) or (len(name) >= MIN_NAME_CHARS and name in body):
        return False
    path = urlsplit(url).path.lower().encode()
    return not error.is_json or body.strip() == b"{}" or bool(_GENERIC.search(body)) or path in body


def looks_missing(status: int, body: bytes) -> bool:
    """Is this the answer to an empty request where no endpoint is?"""
    return status in (NOT_FOUND, NOT_ALLOWED, NOT_IMPLEMENTED) and not any(
        word in body.lower() for word in _ABOUT_MODELS
    )
