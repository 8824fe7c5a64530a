"""Questions about paragraphs in SQuAD's JSON, splits of them by article, and SQuAD's metrics.

Rajpurkar et al. 2016, "SQuAD: 100,000+ Questions for Machine Comprehension of Text" (arXiv:1606.05250); version 2.0,
with questions that have no answer: Rajpurkar et al. 2018, "Know What You Don't Know" (arXiv:1806.03822).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

from torchmetrics.functional.text.squad import squad

from repro_tui.tasks.common import data
from repro_tui.tasks.common.job import TaskError


@dataclass(frozen=True, slots=True)
class Answer:
    """A stretch of the paragraph."""

    text: str
    start: int
    """Place of its first character in the paragraph, from 0."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question, the paragraph it is about, and what people answered."""

    id: str
    text: str
    context: str
    answers: tuple[Answer, ...]
    """One or more, several people's in the test data; none where the paragraph does not hold the answer (SQuAD 2.0)."""

    @property
    def texts(self) -> list[str]:
        """The answers' texts."""
        return [answer.text for answer in self.answers]

    @property
    def kind(self) -> str:
        """The class of the question, by which a manifest can check the balance."""
        return "answerable" if self.answers else "unanswerable"


Article = list[Question]
"""All questions about one article's paragraphs, in the file's order."""


def load_splits(specs: data.Specs) -> dict[str, list[Question]]:
    """Return the questions of every split; raises TaskError for what is not as pinned.

    Parts are drawn by article, so that no paragraph, and none of an article's other paragraphs, is in two splits:
    `fraction` is of the articles, whose places in the file are what the rule hashes. `skip`, `first`, `examples` and
    `classes` count questions.
    """
    of_articles = {
        name: {key: value for key, value in spec.items() if key not in {"skip", "first", "examples", "classes"}}
        for name, spec in specs.items()
    }
    articles = data.assemble(of_articles, lambda name, _: read(name, specs[name]))
    splits = {name: list(chain.from_iterable(of_split)) for name, of_split in articles.items()}
    for name, spec in specs.items():
        if spec.get("part_of") is not None:
            splits[name] = splits[name][: spec.get("first")]
            _check(name, spec, splits[name])
    return splits


def read(split: str, spec: data.Spec) -> list[Article]:
    """Return a file's articles, without the questions that `skip` and `first` leave out.

    Raises TaskError that names split, file and question.
    """
    path = Path(spec["path"])
    if spec.get("clean"):
        raise TaskError(f"splits.{split}: `clean` would move the answers' places", "Leave it out")
    try:
        body = json.loads(path.read_bytes())
        articles = [
            [_question(entry, part["context"]) for part in article["paragraphs"] for entry in part["qas"]]
            for article in body["data"]
        ]
    except OSError as error:
        raise TaskError(f"splits.{split}: {path}: {error.strerror}", "Check the artifact's `path`") from None
    except ValueError as error:
        raise TaskError(f"splits.{split}: {path} is not SQuAD's JSON: {error}", "Check `artifact`") from None
    except (KeyError, TypeError) as error:
        raise TaskError(
            f"splits.{split}: {path} is not SQuAD's JSON: no key {error}",
            "It is data[].paragraphs[].{context, qas[].{id, question, answers[].{text, answer_start}}}",
        ) from None
    articles = _some(articles, spec.get("skip") or 0, spec.get("first"))
    questions = list(chain.from_iterable(articles))
    if not questions:
        raise TaskError(f"splits.{split}: {path} has no questions", "Check `artifact`")
    if len({question.id for question in questions}) < len(questions):
        raise TaskError(f"splits.{split}: {path} has the id of a question twice", "Predictions are told apart by ids")
    _check(split, spec, questions)
    return articles


def score(questions: Sequence[Question], predicted: Mapping[str, str]) -> dict[str, float]:
    """Return "exact_match" and "f1" of the predicted texts by question id, fractions of 1, as SQuAD defines them.

    Texts are compared in lower case without punctuation, articles (a, an, the) and surplus white space; F1 is over the
    words that prediction and answer share; of several answers the best counts. Where some questions have no answer,
    which is right when nothing is predicted, both groups are told apart too.
    """
    values = _score(questions, predicted)
    with_answer = [question for question in questions if question.answers]
    if len(with_answer) == len(questions):
        return values
    without = [question for question in questions if not question.answers]
    if with_answer:
        values |= {f"has_answer_{name}": value for name, value in _score(with_answer, predicted).items()}
    return values | {"no_answer_exact_match": _score(without, predicted)["exact_match"]}


def _score(questions: Sequence[Question], predicted: Mapping[str, str]) -> dict[str, float]:
    found = squad(
        [{"id": question.id, "prediction_text": predicted[question.id]} for question in questions],
        [{"id": question.id, "answers": {"text": question.texts or [""]}} for question in questions],
    )
    return {name: found[name].item() / 100 for name in ("exact_match", "f1")}


def _question(entry: Mapping[str, Any], context: str) -> Question:
    answers = () if entry.get("is_impossible") else entry["answers"]
    question = Question(
        entry["id"],
        entry["question"].strip(),
        context,
        tuple(Answer(answer["text"], answer["answer_start"]) for answer in answers),
    )
    for answer in question.answers:
        if not answer.text or not context.startswith(answer.text, answer.start):
            raise ValueError(f"question {question.id}: {answer.text!r} is not at character {answer.start}")
    return question


def _some(articles: Sequence[Article], skip: int, first: int | None) -> list[Article]:
    """Return the articles with the questions from number `skip` on, `first` of them."""
    last = math.inf if first is None else skip + first
    numbered = count()
    kept = [[question for question in article if skip <= next(numbered) < last] for article in articles]
    return [article for article in kept if article]


def _check(split: str, spec: data.Spec, questions: Sequence[Question]) -> None:
    data.check(split, spec, len(questions), (question.kind for question in questions))
