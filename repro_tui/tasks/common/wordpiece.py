"""A WordPiece vocabulary learnt from texts, the same in every process.

Schuster & Nakajima 2012, "Japanese and Korean Voice Search"; as BERT uses it: Devlin et al. 2019 (arXiv:1810.04805).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.trainers import WordPieceTrainer
from transformers import BertTokenizerFast

from repro_tui.tasks.common.job import TaskError

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""The first tokens of the vocabulary, in BERT's order."""


def learn(texts: Sequence[str], *, size: int, lowercase: bool) -> list[str]:
    """Return the vocabulary, at most `size` tokens: special ones, characters, their continuations, then merged ones.

    The trainer numbers continuations ("##a") as it meets the words, whose order differs from process to process, and
    equal counts are decided by those numbers. They are therefore given to it beforehand, in order, as if special.
    Raises TaskError where the characters alone need more than `size`.
    """
    tokenizer = Tokenizer(WordPiece(unk_token=SPECIAL[1]))
    tokenizer.normalizer = BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    found = set().union(*(tokenizer.normalizer.normalize_str(text) for text in texts))
    characters = sorted(character for character in found if not character.isspace())
    first = [*SPECIAL, *characters, *(f"##{character}" for character in characters)]
    if len(first) >= size:
        raise TaskError(
            f"hyperparameters.vocabulary_size is {size}, the texts' {len(characters)} characters need {len(first)}",
            f"Make it more than {len(first)}",
        )
    trainer = WordPieceTrainer(vocab_size=size, special_tokens=first, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    numbers: dict[str, int] = tokenizer.get_vocab()
    return sorted(numbers, key=lambda token: numbers[token])


def save(vocabulary: Sequence[str], folder: Path, *, lowercase: bool, max_length: int) -> Any:
    """Write vocab.txt, tokenizer.json and tokenizer_config.json; return the tokenizer."""
    path = folder / "vocab.txt"
    path.write_text("".join(f"{token}\n" for token in vocabulary), encoding="utf-8")
    tokenizer = BertTokenizerFast(str(path), do_lower_case=lowercase, model_max_length=max_length)
    tokenizer.save_pretrained(folder)
    return tokenizer
