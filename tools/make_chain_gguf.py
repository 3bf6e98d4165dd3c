#!/usr/bin/env python3
"""Write a small GGUF model whose answer is known in advance: a real file for real LLM servers.

    make_chain_gguf.py OUT.gguf --count 2000                               " 1 2 3 ... 2000", then the end of the turn
    make_chain_gguf.py OUT.gguf --text '<think>|Hm.|</think>|Answer| 42.'  pieces with '|' between, each piece once
    make_chain_gguf.py OUT.gguf --loop ' la'                               never ends
    make_chain_gguf.py OUT.gguf --utf8 'é🙂日'                              a token a byte: pieces end inside characters
    make_chain_gguf.py OUT.gguf --babble ' ba| be| bi' --stop-chance 0.05  words by chance, different lengths

How it works: attention and feed-forward layers add nothing (they are zero), so what leaves the model is the embedding
of the last token. That is a random sign vector, and the output row of its successor is the same vector: the next token
is sure at any temperature. Any token outside the chain leads to its first one. `--layers`, `--dim` and `--ff` (the two
multiples of 256) cost time per token and change nothing else. The same options give the same bytes.

Needs gguf and numpy; reads no other file but `--template`.
"""

import argparse
import math
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]

SEED = 7
HEADS = 8
LOGIT = 60.0  # of the one right token; all others have about 0, so its probability is 1 - e^-60 times the vocabulary
IDLE_TYPE = (
    gguf.GGMLQuantizationType.IQ3_S
)  # costs the time of 16-bit weights in a quarter of the file (llama.cpp, AVX2)
WORD_BOUNDARY = "\u2581"  # SentencePiece writes a space so

UNK, BOS, EOS, END_OF_TURN = 0, 1, 2, 4
SPECIAL_TOKENS = ("<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>")
FIRST_BYTE_TOKEN = len(SPECIAL_TOKENS)

CHATML = r"""
{%- for m in messages -%}
    {{- '<|im_start|>' + m['role'] + '\n' -}}
    {%- if m['content'] is string -%} {{- m['content'] -}} {%- endif -%}
    {{- '<|im_end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%} {{- '<|im_start|>assistant\n' -}} {%- endif -%}
"""

# A server learns from the template how a model thinks and calls tools (here as Hermes and Qwen do).
CHATML_WITH_THINKING = r"""
{%- for m in messages -%}
    {{- '<|im_start|>' + m['role'] + '\n' -}}
    {%- if m['reasoning_content'] -%} {{- '<think>' + m['reasoning_content'] + '</think>' -}} {%- endif -%}
    {%- if m['content'] is string -%} {{- m['content'] -}} {%- endif -%}
    {{- '<|im_end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%} {{- '<|im_start|>assistant\n' -}} {%- endif -%}
"""
CHATML_WITH_TOOLS = r"""
{%- if tools -%}
    {{- '<|im_start|>system\n<tools>\n' -}}
    {%- for tool in tools -%} {{- tool | tojson -}} {{- '\n' -}} {%- endfor -%}
    {{- '</tools>\nTo call one: <tool_call>\n{"name": ..., "arguments": ...}\n</tool_call><|im_end|>\n' -}}
{%- endif -%}
{%- for m in messages -%}
    {{- '<|im_start|>' + m['role'] + '\n' -}}
    {%- if m['content'] is string -%} {{- m['content'] -}} {%- endif -%}
    {%- for call in m['tool_calls'] or [] -%}
        {{- '<tool_call>\n{"name": "' + call.function.name + '", "arguments": ' -}}
        {{- call.function.arguments | tojson -}}
        {{- '}\n</tool_call>' -}}
    {%- endfor -%}
    {{- '<|im_end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%} {{- '<|im_start|>assistant\n' -}} {%- endif -%}
"""
TEMPLATES = {"plain": CHATML, "thinking": CHATML_WITH_THINKING, "tools": CHATML_WITH_TOOLS}


class Vocabulary:
    """The tokens of a model: special ones, 256 raw bytes, printable ASCII, then the pieces that are asked for."""

    def __init__(self) -> None:
        """Lay down the tokens that every model has, so that any prompt can be tokenised."""
        self.texts: list[str] = []
        self.scores: list[float] = []
        self.kinds: list[gguf.TokenType] = []
        self._ids: dict[str, int] = {}
        for text in SPECIAL_TOKENS:
            self._append(text, 0.0, gguf.TokenType.UNKNOWN if text == "<unk>" else gguf.TokenType.CONTROL)
        for byte in range(256):
            self._append(f"<0x{byte:02X}>", 0.0, gguf.TokenType.BYTE)
        for rank, character in enumerate([WORD_BOUNDARY, *map(chr, range(33, 127))]):
            self._append(character, -1000.0 - rank, gguf.TokenType.NORMAL)

    def __len__(self) -> int:
        """Count the tokens."""
        return len(self.texts)

    def piece(self, text: str) -> int:
        """Give the id of the token that writes `text`; one is made when there is none."""
        written = text.replace(" ", WORD_BOUNDARY)
        if written not in self._ids:
            kind = gguf.TokenType.USER_DEFINED if written.startswith("<") else gguf.TokenType.NORMAL
            self._append(written, -2000.0 - len(self), kind)
        return self._ids[written]

    def byte(self, value: int) -> int:
        """Give the id of the token that writes one raw byte."""
        return FIRST_BYTE_TOKEN + value

    def _append(self, text: str, score: float, kind: gguf.TokenType) -> None:
        self._ids[text] = len(self.texts)
        self.texts.append(text)
        self.scores.append(score)
        self.kinds.append(kind)


@dataclass(slots=True)
class Speech:
    """What a model says: for each token of its own, which tokens may follow and how likely against each other."""

    vocabulary: Vocabulary = field(default_factory=Vocabulary)
    starts: dict[int, float] = field(default_factory=dict)
    follows: dict[int, dict[int, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shape:
    """How big a model is: `context` bounds prompt and answer in tokens, the other numbers decide what a token costs."""

    name: str = "chain"
    template: str = CHATML
    context: int = 8192
    dim: int = 256
    layers: int = 1
    ff: int = 256


def counting(last: int) -> Speech:
    """Speak " 1 2 3" and so on up to `last`, a token a number."""
    speech = Speech()
    return _chained(speech, [speech.vocabulary.piece(f" {number}") for number in range(1, last + 1)], END_OF_TURN)


def reciting(pieces: Sequence[str]) -> Speech:
    """Speak `pieces`, a token each.

    No piece may come twice, since a piece knows only one successor. Nor may a piece be a line feed alone: a prompt ends
    with one, and the model would go on from there.
    """
    if "\n" in pieces:
        raise ValueError("a line feed needs company in its piece: prompts end with one")
    speech = Speech()
    return _chained(speech, [speech.vocabulary.piece(piece) for piece in pieces], END_OF_TURN)


def looping(pieces: Sequence[str]) -> Speech:
    """Speak `pieces` again and again, for ever."""
    speech = Speech()
    chain = [speech.vocabulary.piece(piece) for piece in pieces]
    return _chained(speech, chain, chain[0])


def spelling(text: str) -> Speech:
    """Speak `text` byte by byte, so that a token can end inside a character. No byte may come twice."""
    speech = Speech()
    return _chained(speech, [speech.vocabulary.byte(value) for value in text.encode()], END_OF_TURN)


def babbling(words: Sequence[str], stop_chance: float) -> Speech:
    """Speak `words` by chance (a sampler's seed decides) and end the turn after each with `stop_chance`."""
    speech = Speech()
    chosen = [speech.vocabulary.piece(word) for word in words]
    speech.starts = dict.fromkeys(chosen, 1.0)
    after = speech.starts | {END_OF_TURN: stop_chance * len(chosen) / (1 - stop_chance)}
    speech.follows = dict.fromkeys(chosen, after)
    return speech


def write_model(path: Path, speech: Speech, shape: Shape) -> None:
    """Write the model file. It appears whole or not at all, also when several write the same one at once."""
    descriptor, unfinished = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(descriptor)
    try:
        writer = gguf.GGUFWriter(unfinished, "llama")
        _describe(writer, shape)
        _add_vocabulary(writer, speech.vocabulary, shape.template)
        _add_speech(writer, speech, shape.dim)
        for layer in range(shape.layers):
            _add_idle_layer(writer, layer, shape)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        Path(unfinished).chmod(0o644)  # mkstemp gives 0600
        Path(unfinished).replace(path)
    finally:
        Path(unfinished).unlink(missing_ok=True)


def _chained(speech: Speech, chain: Sequence[int], last_successor: int) -> Speech:
    if not chain or len(set(chain)) != len(chain):
        raise ValueError("a chain needs at least one piece, and each piece only once")
    speech.starts = {chain[0]: 1.0}
    speech.follows = {token: {after: 1.0} for token, after in zip(chain, [*chain[1:], last_successor], strict=True)}
    return speech


def _describe(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_name(shape.name)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.dim)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.ff)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.dim // HEADS)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)


def _add_vocabulary(writer: gguf.GGUFWriter, vocabulary: Vocabulary, template: str) -> None:
    writer.add_vocab_size(len(vocabulary))
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([text.encode() for text in vocabulary.texts])
    writer.add_token_scores(vocabulary.scores)
    writer.add_token_types([int(kind) for kind in vocabulary.kinds])
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(END_OF_TURN)
    writer.add_unk_token_id(UNK)
    writer.add_add_bos_token(value=True)
    writer.add_add_space_prefix(value=False)
    writer.add_chat_template(template)


def _add_speech(writer: gguf.GGUFWriter, speech: Speech, dim: int) -> None:
    """Add the two matrices that hold what is said; tokens with the same successors share one vector."""
    rng = np.random.default_rng(SEED)
    size = len(speech.vocabulary)
    anything = _signs(dim, rng)
    embeddings: F32 = np.tile(anything, (size, 1))
    output: F32 = np.zeros((size, dim), np.float32)
    _lead(output, anything, speech.starts)
    vectors: dict[tuple[tuple[int, float], ...], F32] = {}
    for token, successors in speech.follows.items():
        key = tuple(successors.items())
        if key not in vectors:
            vectors[key] = _signs(dim, rng)
            _lead(output, vectors[key], successors)
        embeddings[token] = vectors[key]
    writer.add_tensor("token_embd.weight", embeddings.astype(np.float16))
    writer.add_tensor("output_norm.weight", np.ones(dim, np.float32))
    writer.add_tensor("output.weight", output.astype(np.float16))


def _lead(output: F32, vector: F32, successors: dict[int, float]) -> None:
    for token, weight in successors.items():
        output[token] += (LOGIT + math.log(weight)) / len(vector) * vector


def _add_idle_layer(writer: gguf.GGUFWriter, layer: int, shape: Shape) -> None:
    """Add a layer that costs its multiplications and adds nothing: all its matrices are zero."""
    block = f"blk.{layer}"
    for norm in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"{block}.{norm}.weight", np.ones(shape.dim, np.float32))
    for matrix in ("attn_q", "attn_k", "attn_v", "attn_output"):
        writer.add_tensor(f"{block}.{matrix}.weight", _zeros(shape.dim, shape.dim), raw_dtype=IDLE_TYPE)
    for matrix in ("ffn_gate", "ffn_up"):
        writer.add_tensor(f"{block}.{matrix}.weight", _zeros(shape.ff, shape.dim), raw_dtype=IDLE_TYPE)
    writer.add_tensor(f"{block}.ffn_down.weight", _zeros(shape.dim, shape.ff), raw_dtype=IDLE_TYPE)


def _zeros(rows: int, columns: int) -> npt.NDArray[np.uint8]:
    block_weights, block_bytes = gguf.GGML_QUANT_SIZES[IDLE_TYPE]
    return np.zeros((rows, columns // block_weights * block_bytes), np.uint8)


def _signs(dim: int, rng: np.random.Generator) -> F32:
    return rng.choice([-1.0, 1.0], dim).astype(np.float32)


def _arguments() -> argparse.ArgumentParser:
    first_line, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=first_line, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    says = parser.add_mutually_exclusive_group(required=True)
    says.add_argument("--count", type=int, metavar="LAST")
    says.add_argument("--text", metavar="PIECES", help=r"\n is a line feed")
    says.add_argument("--loop", metavar="PIECES")
    says.add_argument("--utf8", metavar="TEXT")
    says.add_argument("--babble", metavar="WORDS")
    parser.add_argument("--stop-chance", type=float, default=0.05, help="of --babble, after each word (0.05)")
    parser.add_argument("--template", default="plain", help="plain, thinking, tools, or a Jinja file")
    shape = Shape()
    parser.add_argument("--name", default=shape.name)
    for option in ("context", "dim", "layers", "ff"):
        parser.add_argument(f"--{option}", type=int, default=getattr(shape, option))
    return parser


def _speech(arguments: argparse.Namespace) -> Speech:
    if arguments.count:
        return counting(arguments.count)
    if arguments.text:
        return reciting(arguments.text.replace("\\n", "\n").split("|"))
    if arguments.loop:
        return looping(arguments.loop.split("|"))
    if arguments.utf8:
        return spelling(arguments.utf8)
    return babbling(arguments.babble.split("|"), arguments.stop_chance)


def main() -> None:
    """Write the model that the command line describes."""
    arguments = _arguments().parse_args()
    started_s = time.monotonic()
    template = TEMPLATES.get(arguments.template) or Path(arguments.template).read_text()
    shape = Shape(arguments.name, template, arguments.context, arguments.dim, arguments.layers, arguments.ff)
    speech = _speech(arguments)
    write_model(arguments.out, speech, shape)
    megabytes = arguments.out.stat().st_size / 1e6
    print(f"{arguments.out}: {len(speech.vocabulary)} tokens, {megabytes:.1f} MB, {time.monotonic() - started_s:.2f} s")


if __name__ == "__main__":
    main()
