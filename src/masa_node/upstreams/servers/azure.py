"""One deployment of Azure OpenAI, by its classic URL: the model is in the path, the key in `api-key`."""

from masa_node.chat.offer import ModelOffer
from masa_node.chat.request import Door, Headers
from masa_node.upstreams.servers.server import Http, NoListing

_PATHS = {
    Door.NATIVE: "/chat/completions",
    Door.OPENAI_CHAT: "/chat/completions",
    Door.OPENAI_COMPLETIONS: "/completions",
    Door.OPENAI_EMBEDDINGS: "/embeddings",
}


class AzureServer:
    """The deployment at `base` (`https://x.openai.azure.com/openai/deployments/NAME`)."""

    label = "Azure OpenAI"
    native = Door.OPENAI_CHAT
    was_seen = False

    def __init__(self, base: str, key: str) -> None:
        self._base = base
        self._key = key

    def target(self, door: Door, model: str) -> str | None:
        """See `Server`."""
        del model
        path = _PATHS.get(door)
        return self._base + path if path else None

    def credentials(self) -> Headers:
        """See `Server`."""
        return (("api-key", self._key),) if self._key else ()

    def doors(self) -> frozenset[Door]:
        """See `Server`."""
        return frozenset(_PATHS)

    def probe_url(self) -> str:
        """See `Server`."""
        return f"{self._base}/chat/completions"

    async def list_models(self, http: Http) -> list[ModelOffer]:
        """See `Server`. Azure lists models that could be deployed, not the deployments."""
        del http
        raise NoListing("Azure lists no deployments.")
