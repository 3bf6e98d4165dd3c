"""The LLM servers that the settings name, and what their vendors charge."""

from collections.abc import Sequence

from masa_node.accounts.prices import Prices
from masa_node.chat.errors import ConfigurationError
from masa_node.node.settings.config_file import upstreams_in_file
from masa_node.node.settings.environment import NO_LLM, Settings
from masa_node.upstreams.http.urls import ollama_url
from masa_node.upstreams.spec import UpstreamKind, UpstreamSpec, check_spec


def upstream_specs(settings: Settings) -> list[UpstreamSpec]:
    """The LLM servers that the settings name, in the order in which they are asked. Raises `ConfigurationError`."""
    specs = upstreams_in_file(settings)
    if url := ollama_url(settings.ollama_host):
        check_spec(UpstreamSpec("ollama", UpstreamKind.AUTO, url), "OLLAMA_HOST")  # where it is looked for
    if settings.llm_chat_url:
        specs.append(
            check_spec(
                UpstreamSpec("llm", UpstreamKind.AUTO, settings.llm_chat_url, settings.llm_chat_token), "LLM_CHAT_URL"
            )
        )
    if settings.llm_cf_url:
        spec = UpstreamSpec(
            "cloudflare",
            UpstreamKind.CLOUDFLARE,
            settings.llm_cf_url,
            settings.llm_cf_token,
            hosted=True,
            api_url=settings.llm_cf_api_url,
        )
        specs.append(check_spec(spec, "LLM_CF_URL"))
    if settings.openai_api_key:
        spec = UpstreamSpec(
            "openai", UpstreamKind.OPENAI, settings.openai_base_url, settings.openai_api_key, hosted=True
        )
        specs.append(check_spec(spec, "OPENAI_BASE_URL"))
    if settings.anthropic_api_key:
        spec = UpstreamSpec(
            "anthropic", UpstreamKind.ANTHROPIC, settings.anthropic_base_url, settings.anthropic_api_key, hosted=True
        )
        specs.append(check_spec(spec, "ANTHROPIC_BASE_URL"))
    if settings.llm and settings.llm != NO_LLM:
        specs.append(UpstreamSpec("embedded", UpstreamKind.EMBEDDED, settings.llm))
    if settings.demo:
        specs.append(UpstreamSpec("demo", UpstreamKind.DEMO, ""))
    _check_names(specs)
    return specs


def prices_of(settings: Settings) -> Prices:
    """Those of the vendors of these servers. Raises `ConfigurationError`."""
    return Prices({spec.name: spec.url for spec in upstream_specs(settings)})


def _check_names(specs: Sequence[UpstreamSpec]) -> None:
    names = [spec.name for spec in specs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigurationError(f"Two LLM servers have the same name: {', '.join(twice)}. Rename one in masa.toml.")
