"""What vendors charge, by the list prices of genai-prices: an optional extra (`masa-node[prices]`), which asks nobody.

The one file that knows it. It is imported when a price is wanted for the first time: 0.2 s, 30 MB.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.util import find_spec

from masa_node.accounts.report import Used
from masa_node.accounts.usage import DAY_S
from masa_node.chat.errors import ConfigurationError
from masa_node.storage.extras import how_to_add

_PACKAGE = "genai_prices"


def has_prices() -> bool:
    """Is the extra installed?"""
    return find_spec(_PACKAGE) is not None


def need_prices() -> None:
    """Raises `ConfigurationError` when it is not."""
    if not has_prices():
        raise ConfigurationError(f"Costs need one more package: {how_to_add('prices')}")


class Prices:
    """`urls` says where each LLM server is, by its name: whose prices hold is seen by that. See `report.Price`."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = urls

    def __call__(self, used: Used) -> float | None:
        """In US dollars, by the prices of that day; None for what has no list price. May be called in any thread.

        Some prices depend on how long a prompt is: that of the mean request counts. Not by `genai_prices.calc_price`:
        it remembers every model that it is asked for, and names of models may be strangers' inventions.
        """
        from genai_prices import Usage  # noqa: PLC0415 - optional, and large
        from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - the same

        url = None if used.is_peer else self._urls.get(used.provider)
        if not url or not used.requests:
            return None
        mean = Usage(input_tokens=used.input_tokens / used.requests, output_tokens=used.output_tokens / used.requests)
        day = datetime.fromtimestamp(used.day * DAY_S, UTC)
        try:
            vendors = get_snapshot()
            vendor = vendors.find_provider(None, None, url)
            model = vendor.find_model(used.model, all_providers=vendors.providers)
            price = model.calc_price(mean, vendor, genai_request_timestamp=day) if model is not None else None
        except (LookupError, ValueError):
            return None
        return float(price.total_price) * used.requests if price is not None else None
