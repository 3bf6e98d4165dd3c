"""What a 404 means: is the model not there, or the endpoint? Pure.

An error about the model names it, or says "model". One about the path says "not found" and no more, names the path, or
is a page of a web server. What is neither is left to the caller as the LLM said it. LM Studio says so with status 200,
which `dialects/faults.py` reads as the 404 that it is.
"""

import re
from urllib.parse import urlsplit

from masa_node.chat.errors import ErrorAnswer
from masa_node.dialects.faults import says_no_endpoint

OK, BAD_REQUEST, NOT_FOUND, NOT_ALLOWED, NOT_IMPLEMENTED = 200, 400, 404, 405, 501
NO_SUCH_PATH = (NOT_FOUND, NOT_ALLOWED, NOT_IMPLEMENTED)
MIN_NAME_CHARS = 3  # shorter names are found in any text
_MAX_SAID_BYTES = 4 * 1024  # of an answer that says no more than that
# FastAPI, llama.cpp, Azure, Spring: nothing but the status in words.
_GENERIC = re.compile(
    rb'"\s*(?:(?:file|page|resource|path|route|endpoint|url|method) )?not (?:found|allowed)\.?\s*"', re.IGNORECASE
)
# Cloudflare's API: "No route for that URI", "Could not route to ..."; with 400 or 404, and without the path.
_NO_ROUTE = re.compile(rb'"code"\s*:\s*700[03]\b')
_OF_MASA = re.compile(rb"There is no '[^']{1,2000}' here\. Known paths: ")  # a Masa node's, which names `/v1/models`
_ABOUT_MODELS = (b"model", b"deployment")


def is_of_the_path(error: ErrorAnswer, url: str, model: str) -> bool:
    """Does this answer say that there is no such endpoint, and nothing about the model?"""
    body = error.body.lower()
    path = urlsplit(url).path.lower().encode()
    if error.status == BAD_REQUEST:  # as some gateways say it; of a 400 the path has to be named
        return bool(_NO_ROUTE.search(body)) or (path in body and says_no_endpoint(error.body))
    if error.status not in NO_SUCH_PATH:
        return False
    name = model.lower().encode()
    if any(word in body for word in _ABOUT_MODELS) or (len(name) >= MIN_NAME_CHARS and name in body):
        return bool(_OF_MASA.search(error.body))
    if not error.is_json or says_no_endpoint(error.body):
        return True
    if error.status == NOT_IMPLEMENTED:  # llama.cpp says so of what it was started without, in words of use
        return False
    return body.strip() == b"{}" or bool(_GENERIC.search(body)) or path in body


def looks_missing(status: int, body: bytes) -> bool:
    """Is this the answer to an empty request where no endpoint is?"""
    if status in NO_SUCH_PATH:
        return bool(_OF_MASA.search(body)) or not any(word in body.lower() for word in _ABOUT_MODELS)
    return status in (OK, BAD_REQUEST) and len(body) <= _MAX_SAID_BYTES and says_no_endpoint(body)
