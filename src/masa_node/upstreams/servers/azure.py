"""One deployment of Azure OpenAI, by its classic URL: the model is in the path, the key in `api-key`."""

from masa_node.chat.offer import ModelOffer
from masa_node.chat.request import Endpoint
from masa_node.upstreams.access import Access
from masa_node.upstreams.servers.openai import OpenAiServer
from masa_node.upstreams.servers.server import NoListing

_NOT_THERE = (
    Endpoint.OPENAI_RESPONSES,
    Endpoint.OPENAI_RERANK,
    Endpoint.OPENAI_MODERATIONS,
    Endpoint.OPENAI_IMAGE_VARIATIONS,
)


class AzureServer(OpenAiServer):
    """The deployment at `base` (`https://x.openai.azure.com/openai/deployments/NAME`)."""

    def __init__(self, base: str, key: str) -> None:
        super().__init__((base,), key, label="Azure OpenAI")
        self.paths = {endpoint: path for endpoint, path in self.paths.items() if endpoint not in _NOT_THERE}

    async def list_models(self, http: Access) -> list[ModelOffer]:
        """See `Server`. Azure lists models that could be deployed, not the deployments."""
        del http
        raise NoListing("Azure lists no deployments.")
