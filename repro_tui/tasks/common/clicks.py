"""Models of click-through rates: DeepFM and Wide & Deep."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
from torch import nn

INITIAL_DEVIATION = 0.01
"""Of the embeddings, drawn from a normal distribution."""


class Weights(nn.Module):
    """A vector (k,) for every category, and one for every number, which is multiplied with it; k = 1: a linear model.

    The unknown category's is 0, and stays so unless the training split has unknown ones (`min_count`).
    """

    def __init__(self, sizes: Sequence[int], numbers: int, k: int) -> None:
        super().__init__()
        starts = [0, *accumulate(sizes)][:-1]
        self.register_buffer("starts", torch.tensor(starts, dtype=torch.int64), persistent=False)
        self.categories = nn.Embedding(sum(sizes), k)
        self.numbers = nn.Parameter(torch.empty(numbers, k))
        nn.init.normal_(self.categories.weight, std=INITIAL_DEVIATION)
        nn.init.normal_(self.numbers, std=INITIAL_DEVIATION)
        with torch.no_grad():
            self.categories.weight[starts] = 0.0

    def forward(self, categories: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """Return the vectors (B, C + M, k) of categories (B, C) and numbers (B, M)."""
        return torch.cat([self.categories(categories + self.starts), numbers.unsqueeze(-1) * self.numbers], dim=1)


class DeepFM(nn.Module):
    """y_FM + y_DNN on shared embeddings; its output (B,) is the argument of the sigmoid.

    Guo et al. 2017, "DeepFM" (arXiv:1703.04247), equations 1 to 5; the deep part's last unit is linear, so that the
    sigmoid of equation 1 is the only one. Its bias is that of the whole.
    """

    def __init__(self, sizes: Sequence[int], numbers: int, *, k: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.linear = Weights(sizes, numbers, 1)
        self.embeddings = Weights(sizes, numbers, k)
        self.deep = perceptron((len(sizes) + numbers) * k, hidden, dropout)

    def forward(self, categories: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """Take categories (B, C) and numbers (B, M)."""
        embedded = self.embeddings(categories, numbers)
        y_fm = self.linear(categories, numbers).sum(dim=(1, 2)) + second_order(embedded)
        y_dnn: torch.Tensor = self.deep(embedded.flatten(1)).squeeze(-1)
        return y_fm + y_dnn


class WideAndDeep(nn.Module):
    """A linear model of features and crosses of them, plus a deep part; its output (B,) is the sigmoid's argument.

    Cheng et al. 2016, "Wide & Deep Learning" (arXiv:1606.07792), equation 3.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        numbers: int,
        crosses: Sequence[int],
        *,
        k: int,
        hidden: Sequence[int],
        dropout: float,
    ) -> None:
        super().__init__()
        self.wide = Weights([*sizes, *crosses], numbers, 1)
        self.embeddings = Weights(sizes, 0, k)
        self.deep = perceptron(len(sizes) * k + numbers, hidden, dropout)

    def forward(self, categories: torch.Tensor, numbers: torch.Tensor, crosses: torch.Tensor) -> torch.Tensor:
        """Take categories (B, C), numbers (B, M) and crosses (B, X)."""
        wide = self.wide(torch.cat([categories, crosses], dim=1), numbers).sum(dim=(1, 2))
        embedded = self.embeddings(categories, numbers[:, :0]).flatten(1)
        deep: torch.Tensor = self.deep(torch.cat([embedded, numbers], dim=1)).squeeze(-1)
        return wide + deep


def second_order(vectors: torch.Tensor) -> torch.Tensor:
    """Return the sum (B,) of <v_i, v_j> over all pairs i < j of vectors (B, m, k), in time linear in m.

    Rendle 2010, "Factorization Machines", lemma 3.1: half of the squared sum less the sum of squares.
    """
    return 0.5 * (vectors.sum(dim=1).square() - vectors.square().sum(dim=1)).sum(dim=-1)


def perceptron(inputs: int, hidden: Sequence[int], dropout: float) -> nn.Sequential:
    """Return layers of ReLU units with dropout, and one linear unit."""
    layers: list[nn.Module] = []
    for before, after in pairwise((inputs, *hidden)):
        layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear((inputs, *hidden)[-1], 1))
