"""A misspelt setting is named with the one that was meant; other programs' variables are left alone."""

from pathlib import Path

import pytest

from masa_node.chat.errors import ConfigurationError
from masa_node.node.settings.config_file import key_variables, upstreams_in_file
from masa_node.node.settings.docs import setting_docs
from masa_node.node.settings.environment import Settings, unknown_settings
from tests.cli.test_main import run

FOREIGN = """
PATH HOME USER LANG TERM SHELL EDITOR PAGER HOSTNAME LOGNAME DISPLAY PWD OLDPWD SHLVL MAIL TZ LC_ALL LS_COLORS
SSH_AUTH_SOCK XDG_RUNTIME_DIR DBUS_SESSION_BUS_ADDRESS VIRTUAL_ENV PYTHONPATH PYTHONUNBUFFERED NODE_ENV
NODE_PATH HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY OLLAMA_HOST OLLAMA_MODELS OPENAI_ORG_ID OPENAI_API_BASE
ANTHROPIC_MODEL ANTHROPIC_AUTH_TOKEN HF_TOKEN CUDA_VISIBLE_DEVICES AWS_REGION KUBERNETES_PORT POSTGRES_HOST
REDIS_PORT DATABASE_URL SECRET_KEY GITHUB_TOKEN CI DEBUG LOGS PORTS HOSTS DEMOS MASA_REAL_REQUIRED RUST_LOG
INVOCATION_ID JOURNAL_STREAM MAX_JOBS LLM_MODEL PEER_ID TRACE_LEVEL
""".split()  # noqa: SIM905 - the list would have sixty lines


def unknown(
    environ: dict[str, str], text: str = "", folder: Path = Path("/nowhere"), used: tuple[str, ...] = ()
) -> dict[str, str]:
    dotenv = folder / ".env"
    if text:
        dotenv.write_text(text)
    return {each.name: each.nearest for each in unknown_settings(environ, dotenv, used)}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ALOWED_ORIGINS", "ALLOWED_ORIGINS"),
        ("ALLOWED_ORIGIN", "ALLOWED_ORIGINS"),
        ("API_KEYS", "API_KEY"),
        ("LLM_CHAT_URI", "LLM_CHAT_URL"),
        ("LLM_URL", "LLM_CF_URL"),
        ("llm_chat_url", "LLM_CHAT_URL"),
        ("BOOT_NODES", "BOOTNODES"),
        ("PROT", "PORT"),
        ("STAKE_PROVIDER", "STAKE_PROVIDERS"),
        ("MASA_SOMETHING", ""),
    ],
)
def test_a_name_of_the_file_that_looks_like_a_setting_is_named(tmp_path: Path, name: str, meant: str) -> None:
    assert unknown({}, f"{name}=x\nDATABASE_URL=y\nPORT=1\n", tmp_path) == {name: meant}


@pytest.mark.parametrize(
    ("name", "meant"),
    [("ALOWED_ORIGINS", "ALLOWED_ORIGINS"), ("LLM_CHAT_URLS", "LLM_CHAT_URL"), ("API_KEYS", "API_KEY")],
)
def test_in_the_environment_only_what_is_nearly_one_is(name: str, meant: str) -> None:
    assert unknown({name: "x", "MASA_SOMETHING": "x"}) == {name: meant}


def test_variables_of_other_programs_are_left_alone() -> None:
    assert unknown(dict.fromkeys(FOREIGN, "x")) == {}


def test_proxies_are_known_in_either_case(tmp_path: Path) -> None:
    names = [f"{kind}_PROXY" for kind in ("HTTP", "HTTPS", "ALL", "NO", "FTP", "RSYNC", "SOCKS")]
    both = [*names, *(name.lower() for name in names)]
    assert unknown(dict.fromkeys(both, "x"), "".join(f"{name}=x\n" for name in both), tmp_path) == {}
    assert unknown({"HTPS_PROXY": "x"}) == {"HTPS_PROXY": "HTTPS_PROXY"}


def test_settings_themselves_and_what_they_refer_to_are_known(tmp_path: Path) -> None:
    settings = "".join(f"{doc.name}=x\n" for doc in setting_docs())
    assert unknown({"API_KEYS": "x"}, settings + "LLM_KEY=x\n", tmp_path, used=("API_KEYS", "LLM_KEY")) == {}


def test_any_text_may_stand_there(tmp_path: Path) -> None:
    assert unknown({"": "x", "ü" * 9_999: "x", "A" * 100_000: "x"}, "=x\n!!\nLLM_" + "X" * 5_000 + "=1\n", tmp_path)


def test_they_are_told_at_the_start_and_stop_nothing(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("ALOWED_ORIGINS=https://a.example\nDATABASE_URL=x\nPORT=-1\n")
    assert "PORT" in run("up", folder=tmp_path).stderr  # still an error
    (tmp_path / ".env").write_text("ALOWED_ORIGINS=https://a.example\nDATABASE_URL=x\nHOST=192.0.2.77\n")
    told = run("up", folder=tmp_path, API_KEY="k", PORT="0").stderr  # an address that this machine has not: it ends
    assert '"name":"ALOWED_ORIGINS","location":".env","hint":"did you mean ALLOWED_ORIGINS?"' in told
    assert "DATABASE_URL" not in told


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[[upstream]]\nname="a"\nulr="http://a:1"\n', "upstream number 1: unknown field `ulr`. Did you mean `url`?"),
        ('[[upstreams]]\nname="a"\n', "unknown field `upstreams`. Did you mean `upstream`?"),
        ('[[upstream]]\nname="a"\ntemperature=1\n', "There are: name, url, kind"),
    ],
)
def test_an_unknown_key_of_masa_toml_is_an_error_with_the_one_that_was_meant(
    tmp_path: Path, text: str, says: str
) -> None:
    (tmp_path / "masa.toml").write_text(text)
    with pytest.raises(ConfigurationError) as refused:
        upstreams_in_file(Settings(masa_config=str(tmp_path / "masa.toml")))
    assert says in refused.value.message


def test_the_variables_that_masa_toml_takes_keys_from_are_known(tmp_path: Path) -> None:
    (tmp_path / "masa.toml").write_text('[[upstream]]\nname="a"\nurl="http://a:1"\nkey_env="LLM_KEY_OF_A"\n')
    assert key_variables(Settings(masa_config=str(tmp_path / "masa.toml"))) == ["LLM_KEY_OF_A"]
