"""Questions and sentences as pairs, from SQuAD's JSON: whether the sentence holds the answer.

After QNLI (Wang et al. 2018, "GLUE", arXiv:1804.07461), which pairs a question with each sentence of its paragraph and
drops those that share few words with it. Here each question has the sentence of its first answer, "entailment", and of
the paragraph's other sentences the one that shares most words with the question, the first of equal ones,
"not_entailment". A sentence ends with ".", "!" or "?", closing quotes and brackets after it, where white space and no
small letter follows. A question whose answer crosses sentences is left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain

from datasets import Dataset

from repro_tui.tasks.common import data, squad

LABELS = ("entailment", "not_entailment")

_END = re.compile(r"""[.!?]["'\u201d\u2019)\]]*\s+(?=[^a-z\s])""")
_WORD = re.compile(r"\w+")


def load_splits(specs: data.Specs) -> dict[str, Dataset]:
    """Return every split as rows "text" (question), "text_pair" (sentence), "label"; raises TaskError.

    Parts are drawn by article, as of SQuAD's questions. `examples` and `classes` count pairs; `skip` and `first` count
    questions, whose pairs are kept.
    """
    unchecked = {
        name: {key: value for key, value in spec.items() if key not in {"examples", "classes"}}
        for name, spec in specs.items()
    }
    articles = {name: squad.read(name, spec) for name, spec in unchecked.items() if spec.get("part_of") is None}
    for name, of_file in articles.items():
        rows = pairs(list(chain.from_iterable(of_file)))
        data.check(name, specs[name], len(rows), (row["label"] for row in rows))
    drawn = data.assemble(
        {
            name: {key: value for key, value in spec.items() if key not in {"skip", "first"}}
            for name, spec in unchecked.items()
        },
        lambda name, _: articles[name],
    )
    splits = {}
    for name, of_split in drawn.items():
        questions = list(chain.from_iterable(of_split))
        splits[name] = pairs(questions[: specs[name].get("first")] if specs[name].get("part_of") else questions)
    for name, spec in specs.items():
        if spec.get("part_of") is not None:
            data.check(name, spec, len(splits[name]), (row["label"] for row in splits[name]))
    return {name: Dataset.from_list(rows) for name, rows in splits.items()}


def pairs(questions: Sequence[squad.Question]) -> list[data.Row]:
    """Return up to two pairs a question, in their order."""
    rows: list[data.Row] = []
    for question in questions:
        spans = sentences(question.context)
        for answer in question.answers[:1]:
            end = answer.start + len(answer.text)
            holding = next((span for span in spans if span[0] <= answer.start and end <= span[1]), None)
            if holding is None:
                continue
            chosen = [holding]
            others = [span for span in spans if span != holding]
            if others:
                asked = words(question.text)
                chosen.append(max(others, key=lambda span: len(asked & words(question.context[slice(*span)]))))
            rows += [
                {"text": question.text, "text_pair": question.context[slice(*span)], "label": label}
                for span, label in zip(chosen, LABELS, strict=False)
            ]
    return rows


def sentences(text: str) -> list[tuple[int, int]]:
    """Return where the sentences of a text begin and where they have ended, white space between them left out."""
    ends = [(match.start() + len(match.group().rstrip()), match.end()) for match in _END.finditer(text)]
    starts = [0, *(after for _, after in ends)]
    return list(zip(starts, [*(end for end, _ in ends), len(text)], strict=True))


def words(text: str) -> set[str]:
    """Return the words of a text in lower case."""
    return set(_WORD.findall(text.lower()))
