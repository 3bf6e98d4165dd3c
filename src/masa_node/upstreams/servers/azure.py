"""One deployment of Azure OpenAI, by its classic URL: the model is in the path, the key in `api-key`."""

from masa_node.chat.offer import ModelOffer
from masa_node.chat.request import Endpoint, Headers
from masa_node.upstreams.servers.server import FixedPaths, Http, NoListing

_PATHS = {
    Endpoint.NATIVE: "/chat/completions",
    Endpoint.OPENAI_CHAT: "/chat/completions",
    Endpoint.OPENAI_COMPLETIONS: "/completions",
    Endpoint.OPENAI_EMBEDDINGS: "/embeddings",
    Endpoint.OPENAI_IMAGES: "/images/generations",
    Endpoint.OPENAI_IMAGE_EDITS: "/images/edits",
    Endpoint.OPENAI_SPEECH: "/audio/speech",
    Endpoint.OPENAI_TRANSCRIPTIONS: "/audio/transcriptions",
    Endpoint.OPENAI_TRANSLATIONS: "/audio/translations",
}


class AzureServer(FixedPaths):
    """The deployment at `base` (`https://x.openai.azure.com/openai/deployments/NAME`)."""

    label = "Azure OpenAI"
    native = Endpoint.OPENAI_CHAT

    def __init__(self, base: str, key: str) -> None:
        super().__init__(base, key, _PATHS)

    def credentials(self, endpoint: Endpoint | None = None) -> Headers:
        """See `Server`."""
        del endpoint
        return (("api-key", self.key),) if self.key else ()

    async def list_models(self, http: Http) -> list[ModelOffer]:
        """See `Server`. Azure lists models that could be deployed, not the deployments."""
        del http
        raise NoListing("Azure lists no deployments.")
