"""Sentences whose words have tags: read from files, as windows of tokens, and scored.

One tag for each word, at the first of its tokens: Devlin et al. 2019, "BERT" (arXiv:1810.04805), section 5.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities

from repro_tui.tasks.common import data, encoders
from repro_tui.tasks.common.job import TaskError

UNTAGGED = -100
"""Target of a token that is not the first of its word (cross_entropy's `ignore_index`)."""

UNIVERSAL_COLUMNS = 10
UNIVERSAL_RANGE = re.compile(r"\d+[-.]\d+")
"""CoNLL-U's number of a word that the next ones spell (1-2), or that nobody wrote (8.1)."""

BROWN_MARKS = re.compile(r"^fw-|-(?:tl|hl|nc)\b.*$|\+.*$|(?<=[a-z$])\*$")
"""What the Brown corpus adds to a part of speech: foreign word, in a title, in a headline, cited word, contracted with
another, negated."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """Words (W) and their tags (W)."""

    words: list[str]
    tags: list[str]


@dataclass(frozen=True, slots=True)
class Windows:
    """N sentences as M inputs, M >= N: a sentence that is too long for one goes on in the next."""

    encoded: list[encoders.Encoded]
    """Token ids and masks of each input (M), unpadded."""
    places: list[list[int]]
    """Where the first token of each of its words stands (M)."""
    targets: list[list[int]]
    """Numbers of its words' tags (M)."""
    sentences: list[int]
    """To which sentence an input belongs (M,)."""
    lengths: list[int]
    """In tokens (M,)."""


def load_splits(specs: data.Specs, *, basic: bool = False, files: str = "*") -> dict[str, list[Sentence]]:
    """Return the sentences of every split; raises TaskError for what is not as pinned.

    `examples` counts sentences and `classes` words by tag. A part of files in the format "word-tag" is drawn by file,
    so that no text is in two splits, and its `fraction` is of the files; any other part by sentence. Of a
    folder those files are read whose names match `files`. With `basic`, tags lose what BROWN_MARKS finds.
    """

    def by_document(name: str, spec: data.Spec) -> list[list[Sentence]]:
        documents = read(name, spec, files)
        if basic:
            documents = [[Sentence(s.words, [basic_tag(tag) for tag in s.tags]) for s in text] for text in documents]
        skip, first = specs[name].get("skip") or 0, specs[name].get("first")
        sentences = list(chain.from_iterable(documents))[skip:][:first]
        _check(name, specs[name], sentences)
        if spec["format"] == "word-tag" and not skip and first is None:
            return documents
        return [[sentence] for sentence in sentences]

    unchecked = {
        name: {key: value for key, value in spec.items() if key not in {"skip", "first", "examples", "classes"}}
        for name, spec in specs.items()
    }
    drawn = data.assemble(unchecked, by_document)
    splits = {name: list(chain.from_iterable(documents)) for name, documents in drawn.items()}
    for name, spec in specs.items():
        if spec.get("part_of") is not None:
            splits[name] = splits[name][: spec.get("first")]
            _check(name, spec, splits[name])
    return splits


def read(split: str, spec: data.Spec, pattern: str = "*") -> list[list[Sentence]]:
    """Return the sentences of each file; raises TaskError that names split, file and line."""
    top = Path(spec["path"]) / (spec.get("folder") or "")
    if spec.get("clean"):
        raise TaskError(f"splits.{split}: `clean` is about whole texts", "Leave it out")
    files = [top] if top.is_file() else sorted(file for file in top.rglob(pattern) if file.is_file())
    if not files:
        raise TaskError(f"splits.{split}: {top} holds no files {pattern}", "Check the artifact's `path`")
    documents = []
    for file in files:
        try:
            text = file.read_text(encoding="utf-8-sig")
            documents.append(list(_words_with_tags(text) if spec["format"] == "word-tag" else _columns(text, spec)))
        except OSError as error:
            raise TaskError(f"splits.{split}: {file}: {error.strerror}", "Check the artifact's `path`") from None
        except ValueError as error:  # UnicodeDecodeError too
            raise TaskError(f"splits.{split}: {file}: {error}", "Check `format`, `text` and `label`") from None
    if not any(documents):
        raise TaskError(f"splits.{split}: {top} has no sentences", "Check `format`")
    return documents


def basic_tag(tag: str) -> str:
    """Return the part of speech alone; a tag that is nothing but marks stays."""
    while (shorter := BROWN_MARKS.sub("", tag)) not in {tag, ""}:
        tag = shorter
    return tag


def encode(sentences: Sequence[Sentence], targets: Sequence[list[int]], tokenizer: Any, max_length: int) -> Windows:
    """Tokenise a split once; `targets` (N) are the numbers of each sentence's tags.

    As many whole words as fit make one input. A word that the tokenizer makes nothing of is its unknown token; one with
    more tokens than an input has is cut.
    """
    windows = Windows([], [], [], [], [])
    room = max_length - tokenizer.num_special_tokens_to_add()
    for begin in range(0, len(sentences), encoders.TOKENISED_AT_ONCE):
        some = [
            _known_words(sentence.words, tokenizer)
            for sentence in sentences[begin : begin + encoders.TOKENISED_AT_ONCE]
        ]
        counted = tokenizer(some, is_split_into_words=True, add_special_tokens=False)
        pieces: list[list[str]] = []
        for offset, words in enumerate(some):
            sizes = [0] * len(words)
            for place in counted.word_ids(offset):
                sizes[place] += 1
            for first, last in _packed(sizes, room):
                pieces.append(words[first:last])
                windows.targets.append(targets[begin + offset][first:last])
                windows.sentences.append(begin + offset)
        tokenised = tokenizer(pieces, is_split_into_words=True, truncation=True, max_length=max_length)
        for number in range(len(pieces)):
            words_of = tokenised.word_ids(number)
            firsts = [
                i for i, word in enumerate(words_of) if word is not None and word != (words_of[i - 1] if i else None)
            ]
            windows.encoded.append({key: tokenised[key][number] for key in tokenised})
            windows.places.append(firsts)
            windows.lengths.append(len(words_of))
    return windows


def entity_scores(
    true: Sequence[list[str]], predicted: Sequence[list[str]]
) -> tuple[dict[str, float], dict[str, dict[str, float]], dict[str, int]]:
    """Return precision, recall and F1 of entities, the same by type, and how many there are of each type.

    Tags (N sentences) are BIO's; an entity counts where its words and its type are right, as seqeval has it, which is
    how the CoNLL-2003 shared task scored.
    """
    types = sorted({tag[2:] for tags in chain(true, predicted) for tag in tags if tag != "O"})
    by_type, support = {}, {}
    for kind in types:
        one, other = (
            [[tag if tag[2:] == kind else "O" for tag in tags] for tags in side] for side in (true, predicted)
        )
        by_type[kind] = _entities(one, other)
        support[kind] = len(get_entities(_with_types(one)))
    return _entities(true, predicted), by_type, support


def _entities(true: Sequence[list[str]], predicted: Sequence[list[str]]) -> dict[str, float]:
    found = {"precision": precision_score, "recall": recall_score, "f1": f1_score}
    one, other = _with_types(true), _with_types(predicted)
    return {f"entity_{name}": float(score(one, other)) for name, score in found.items()}


def _with_types(sentences: Sequence[list[str]]) -> list[list[str]]:
    """Return the tags (N sentences) with no hyphen in a type: seqeval takes what follows the last one for the type."""
    return [[tag[:2] + tag[2:].replace("-", "_") for tag in tags] for tags in sentences]


def _columns(text: str, spec: data.Spec) -> Iterator[Sentence]:
    """Read a word a line; columns are separated by tabs, or by white space where a line has no tab.

    Of CoNLL-U, which has ten columns with tabs, the comments are left out, and the lines of words that others spell.
    """
    word, tag = spec.get("text"), spec.get("label")
    if not isinstance(word, int) or not isinstance(tag, int):
        raise ValueError("columns of the format conll are given by number: text = 0, label = 1")  # noqa: TRY004  # as below
    tabs = "\t" in text
    sentence = Sentence([], [])
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            if sentence.words:
                yield sentence
            sentence = Sentence([], [])
            continue
        if tabs and line.startswith("#") and "\t" not in line:
            continue
        cells = line.rstrip("\r").split("\t") if "\t" in line else line.split()
        if len(cells) == UNIVERSAL_COLUMNS and UNIVERSAL_RANGE.fullmatch(cells[0]):
            continue
        if len(cells) <= max(word, tag) or not cells[word].strip() or not cells[tag].strip():
            raise ValueError(f"line {number}: no word in column {word} with a tag in column {tag}")
        if cells[word] != "-DOCSTART-":
            sentence.words.append(cells[word])
            sentence.tags.append(cells[tag].strip())
    if sentence.words:
        yield sentence


def _words_with_tags(text: str) -> Iterator[Sentence]:
    """Read a sentence a line, its words as word/tag with white space between."""
    for number, line in enumerate(text.split("\n"), 1):
        if pairs := [word.rpartition("/") for word in line.split()]:
            if not all(word and tag for word, _, tag in pairs):
                raise ValueError(f"line {number}: a word without /tag")
            yield Sentence([word for word, _, _ in pairs], [tag for _, _, tag in pairs])


def _known_words(words: Sequence[str], tokenizer: Any) -> list[str]:
    empty = set() if all(word.isascii() for word in words) else {word for word in words if not tokenizer.tokenize(word)}
    return [tokenizer.unk_token if word in empty else word for word in words]


def _packed(sizes: Sequence[int], room: int) -> Iterator[tuple[int, int]]:
    """Yield first and one past the last word of each input: as many words as `room` tokens hold, at least one."""
    first, used = 0, 0
    for place, size in enumerate(sizes):
        if place > first and used + size > room:
            yield first, place
            first, used = place, 0
        used += size
    yield first, len(sizes)


def _check(split: str, spec: data.Spec, sentences: Sequence[Sentence]) -> None:
    data.check(split, spec, len(sentences), (tag for sentence in sentences for tag in sentence.tags))
