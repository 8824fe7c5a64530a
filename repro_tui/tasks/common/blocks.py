"""Texts as one stream of tokens, cut into blocks for a model that predicts each token from those before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

UNSCORED = -100
"""Target of a position that is padding (cross_entropy's `ignore_index`)."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """A split as the model takes it."""

    tokens: list[list[int]]
    """Block b (N): at most block_length + 1 tokens; the first is given, being the last of block b - 1, the others are
    predicted."""
    bytes: list[int]
    """UTF-8 bytes of the text that a block's predicted tokens spell (N,)."""
    scored: list[int]
    """Predicted tokens of each block (N,)."""


def stream(texts: Sequence[str], tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the texts as one run of tokens with an end of text before, between and after, and each token's bytes.

    A token's bytes are those of the text from the end of the token before it to its own end, the last one's to the end
    of the text. An end of text has none, but those of a text that the tokenizer makes nothing of.
    """
    end = tokenizer.eos_token_id
    tokens, sizes = [end], [0]
    encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    for text, ids, offsets in zip(texts, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        ends = [0]
        for _, stop in offsets:
            ends.append(max(ends[-1], stop))
        ends[-1] = len(text) if offsets else 0  # what the tokenizer drops at the end is still to be told
        tokens += [*ids, end]
        sizes += [*(len(text[a:b].encode()) for a, b in pairwise(ends)), 0 if offsets else len(text.encode())]
    return tokens, sizes


def cut(run: tuple[list[int], list[int]], length: int) -> Blocks:
    """Cut a stream so that every token but its first is predicted once; the last block may be shorter."""
    tokens, sizes = run
    starts = range(0, len(tokens) - 1, length)
    return Blocks(
        tokens=[tokens[at : at + length + 1] for at in starts],
        bytes=[sum(sizes[at + 1 : at + length + 1]) for at in starts],
        scored=[min(length, len(tokens) - 1 - at) for at in starts],
    )


def spread(blocks: Blocks, count: int | None) -> Blocks:
    """Return `count` of N blocks: those at floor(i N / count)."""
    total = len(blocks.tokens)
    chosen = [i * total // count for i in range(count)] if count is not None and count < total else range(total)
    return Blocks(*([column[i] for i in chosen] for column in (blocks.tokens, blocks.bytes, blocks.scored)))  # type: ignore[arg-type]
