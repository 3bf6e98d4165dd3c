"""Covers: `docs`."""

from pathlib import Path

import pytest

from masa_node.chat.errors import ConfigurationError
from masa_node.node.settings.docs import setting_docs
from masa_node.node.settings.environment import Settings, check_settings, read_settings


def read(environ: dict[str, str], dotenv: Path = Path("/nowhere/.env")) -> Settings:
    return read_settings(environ, dotenv)


def test_nothing_set_gives_the_defaults() -> None:
    settings = read({})
    assert settings == Settings()
    assert (settings.host, settings.port, settings.port_is_set) == ("127.0.0.1", 8080, False)
    assert (settings.llm_timeout, settings.llm_idle_timeout, settings.max_body) == (30.0, 120.0, 10_000_000)


def test_the_environment_wins_over_the_dotenv_file(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("PORT=1111\nLLM_CHAT_URL='http://a:1'  # mine\nexport LLM_CF_TOKEN=$not_expanded\n")
    settings = read({"PORT": "2222"}, dotenv)
    assert (settings.port, settings.llm_chat_url, settings.llm_cf_token) == (2222, "http://a:1", "$not_expanded")


def test_what_is_set_to_nothing_counts_as_not_set() -> None:
    assert read({"PORT": " ", "LLM_TIMEOUT": ""}) == Settings()


def test_a_port_that_was_given_is_known_to_be_given() -> None:
    assert read({"PORT": "8080"}).port_is_set


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "70000"),
        ("PORT", "-1"),
        ("MAX_BODY", "10MB"),
        ("MAX_CONCURRENT", "0"),
        ("LLM_TIMEOUT", "0"),
        ("LLM_TIMEOUT", "soon"),
        ("LLM_TIMEOUT", "nan"),
        ("LLM_REFRESH", "0.1"),
        ("DEMO", "perhaps"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_the_settings_name(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name}: '{value}' is not valid"):
        read({name: value})


@pytest.mark.parametrize(
    ("text", "value"), [("1", True), ("true", True), ("True", True), ("0", False), ("false", False)]
)
def test_a_switch_is_read_as_people_write_it(text: str, value: bool) -> None:  # noqa: FBT001
    assert read({"DEMO": text}).demo is value


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("RACE", "first", "It may be all or hedge."),
        ("DEMO", "perhaps", "It may be 1 or 0."),
        ("PORT", "-1", "most 65535."),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_those_that_do(name: str, value: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read({name: value})
    assert caught.value.message.endswith(says)


def test_a_log_level_may_be_in_capitals() -> None:
    assert read({"LOG_LEVEL": "DEBUG"}).log_level == "debug"


def test_secrets_are_not_in_the_representation() -> None:
    names = [doc.name for doc in setting_docs() if doc.is_secret]
    shown = repr(read({name: f"secret-{name}" for name in names}))
    assert names
    assert "secret-" not in shown
    assert "***" in shown


def test_a_dotenv_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_bytes(b"PORT=\xff\xfe")
    with pytest.raises(ConfigurationError, match=r"\.env cannot be read"):
        read({}, dotenv)


def test_every_setting_is_described() -> None:
    docs = setting_docs()
    assert [doc.name for doc in docs if not doc.about or not doc.kind] == []
    assert len(docs) == len(Settings.__struct_fields__) - 1  # all but `port_is_set`


def test_a_policy_that_may_be_unset_is_described_by_its_words_alone() -> None:
    kinds = {doc.name: doc.kind for doc in setting_docs()}
    assert kinds["STAKE_CALLERS"] == r"off \| prefer \| require"
    with pytest.raises(ConfigurationError, match=r"'some' is not valid\. It may be off or prefer or require\.$"):
        read({"STAKE_CALLERS": "some"})


def test_a_proxy_may_be_in_lower_case_and_in_the_dotenv_file(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("https_proxy=http://file:1\nNO_PROXY=one\nALL_PROXY=http://file:2\n")
    settings = read({"HTTPS_PROXY": "http://shell:1", "no_proxy": "two", "NO_PROXY": "three", "all_proxy": ""}, dotenv)
    assert (settings.https_proxy, settings.no_proxy, settings.all_proxy) == ("http://shell:1", "two", "")
    assert read({}, dotenv).https_proxy == "http://file:1"


def test_a_proxy_is_shown_without_its_password() -> None:
    settings = read({"http_proxy": "me:hunter2@proxy:1", "ALL_PROXY": "me:hunter2@proxy:1"})
    assert settings.http_proxy == settings.all_proxy == "me:hunter2@proxy:1"
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"llm_timeout": -5}, "LLM_TIMEOUT: -5 is not valid"),
        ({"llm_idle_timeout": float("nan")}, "LLM_IDLE_TIMEOUT: nan is not valid"),
        ({"port": "8080"}, "PORT: '8080' is not valid. It is a whole number, at least 0, at most 65535."),
        ({"race": "first"}, "It may be all or hedge."),
        ({"max_body": 0}, "MAX_BODY: 0 is not valid"),
        ({"api_key": 17}, "API_KEY: its value is not valid"),
        ({"demo": None}, "DEMO: None is not valid"),
    ],
)
def test_what_a_program_gives_is_held_to_the_same_bounds(given: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_settings(Settings(**given))  # type: ignore[arg-type]
    assert says in caught.value.message
    check_settings(Settings(llm_timeout=5, port=0))
