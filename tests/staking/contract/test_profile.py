import os
import stat
import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.chat.errors import ConfigurationError
from masa_node.staking.contract.profile import BlockTag, Profile, Shape, load_profile, with_overrides, write_profile
from masa_node.staking.ethereum.crypto import Address, address_of

CONTRACT = Address("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed")  # EIP-55's own example
PROFILE = Profile("mine", 31337, ("http://127.0.0.1:8545",), CONTRACT)

profiles = st.builds(
    Profile,
    name=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=64),
    chain_id=st.integers(1, (1 << 63) - 1),
    rpc_urls=st.lists(
        st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=50).map(lambda t: f"https://a.b/{t}"),
        max_size=8,
    ).map(tuple),
    contract=st.binary(min_size=20, max_size=20).filter(any).map(address_of),
    shape=st.sampled_from(Shape),
    block_tag=st.sampled_from(BlockTag),
    max_head_age_s=st.none() | st.floats(0.001, 604_800),
    fresh_s=st.floats(0.1, 3600),
    symbol=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=16),
    decimals=st.integers(0, 36),
)


def written(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_profile(written(folder, text), folder)
    assert str(folder / "mine.toml") in caught.value.message
    return caught.value.message


@given(profile=profiles)
def test_what_is_written_is_read_again_the_same(profile: Profile, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "roundtrip.toml"
    write_profile(profile, path)
    assert load_profile(str(path), path.parent) == profile


def test_a_profile_may_come_from_an_editor_of_windows(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    write_profile(PROFILE, path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert load_profile(str(path), tmp_path) == PROFILE


def test_a_written_profile_is_its_owner_s_alone_and_replaces_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("old")
    path.chmod(0o644)
    write_profile(PROFILE, path)
    assert tomllib.loads(path.read_text())["contract"] == CONTRACT
    assert os.name == "nt" or stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_profile_is_found_by_name_in_the_folder_and_by_path(tmp_path: Path) -> None:
    write_profile(PROFILE, tmp_path / "mine.toml")
    assert load_profile("mine", tmp_path) == PROFILE
    assert load_profile(str(tmp_path / "mine.toml"), Path("/nowhere")) == PROFILE


def test_few_fields_are_enough(tmp_path: Path) -> None:
    read = load_profile(written(tmp_path, "chain_id = 5\n"), tmp_path)
    assert (read.name, read.shape, read.block_tag, read.decimals) == ("mine", Shape.MASA_NODE, BlockTag.LATEST, 18)
    assert load_profile(written(tmp_path, "chain_id = 5\nmax_head_age_s = 0"), tmp_path).max_head_age_s is None


@pytest.mark.parametrize("named", ["nobody", "../mine", "", "a b", "\0", "x" * 300, "."])
def test_an_unknown_name_is_told_with_those_that_are_known(tmp_path: Path, named: str) -> None:
    write_profile(PROFILE, tmp_path / "mine.toml")
    with pytest.raises(ConfigurationError) as caught:
        load_profile(named, tmp_path)
    assert "/" in named or "mine, sepolia" in caught.value.message


def test_sepolia_is_built_in_and_says_what_it_needs() -> None:
    sepolia = load_profile("sepolia", Path())
    assert (sepolia.chain_id, sepolia.shape) == (11_155_111, Shape.MASA)
    with pytest.raises(ConfigurationError, match="RPC_URL"):
        with_overrides(sepolia, (), CONTRACT)
    with pytest.raises(ConfigurationError, match="STAKE_CONTRACT"):
        with_overrides(sepolia, ("https://rpc.example.org",), "")
    whole = with_overrides(sepolia, ("https://rpc.example.org/key",), CONTRACT.lower())
    assert (whole.rpc_urls, whole.contract) == (("https://rpc.example.org/key",), CONTRACT)


def test_overrides_that_are_empty_change_nothing() -> None:
    assert with_overrides(PROFILE, (), "") == PROFILE


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("chain_id = 0", "chain_id"),
        ("chain_id = '1'", "chain_id"),
        ("chain_id = true", "chain_id"),
        ("name = 'mine'", "chain_id is missing"),
        ("chain_id = 1\nchainid = 1", "'chainid'"),
        ("chain_id = 1\nname = 'two words'", "name"),
        ("chain_id = 1\nname = ''", "name"),
        ("chain_id = 1\nrpc_urls = 'http://a'", "rpc_urls"),
        ("chain_id = 1\nrpc_urls = ['http://a', 5]", "rpc_urls"),
        ("chain_id = 1\nrpc_urls = ['ws://a']", "rpc_urls: URL 1"),
        ("chain_id = 1\nrpc_urls = ['http://a', 'https://']", "rpc_urls: URL 2"),
        ("chain_id = 1\nrpc_urls = ['http://a:99999']", "rpc_urls: URL 1"),
        ("chain_id = 1\nrpc_urls = ['http://a b']", "rpc_urls: URL 1"),
        ("chain_id = 1\nrpc_urls = ['http://ä']", "rpc_urls: URL 1"),
        ("chain_id = 1\nrpc_urls = ['http://[']", "rpc_urls: URL 1"),
        (f"chain_id = 1\nrpc_urls = {['http://a'] * 9}", "rpc_urls"),
        ("chain_id = 1\ncontract = '0x12'", "contract"),
        (f"chain_id = 1\ncontract = '{CONTRACT[:-1]}D'", "contract"),
        (f"chain_id = 1\ncontract = '0x{'0' * 40}'", "contract"),
        ("chain_id = 1\nshape = 'round'", "shape"),
        ("chain_id = 1\nblock_tag = 'pending'", "block_tag"),
        ("chain_id = 1\nmax_head_age_s = -1", "max_head_age_s"),
        ("chain_id = 1\nmax_head_age_s = nan", "max_head_age_s"),
        ("chain_id = 1\nfresh_s = 0", "fresh_s"),
        ("chain_id = 1\nfresh_s = 3601", "fresh_s"),
        ("chain_id = 1\nfresh_s = inf", "fresh_s"),
        ("chain_id = 1\nsymbol = 'a b'", "symbol"),
        ("chain_id = 1\ndecimals = 37", "decimals"),
        ("chain_id = ", "not a TOML file"),
        ("a." * 40_000, "larger"),
        ("\x00", "not a TOML file"),
    ],
)
def test_a_wrong_field_is_told_with_its_file_and_name(tmp_path: Path, line: str, field: str) -> None:
    assert field in refusal(tmp_path, line)


def test_a_wrong_url_is_not_shown_as_it_may_hold_a_key(tmp_path: Path) -> None:
    assert "secret" not in refusal(tmp_path, "chain_id = 1\nrpc_urls = ['wss://a/secret']")
    with pytest.raises(ConfigurationError) as caught:
        with_overrides(PROFILE, ("wss://a/secret",), "")
    assert "RPC_URL" in caught.value.message
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    ("lines", "age_s"),
    [
        ("", 300.0),
        ("block_tag = 'safe'", 1_800.0),
        ("block_tag = 'finalized'", 3_600.0),
        ("block_tag = 'finalized'\nmax_head_age_s = 900", 900.0),
        ("max_head_age_s = 0", None),
    ],
)
def test_how_old_a_head_may_be_is_by_its_tag_unless_it_is_said(tmp_path: Path, lines: str, age_s: float | None) -> None:
    (tmp_path / "mine.toml").write_text(f"chain_id = 1\n{lines}\n")
    assert load_profile("mine", tmp_path).max_head_age_s == age_s


def test_a_file_that_is_not_there_or_no_file_is_told(tmp_path: Path) -> None:
    for named in (str(tmp_path / "none.toml"), str(tmp_path) + "/"):
        with pytest.raises(ConfigurationError, match="cannot be read"):
            load_profile(named, tmp_path)


def test_a_written_profile_names_every_field(tmp_path: Path) -> None:
    write_profile(PROFILE, tmp_path / "mine.toml")
    named = set(tomllib.loads((tmp_path / "mine.toml").read_text()))
    assert named == {field.name for field in msgspec.structs.fields(Profile)}
