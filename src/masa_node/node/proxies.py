"""The proxies that the settings name, and whether the node can use them for what it will ask."""

from collections.abc import Iterable

from masa_node.node.settings.environment import Settings
from masa_node.node.settings.stake import read_stake_settings
from masa_node.upstreams.http.proxies import PROXY_NAMES, Proxies
from masa_node.upstreams.http.urls import ollama_url
from masa_node.upstreams.spec import UpstreamSpec


def read_proxies(settings: Settings) -> Proxies:
    """What HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY say."""
    return Proxies({name: getattr(settings, name.lower()) for name in PROXY_NAMES})


def check_proxies(proxies: Proxies, settings: Settings, specs: Iterable[UpstreamSpec]) -> None:
    """Raises `ConfigurationError` if one of these LLM servers, or the chain, is behind a proxy of an unusable kind."""
    profile = read_stake_settings(settings).profile
    urls = [url for spec in specs for url in (spec.url, spec.api_url)]
    urls += [ollama_url(settings.ollama_host) or "", *(profile.rpc_urls if profile is not None else ())]
    proxies.check(urls)
