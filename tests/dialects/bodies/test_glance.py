import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from masa_node.chat.errors import CallerError
from masa_node.chat.request import Endpoint
from masa_node.dialects import condensing
from masa_node.dialects.bodies import glance as glancing
from masa_node.dialects.bodies.glance import MOST_COST, SMALL_BYTES, find_fast, glance, renamed
from masa_node.dialects.bodies.peek import Peeked, body_renamed, peek
from masa_node.dialects.condensing import LARGE_BYTES, REQUEST_DEPTH, Steps, at_once, condensed

ROOT = Path(__file__).parents[3]
LOWEST = ROOT / ".cache" / "lowest"  # `make .cache/lowest/.made`
OPENAI = Endpoint.OPENAI_CHAT
OLLAMA = Endpoint.OLLAMA_CHAT
MESSAGE = {"role": "user", "content": 'say {"model": "x"} and [ \\ " \n', "model": "inner", "name": "n"}
TOOL = {"name": "agent", "properties": {"path": {"description": 'a "path" {' * 20}, "model": {"enum": ["model"]}}}
LONG = "x" * LARGE_BYTES
BIG: dict[str, Any] = {
    "plain": LONG,
    "escapes": '"model": \\ {[\n' * 20_000,
    "other alphabets": "Grüße, Œuvre, łódź, 模型 🙂 " * 10_000,
    "code": "`a` <b> \x1b[0m & 'c' + d [e] " * 10_000,
    "messages": [{"role": "user", "content": f"{number} is the model"} for number in range(3_000)],
    "pictures": [{"image_url": {"url": "data:image/png;base64," + "iVBORw0KGgo" * 10_000}}],
    "numbers": [[number, -1.5e-7] for number in range(6_000)],
    "names behind braces": [{"model": "inner", "stream": False, "name": "n", "x": LONG}] * 4,
    "names behind commas": [*[MESSAGE] * 300, LONG],
}


def exact(body: bytes, endpoint: Endpoint) -> Peeked | None:
    """As a look at each part finds it; None where it is refused."""
    small = at_once(condensed(body, REQUEST_DEPTH)) if len(body) > LARGE_BYTES else body
    assert small is not None
    try:
        return peek(small, endpoint)
    except CallerError:
        return None


def asking_with(messages: object) -> dict[str, Any]:
    return {"messages": messages, "model": "m", "stream": True, "tools": [TOOL] * 10}


def in_any_order(fields: dict[str, Any], **how: Any) -> Iterator[bytes]:  # noqa: ANN401 - of `json.dumps`
    """The object, each field written once: one that is large takes long."""
    indent = how["indent"] and "\n" + " " * how["indent"]
    begin, between, end = ("{", ", ", "}") if indent is None else (f"{{{indent}", f",{indent}", "\n}")
    # Of an object of one field, without what stands around it.
    written = [json.dumps({name: value}, **how)[len(begin) : -len(end)] for name, value in fields.items()]
    for order in itertools.permutations(written):
        yield f"{begin}{between.join(order)}{end}".encode()


@pytest.mark.untraced
@pytest.mark.parametrize("big", BIG.values(), ids=BIG.keys())
@pytest.mark.parametrize("is_ascii", [True, False])
@pytest.mark.parametrize("indent", [None, 2])
def test_large_bodies_are_read_at_a_glance_in_any_order(big: object, is_ascii: bool, indent: int | None) -> None:  # noqa: FBT001
    for body in in_any_order(asking_with(big), ensure_ascii=is_ascii, indent=indent):
        for endpoint in (OPENAI, OLLAMA):
            assert glance(body, endpoint) == Peeked("m", wants_stream=True)


@pytest.mark.untraced
@pytest.mark.parametrize("big", BIG.values(), ids=BIG.keys())
@pytest.mark.parametrize("indent", [None, 2])
def test_of_large_bodies_the_name_alone_is_replaced_in_any_order(big: object, indent: int | None) -> None:
    fields = asking_with(big)
    for body in in_any_order(fields, indent=indent):
        for endpoint in (OPENAI, OLLAMA):
            changed = at_once(renamed(body, endpoint, "m", "other:1b"))
            assert changed == at_once(body_renamed(body, endpoint, "m", "other:1b"))
            assert json.loads(changed) == fields | {"model": "other:1b"}


@pytest.mark.parametrize("big", [BIG["messages"], BIG["pictures"]], ids=["messages", "pictures"])
@pytest.mark.parametrize("body", ['{"x":%s,"model":"m"}', '{"model":"m" , "x" : %s } \n'])
def test_what_is_large_is_renamed_without_a_look_at_each_part(
    monkeypatch: pytest.MonkeyPatch, big: object, body: str
) -> None:
    monkeypatch.setattr(glancing, "body_renamed", looks_only_at_what_is_small)
    raw = (body % json.dumps(big)).encode()
    assert at_once(renamed(raw, OLLAMA, "m", "other")) == raw.replace(b'"m"', b'"other"')
    assert at_once(renamed(raw, OLLAMA, "n", "other")) is raw


def looks_only_at_what_is_small(body: bytes, endpoint: Endpoint, asked: str, model: str) -> Steps[bytes]:
    assert len(body) < 100
    return body_renamed(body, endpoint, asked, model)


@pytest.mark.parametrize("stands_for_the_middle", ['"\x7f":0', '"\x7f":0,"\x7f":0'])
def test_a_field_with_the_name_that_stands_for_the_middle_is_kept(stands_for_the_middle: str) -> None:
    body = large(f',{stands_for_the_middle},"model":"a"', f"{{{stands_for_the_middle},")
    assert at_once(renamed(body, OPENAI, "a", "b")) == body.replace(b'"a"', b'"b"')


def large(fields: str, before: str = "{", after: str = "}") -> bytes:
    return f'{before}"messages":[{{"content":"{LONG}"}}]{fields}{after}'.encode()


@pytest.mark.parametrize(
    ("body", "endpoint"),
    [
        (large(',"model":"a","model":"b"'), OPENAI),
        (large(',"model":"a"', '{"model":"b",'), OPENAI),
        (large(',"model":"a"', '{"mOdEL":"b",'), OPENAI),
        (large(',"model":"a"', '{"x":1 , "mod\\u0065l" :"b",'), OPENAI),
        (large(',"model":"a"', '{"\\u004Dodel" :"b",'), OPENAI),
        (large(',"model":"a","x":{"model":"b"},"Model":"c"'), OPENAI),
        (large(',"model":"a","stream":true', '{"stream":false,'), OPENAI),
        (large(',"model":"a","stream":true', '{"\u017ftream":false,'), OPENAI),
        (large(',"model":"a","stream":true', '{"\\u017Ftream":false,'), OPENAI),
        (large(',"model":"a","stream":true', '{"\\u0053tream":false,'), OPENAI),
        (large(',"model":"a","stream":true', '{"STREA\\u006D":false,'), OPENAI),
        (large(',"model":"a"', '{"name":"b",'), OLLAMA),
        (large(',"model":"a"', '{"N\\u0061me":"b",'), OLLAMA),
        (large(',"model":"a"', "{" + " " * 70 + '"Model":"b",'), OPENAI),
        (large(',"model":"a"', '{"Model"' + " " * 70 + ':"b",'), OPENAI),
        (large(',"x":{"model":"a"}'), OPENAI),
        (large(',"x":{"y":1,"model":"a"}'), OPENAI),
        (large(f',"x":[{{"y":"{LONG}","model":"a"}}]'), OPENAI),
        (large("", '{"x":{"y":1,"model":"a"},'), OPENAI),
        (large(',"model":7'), OPENAI),
        (large(',"model":["a"]'), OPENAI),
        (large(f',"model":"{"a" * 5_000}"'), OPENAI),
        (large(',"model":"a"', after=""), OPENAI),
        (large(',"model":"a"', after="}}"), OPENAI),
        (large(',"model":"a"', after="} x"), OPENAI),
        (large(',"model":"a"', before="["), OPENAI),
        (large(',"model":"a"', before=""), OPENAI),
        (large(',"model":"a"').decode().encode("utf-16"), OPENAI),
        (b"\0" + large(',"model":"a"'), OPENAI),
    ],
    ids=lambda value: f"{value[:24]!r}...{value[-40:]!r}",
)
def test_what_is_refused_is_not_told_at_a_glance(body: bytes, endpoint: Endpoint) -> None:
    assert exact(body, endpoint) is None
    assert glance(body, endpoint) is None


@pytest.mark.parametrize(
    "body",
    [
        large(',"model":"a" , "model" : "a"'),
        large(',"model":"a"', '{"model":"a","x":{"model":"b"},'),
        large(',"model":"a"', "\ufeff\r\n{"),
        large(', "model" :\t"a"', after="\n}\r\n"),
        large(',"model":"a","x":[NaN,"\\ud83d"]'),
        large(',"model":"a","x":"\\u0060\\u003C\\u005B\\u00e9"'),
        large(f',"x":{{"y":"{"y" * 300}","model":"b"}},"model":"a"'),
        large(',"model":"a"').replace(b"xx", b"\\u006d", 1),
    ],
    ids=lambda body: f"{body[:24]!r}...{body[-40:]!r}",
)
def test_what_is_odd_and_harms_nobody_is_told(body: bytes) -> None:
    assert glance(body, OPENAI) == exact(body, OPENAI) == Peeked("a", wants_stream=False)


@pytest.mark.parametrize(
    "body",
    [
        large(f',"model":"a","y":"{LONG}"'),
        large(',"model":"a"', '{"tools":[%s],' % ('{"x":1,"model":1},' * MOST_COST + "1")),
        b'{"model"' + b" " * LARGE_BYTES + b':"a"}',
        b" " * LARGE_BYTES + b'{"model":"a"}',
        b'{"model":"a"}' + b" " * LARGE_BYTES,
    ],
    ids=lambda body: f"{body[:24]!r}...{body[-40:]!r}",
)
def test_what_takes_a_look_at_each_part_is_not_told(body: bytes) -> None:
    assert exact(body, OPENAI) == Peeked("a", wants_stream=False)
    assert glance(body, OPENAI) is None


@pytest.mark.parametrize("hop_bytes", [glancing.HOP_BYTES, LARGE_BYTES], ids=["rare", "dense"])
def test_it_is_not_looked_for_long_what_is_around_names(monkeypatch: pytest.MonkeyPatch, hop_bytes: int) -> None:
    """One look at eight thousand brackets takes a quarter of a millisecond."""
    looks: list[int] = []

    def outside(window: bytes, *, is_text: bool) -> tuple[bytes, int]:
        looks.append(len(window))
        return condensing.outside(window, is_text=is_text)

    monkeypatch.setattr(glancing, "outside", outside)
    monkeypatch.setattr(glancing, "HOP_BYTES", hop_bytes)
    deep = "[" * 6 + "]" * 6 + ","
    for count in (1_000, 200):
        assert glance(large(f',"x":[{deep * count}0],"model":"a"' * 200), OPENAI) is None
        assert len(looks) < 30
        looks.clear()


def test_names_of_halves_of_emojis_are_not_read_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """To mend one takes as long as to look at 20 others."""
    read: list[bytes] = []
    monkeypatch.setattr(glancing, "read", lambda raw, _: read.append(raw))
    assert glance(large(',"model":"a","x":[' + '{"\\ud83dem":0},' * MOST_COST + "0]"), OPENAI) is None
    assert len(read) < MOST_COST / 10


def test_the_model_may_be_in_the_path() -> None:
    assert glance(large(',"stream":true'), Endpoint.CLOUDFLARE_RUN, "@cf/m") == Peeked("@cf/m", wants_stream=True)
    assert glance(large(""), Endpoint.CLOUDFLARE_RUN, "@cf/m") == Peeked("@cf/m", wants_stream=False)
    assert glance(large(""), OPENAI) is None


def test_what_is_read_in_one_go_is_told_at_a_glance_as_long_as_that_is_quicker() -> None:
    text = "x" * SMALL_BYTES
    assert glance(f'{{"model":"a","x":"{text}"}}'.encode(), OPENAI) == Peeked("a", wants_stream=False)
    many = f'{{"model":"a","y":[{"".join(["""{"x":1,"model":1},"""] * 500)}1],"x":"{text}"}}'.encode()
    assert glance(many, OPENAI) is None
    assert exact(many, OPENAI) == Peeked("a", wants_stream=False)


def test_small_bodies_and_those_of_ollamas_show_are_nothing_for_a_glance() -> None:
    assert glance(b'{"model":"a"}', OPENAI) is None
    assert glance(large(',"model":"a"'), Endpoint.OLLAMA_SHOW) is None


DENSE = large(',"x":[' + '"y",' * 1_000 + '0],"model":"a"')


@pytest.mark.parametrize("library", [None, SimpleNamespace(__capabilities__=("serial",))], ids=["none", "slow"])
def test_without_a_library_that_is_fast_nothing_is_told_where_quotes_are_dense(
    monkeypatch: pytest.MonkeyPatch, library: object
) -> None:
    monkeypatch.setitem(sys.modules, "stringzilla", library)
    glancing.fast_search.cache_clear()
    assert glance(DENSE, OPENAI) is None
    assert glance(large(',"model":"a"'), OPENAI) == Peeked("a", wants_stream=False)
    glancing.fast_search.cache_clear()


@pytest.mark.parametrize("text", ["", "raise OSError('its C library is another')", "raise SystemError"])
def test_a_library_that_is_broken_is_as_good_as_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    """Empty: as what an installer leaves behind that was interrupted."""
    (tmp_path / "stringzilla.py").write_text(text)
    monkeypatch.delitem(sys.modules, "stringzilla", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    glancing.fast_search.cache_clear()
    assert glance(DENSE, OPENAI) is None
    glancing.fast_search.cache_clear()


OLDEST = """
import random, stringzilla
from tests.dialects.bodies.test_glance import OLLAMA, exact, glance, glancing, large
assert stringzilla.__version__ == "4.6.3"
for seed in range(2_000):
    chance = random.Random(seed)
    text = bytes(chance.choices(b'"modelstrean\\\\u0045:M', k=chance.randrange(300)))
    for one in (glancing._MODEL, glancing._NAME, glancing.STREAM_OPTIONS):
        assert stringzilla.translate(memoryview(text), one.table) == text.translate(one.table)
    for sought in (b'"model"', glancing._FOUND):
        placed = text + sought + text
        for start in (0, len(text), len(text) + 1):
            assert stringzilla.find(placed, sought, start) == placed.find(sought, start)
body = large(',"model":"a","stream":true')
assert glance(body, OLLAMA) == exact(body, OLLAMA) is not None
"""


def test_the_oldest_allowed_release_finds_the_same() -> None:
    assert (LOWEST / "stringzilla-4.6.3.dist-info").is_dir(), "run `make test`, or `make .cache/lowest/.made`"
    path = ":".join(map(str, (LOWEST, ROOT / "src", ROOT)))
    subprocess.run([sys.executable, "-c", OLDEST], check=True, env={"PYTHONPATH": path}, timeout=60)


@given(
    text=st.binary(max_size=200),
    sought=st.binary(min_size=1, max_size=70),
    start=st.integers(0, 200),
    again=st.booleans(),
)
def test_a_fast_search_finds_what_a_plain_one_does(text: bytes, sought: bytes, start: int, again: bool) -> None:  # noqa: FBT001
    text = text + sought + text + (sought[:-1] + sought if again else b"")
    assert find_fast(text, sought, start) == text.find(sought, start)


NAMES = ("model", "stream", "Model", "mod\\u0065l", "STREAM", "\u017ftream", "\\u017ftream", "s\\u0074ream", "name")
OTHER_NAMES = ("na\\u006de", "messages", "upstream", "", "x\\\\", '\\"model', "\u00c5stream", "\\u00e9")
TEXTS = ("a", "b", '\\"model\\":\\"c\\"', "{", "[", "}]", "\\\\", '\\\\\\"', "model", "stream", "\\n", "\\u0060", "ü")
SPACES = st.sampled_from(["", "", "", "", " ", "\n\t", " " * 70])
TEXT = st.lists(st.sampled_from(TEXTS), max_size=3).map(lambda texts: f'"{"".join(texts)}"')


def lists(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(lambda parts, space: f"[{f'{space},{space}'.join(parts)}]", st.lists(values, max_size=3), SPACES)


def fields(values: st.SearchStrategy[str], *names: str) -> st.SearchStrategy[list[str]]:
    field = st.builds(
        lambda name, value, a, b: f'{a}"{name}"{b}:{a}{value}{b}', st.sampled_from(names), values, SPACES, SPACES
    )
    return st.lists(field, max_size=4)


def inner(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return lists(values) | fields(values, "model", "stream", *NAMES, *OTHER_NAMES).map(
        lambda parts: f"{{{','.join(parts)}}}"
    )


VALUES = st.recursive(TEXT | st.sampled_from(["true", "false", "null", "-1.5e7", "NaN"]), inner, max_leaves=10)
ASKING = st.sampled_from(['"model":"a"', '"model":"a","stream":true', '"stream":false, "model" :"\\u00e9"'])
JSON = st.builds(
    lambda before, asking, behind: f"{{{','.join([*before, asking, *behind])}}}",
    fields(VALUES, *OTHER_NAMES) | fields(VALUES, *NAMES, *OTHER_NAMES),
    ASKING,
    fields(VALUES, *OTHER_NAMES) | fields(VALUES, *NAMES, *OTHER_NAMES),
)


@pytest.fixture(params=[0, 8], ids=["dense", "rare"])
def of_any_size(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Small bodies are looked at, too, and little of them at once; by searches, or from quote to quote."""
    monkeypatch.setattr(glancing, "_FREE_HOPS", request.param)
    monkeypatch.setattr(glancing, "SMALL_BYTES", 0)
    monkeypatch.setattr(glancing, "BYTES_A_COST", 1)
    monkeypatch.setattr(glancing, "WINDOW_BYTES", 24)
    monkeypatch.setattr(glancing, "_LOOK_BACK_BYTES", (8, 24))


def ways(letter: str) -> list[bytes]:
    """All ways to write it in a name."""
    letters = {letter, letter.upper()} | ({"\u017f"} if letter == "s" else set())
    codes = [f"{ord(one):04x}" for one in letters]
    digits = {written for code in codes for written in itertools.product(*({one, one.upper()} for one in code))}
    return [*(one.encode() for one in letters), *(rf"\u{''.join(written)}".encode() for written in digits)]


@pytest.mark.usefixtures("of_any_size")
@pytest.mark.parametrize("name", ["model", "stream", "name", "stream_options"])
def test_a_name_is_found_however_it_is_written(name: str) -> None:
    sought = (glancing.STREAM_OPTIONS,) if "_" in name else (glancing._MODEL, glancing._NAME)
    plain, longest = [[one.encode()] for one in name], [[max(ways(one), key=len)] for one in name]
    for rest in (plain, longest):
        for at in range(len(name)):
            choices = [ways(one) if number in {at, at + 1} else rest[number] for number, one in enumerate(name)]
            for written in itertools.product(*choices):
                before = b'{"":"' + b"y" * len(b"".join(written)) + b'",'
                body = before + b'"%s":"","":""}' % b"".join(written)
                places = glancing._Places(body, 0, sought).find()
                assert places == [(len(before), len(before) + len(b"".join(written)) + 2)]


@pytest.mark.untraced
@pytest.mark.usefixtures("of_any_size")
@pytest.mark.parametrize("name", ["Model", r"mod\u0065l", "NAME", r"\u017ftream", "\u017ftream", r"STREA\u004D"])
@pytest.mark.parametrize("text", ["x", r"\"[", r"\\[", r"[\\\"", r"[\\"], ids=repr)
def test_a_second_name_is_found_wherever_what_is_looked_at_begins_and_ends(name: str, text: str) -> None:
    for size in range(60):
        for before in ("x" * size + text * 20, text * 20 + "x" * size, text * size):
            body = f'{{"model":"a","stream":true,"x":"{before}","{name}":"b","y":"{"y" * 500}"}}'.encode()
            assert exact(body, OLLAMA) is None
            assert glance(body, OLLAMA) is None


@pytest.mark.usefixtures("of_any_size")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=JSON, before=st.sampled_from(["", "\ufeff", " "]), endpoint=st.sampled_from([OPENAI, OLLAMA]))
@example(body='{"model":"a","x":[{"y":"yyyyyyyyyyyyyyyyyyyyyyyyyyyy","stream":true}]}', before="", endpoint=OPENAI)
@example(body='{"x":{"y":"yyyyyyyyyyyyyyyyyyyyyyyyyyyy","model":"a"},"stream":true}', before="", endpoint=OPENAI)
def test_of_any_json_a_glance_tells_what_a_look_at_each_part_finds(body: str, before: str, endpoint: Endpoint) -> None:
    raw = f"{before}{body}".encode()
    assert glance(raw, endpoint) in {None, exact(raw, endpoint)}


@pytest.mark.usefixtures("of_any_size")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=JSON.map(str.encode) | st.binary(),
    at=st.integers(0, 200),
    size=st.integers(0, 3),
    put=st.sampled_from([b"", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\0", b"\xc5\xbf", b'"model":']),
)
def test_of_any_bytes_a_glance_tells_what_the_only_reading_of_them_as_json_says(
    body: bytes, at: int, size: int, put: bytes
) -> None:
    raw = body[:at] + put + body[at + size :]
    told = glance(raw, OPENAI)
    try:
        json.loads(raw)
    except (ValueError, UnicodeDecodeError):
        return  # which no LLM server reads; it may be told nevertheless
    assert told in {None, exact(raw, OPENAI)}


@pytest.mark.usefixtures("of_any_size")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=JSON, before=st.sampled_from(["", "\ufeff", " "]), endpoint=st.sampled_from([OPENAI, OLLAMA]))
@example(body='{"model":"a","model":{' + " " * 70 + '"model"' + " " * 70 + ':""}}', before="", endpoint=OPENAI)
def test_any_json_is_renamed_as_by_a_look_at_each_part(body: str, before: str, endpoint: Endpoint) -> None:
    raw = f"{before}{body}".encode()
    told = glance(raw, endpoint)
    for asked in (told.model if told is not None else "a", "c"):
        at_a_glance = at_once(renamed(raw, endpoint, asked, "another"))
        assert at_a_glance == at_once(body_renamed(raw, endpoint, asked, "another"))
