"""LangChain's standard tests for its clients, against whatever is at MASA_TRY_URL. Run by `tools.try_langchain`."""

import os
from typing import Any, ClassVar

import httpx
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests


class _Fetched:
    """What the tests look up on the web, a picture and a file: some bytes, so that they need no web."""

    content = b"some bytes"


httpx.get = lambda *_, **__: _Fetched()  # type: ignore[assignment]
URL = os.environ["MASA_TRY_URL"]
MODEL = os.environ["MASA_TRY_MODEL"]


class _Standard(ChatModelIntegrationTests):
    client: type[BaseChatModel]
    parameters: ClassVar[dict[str, Any]]

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return self.client

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": MODEL, **self.parameters}

    @property
    def supports_image_inputs(self) -> bool:
        return True

    @property
    def supports_image_tool_message(self) -> bool:
        return True

    @property
    def supports_pdf_inputs(self) -> bool:
        return self.client is not ChatOllama

    @property
    def supports_json_mode(self) -> bool:
        return self.client is not ChatAnthropic

    @property
    def model_override_value(self) -> str:
        return MODEL


class TestChat(_Standard):
    """ChatOpenAI by chat completions."""

    client = ChatOpenAI
    parameters: ClassVar = {"base_url": f"{URL}/v1", "api_key": "unused", "stream_usage": True}


class TestResponses(_Standard):
    """ChatOpenAI by responses."""

    client = ChatOpenAI
    parameters: ClassVar = {"base_url": f"{URL}/v1", "api_key": "unused", "use_responses_api": True}


class TestAnthropic(_Standard):
    """ChatAnthropic."""

    client = ChatAnthropic
    parameters: ClassVar = {"base_url": URL, "api_key": "unused"}

    @property
    def supports_anthropic_inputs(self) -> bool:
        """It takes them."""
        return True


class TestOllama(_Standard):
    """ChatOllama."""

    client = ChatOllama
    parameters: ClassVar = {"base_url": URL}


del _Standard, ChatModelIntegrationTests
