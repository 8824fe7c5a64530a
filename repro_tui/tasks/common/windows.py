"""Questions and long paragraphs as windows of tokens, and the way from tokens back to the paragraph's characters.

Devlin et al. 2019, "BERT" (arXiv:1810.04805), section 4.2, and its published code for paragraphs longer than the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from repro_tui.tasks.common.encoders import Encoded
from repro_tui.tasks.common.job import TaskError
from repro_tui.tasks.common.squad import Question


@dataclass(frozen=True, slots=True)
class Windows:
    """The N questions of a split as W windows, W >= N."""

    questions: list[Question]
    owner: list[int]
    """The question of each window (W,)."""
    encoded: list[Encoded]
    """Token ids and masks of each window (W), unpadded."""
    context: list[tuple[int, int]]
    """Where a window's tokens of the paragraph begin, and where they have ended (W,)."""
    offsets: list[list[tuple[int, int]]]
    """Where in the paragraph each of those tokens begins, and where it has ended, in characters (W)."""
    spans: list[tuple[int, int]]
    """First and last token of the answer (W,); (0, 0), the token of no answer, where the window does not hold it."""
    lengths: list[int]
    """In tokens (W,)."""

    def text(self, window: int, first: int, last: int) -> str:
        """Return the paragraph's text from a window's token `first` to its token `last`."""
        begin = self.context[window][0]
        offsets = self.offsets[window]
        return self.questions[self.owner[window]].context[offsets[first - begin][0] : offsets[last - begin][1]]


def encode(
    name: str,
    questions: list[Question],
    tokenizer: Any,
    *,
    max_length: int,
    doc_stride: int,
    max_question_length: int,
) -> Windows:
    """Tokenise a split once; raises TaskError for lengths that leave no room, and for an empty paragraph.

    A window has at most `max_length` tokens: the question, cut to `max_question_length`, and the next stretch of the
    paragraph, whose first `doc_stride` tokens are the last ones of the window before.
    """
    room = max_length - max_question_length - tokenizer.num_special_tokens_to_add(pair=True)
    if room <= doc_stride:
        raise TaskError(
            f"max_length leaves {max(room, 0)} tokens for the paragraph, doc_stride is {doc_stride}",
            "Raise max_length, or lower max_question_length or doc_stride",
        )
    tokenised = tokenizer(
        cut([question.text for question in questions], tokenizer, max_question_length),
        [question.context for question in questions],
        truncation="only_second",
        max_length=max_length,
        stride=doc_stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    owner: list[int] = tokenised.pop("overflow_to_sample_mapping")
    all_offsets = tokenised.pop("offset_mapping")
    windows = Windows(questions, owner, [], [], [], [], [])
    for window, number in enumerate(owner):
        places = [place for place, sequence in enumerate(tokenised.sequence_ids(window)) if sequence == 1]
        if not places:
            raise TaskError(f"splits.{name}: the paragraph of question {questions[number].id} is empty", "Leave it out")
        windows.encoded.append({key: tokenised[key][window] for key in tokenised})
        windows.context.append((places[0], places[-1] + 1))
        windows.offsets.append(all_offsets[window][places[0] : places[-1] + 1])
        windows.spans.append(_locate(questions[number], places[0], windows.offsets[-1]))
        windows.lengths.append(len(windows.encoded[-1]["input_ids"]))
    return windows


def cut(texts: list[str], tokenizer: Any, max_length: int) -> list[str]:
    """Return the texts cut after their token `max_length`."""
    tokenised = tokenizer(
        texts, add_special_tokens=False, truncation=True, max_length=max_length, return_offsets_mapping=True
    )
    return [
        text[: offsets[-1][1]] if offsets else text
        for text, offsets in zip(texts, tokenised["offset_mapping"], strict=True)
    ]


def _locate(question: Question, begin: int, offsets: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return the first answer's first and last token in a window, or (0, 0) where the window does not hold all of it.

    `offsets` (T,) are the characters of the window's tokens of the paragraph, which begin at token `begin`.
    """
    if not question.answers:
        return 0, 0
    answer = question.answers[0]
    end = answer.start + len(answer.text)
    if answer.start < offsets[0][0] or end > offsets[-1][1]:
        return 0, 0
    tokens = [place for place, (left, right) in enumerate(offsets, begin) if left < end and right > answer.start]
    return (tokens[0], tokens[-1]) if tokens else (0, 0)  # no token: the answer is what the tokenizer drops
