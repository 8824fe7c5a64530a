"""The training loop against loops written by hand, and its formulas against their closed forms."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.optimizer import register_optimizer_step_pre_hook

from repro_tui.tasks.common import loop
from repro_tui.tasks.common.job import TaskError

Events = Callable[..., list[dict[str, Any]]]
MakeSettings = Callable[..., loop.Settings]

INPUTS = torch.randn(24, 5, generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(0, 3, (24,), generator=torch.Generator().manual_seed(2))


def model() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(5, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 3))


def batches(size: int) -> Callable[[int], list[list[int]]]:
    return lambda epoch: [[(i + epoch) % 24 for i in range(start, start + size)] for start in range(0, 24, size)]


def collate(batch: list[int]) -> dict[str, torch.Tensor]:
    return {"x": INPUTS[batch], "y": TARGETS[batch]}


def loss(net: Any, inputs: Any) -> Any:
    return cross_entropy(net(inputs["x"]), inputs["y"])


def run(net: nn.Module, settings: loop.Settings, size: int = 6, **kwargs: Any) -> loop.Checkpoint | None:
    return loop.train(net, settings, batches=batches(size), collate=collate, loss=loss, **kwargs)


def same(one: nn.Module, other: nn.Module, tolerance: float = 0.0) -> bool:
    return all(
        torch.allclose(a, b, rtol=0, atol=tolerance) for a, b in zip(one.parameters(), other.parameters(), strict=True)
    )


def test_it_does_what_a_loop_by_hand_does(settings: MakeSettings, events: Events) -> None:
    trained = model()
    run(trained, settings())

    # AdamW, clipping and the schedule from their papers' formulas, on a twin.
    twin = model()
    state = {p: (torch.zeros_like(p), torch.zeros_like(p)) for p in twin.parameters()}
    losses, rates = [], []
    for step in range(8):
        batch = batches(6)(step // 4)[step % 4]
        value = loss(twin, collate(batch))
        gradients = torch.autograd.grad(value, list(twin.parameters()))
        norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
        rate = 0.01 * (step / 2 if step < 2 else 1 - (step - 2) / 6)
        with torch.no_grad():
            for p, g in zip(twin.parameters(), gradients, strict=True):
                clipped = g * min(1.0, 1.0 / norm)
                m, v = state[p]
                m.mul_(0.9).add_(0.1 * clipped)
                v.mul_(0.999).add_(0.001 * clipped**2)
                p.mul_(1 - rate * (0.1 if p.ndim >= 2 else 0.0))
                update = (m / (1 - 0.9 ** (step + 1))) / ((v / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8)
                p.sub_(rate * update)
        losses.append(value.item())
        rates.append(rate)

    steps = events("step")
    assert [event["loss"] for event in steps] == pytest.approx(losses, abs=1e-5)
    assert [event["learning_rate"] for event in steps] == pytest.approx(rates)
    assert [(event["step"], event["total"]) for event in steps] == [(n, 8) for n in range(1, 9)]
    assert all(event["examples_per_s"] > 0 for event in steps)
    assert same(trained, twin, 1e-5)


@pytest.mark.parametrize("size", [6, 5])
def test_accumulated_batches_give_the_gradient_of_the_bigger_batch(settings: MakeSettings, size: int) -> None:
    # With size 5 the last micro-batch is smaller: it must weigh less.
    at_once, accumulated = model(), model()
    pieces = [list(range(start, min(start + size, 24))) for start in range(0, 24, size)]
    once = loop.train(at_once, settings(), batches=lambda _: [list(range(24))], collate=collate, loss=loss)
    many = loop.train(
        accumulated, settings(gradient_accumulation_steps=len(pieces)), batches=lambda _: pieces, collate=collate,
        loss=loss,
    )  # fmt: skip
    assert once is None
    assert many is None
    assert same(at_once, accumulated, 1e-6)
    assert not same(at_once, model(), 1e-6)


def test_gradients_are_clipped_to_the_norm(settings: MakeSettings) -> None:
    net = model()
    norms: list[float] = []

    def record(*_: Any) -> None:
        norms.append(math.sqrt(sum(float((p.grad**2).sum()) for p in net.parameters() if p.grad is not None)))

    handle = register_optimizer_step_pre_hook(record)
    run(net, settings(max_grad_norm=0.05, epochs=1))
    handle.remove()
    assert norms
    assert max(norms) == pytest.approx(0.05, rel=1e-3)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("linear", [0, 0.5, 1, 0.75, 0.5, 0.25, 0]),
        ("cosine", [0, 0.5, 1, 0.5 + math.sqrt(2) / 4, 0.5, 0.5 - math.sqrt(2) / 4, 0]),
        ("constant", [0, 0.5, 1, 1, 1, 1, 1]),
    ],
)
def test_schedules_have_their_closed_form(kind: str, expected: list[float]) -> None:
    assert [loop.schedule_factor(kind, step, total=6, warmup=2) for step in range(7)] == pytest.approx(expected)


def test_vectors_do_not_decay(settings: MakeSettings) -> None:
    net = model()
    decay, without = loop.make_optimizer(net, settings()).param_groups
    assert [tuple(p.shape) for p in decay["params"]] == [(8, 5), (3, 8)]
    assert [tuple(p.shape) for p in without["params"]] == [(8,), (8,), (8,), (3,)]
    assert (decay["weight_decay"], without["weight_decay"]) == (0.1, 0.0)


def test_max_steps_ends_training_and_the_schedule(settings: MakeSettings, events: Events) -> None:
    run(model(), settings(max_steps=5, epochs=9, warmup_ratio=0.0))
    assert [event["learning_rate"] for event in events("step")] == pytest.approx([0.01, 0.008, 0.006, 0.004, 0.002])


def test_nan_stops_with_a_message_and_is_reported(settings: MakeSettings, events: Events) -> None:
    def broken(net: Any, inputs: Any) -> Any:
        return loss(net, inputs) * (math.nan if len(events("step")) == 2 else 1.0)

    with pytest.raises(TaskError, match="loss is nan at step 3 of 8"):
        loop.train(model(), settings(), batches=batches(6), collate=collate, loss=broken)
    assert events("step")[-1]["loss"] == "nan"


@pytest.mark.parametrize(("metric", "values", "chosen"), [
    ("accuracy", [0.5, 0.9, 0.7, 0.9], 4),
    ("loss", [0.5, 0.2, 0.7, 0.1], 8),
    ("perplexity", [5.0, 2.0, 7.0, 2.0], 4),
    ("mse", [0.5, 0.2, 0.1, 0.3], 6),
    ("bits_per_byte", [0.5, 0.2, 0.7, 0.3], 4),
    ("accuracy", [math.nan, 0.5, math.nan, 0.7], 8),
    ("loss", [math.nan, 0.5, math.nan, 0.7], 4),
    (None, [0.5, 0.9, 0.7, 0.2], 8),
])  # fmt: skip
def test_the_best_checkpoint_is_kept(
    settings: MakeSettings, metric: str | None, values: list[float], chosen: int
) -> None:
    net, seen = model(), {}

    def evaluate(step: int) -> dict[str, float]:
        seen[step] = [p.detach().clone() for p in net.parameters()]
        return dict.fromkeys(("accuracy", "loss", "perplexity", "mse", "bits_per_byte"), values[step // 2 - 1])

    result = run(net, settings(select_best_on=metric, evaluate_every=2), evaluate=evaluate)
    assert list(seen) == [2, 4, 6, 8]
    assert result is not None
    assert result.step == chosen
    assert result.metrics["loss"] == values[chosen // 2 - 1]
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), seen[chosen], strict=True))


def test_a_metric_that_validation_does_not_give_is_named(settings: MakeSettings) -> None:
    with pytest.raises(TaskError, match=r"select_best_on: splits\.validation gives no 'f1'\. It gives accuracy, loss"):
        run(model(), settings(select_best_on="f1"), evaluate=lambda _: {"loss": 0.5, "accuracy": 0.5})


def test_nothing_to_train_on_is_an_error(settings: MakeSettings) -> None:
    with pytest.raises(TaskError, match=r"splits\.train has nothing to train on"):
        loop.train(model(), settings(), batches=lambda _: [], collate=collate, loss=loss)


def test_evaluation_is_at_the_end_of_each_epoch_unless_told(settings: MakeSettings) -> None:
    steps: list[int] = []

    def evaluate(step: int) -> dict[str, float]:
        steps.append(step)
        return {"loss": 0.0}

    run(model(), settings(epochs=2), evaluate=evaluate)
    assert steps == [4, 8]


def test_bf16_computes_in_bf16_and_keeps_fp32_weights(settings: MakeSettings, events: Events) -> None:
    types: list[Any] = []

    def spy(net: Any, inputs: Any) -> Any:
        types.append(net(inputs["x"]).dtype)
        return loss(net, inputs)

    net = model()
    loop.train(net, settings(precision="bf16"), batches=batches(6), collate=collate, loss=spy)
    assert set(types) == {torch.bfloat16}
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    full = model()
    run(full, settings())
    half, whole = (events("step")[:8], events("step")[8:])
    assert [e["loss"] for e in half] == pytest.approx([e["loss"] for e in whole], abs=0.05)
    assert [e["loss"] for e in half] != [e["loss"] for e in whole]


def test_fp16_on_a_cpu_is_refused(settings: MakeSettings) -> None:
    with pytest.raises(TaskError, match="fp16 needs a GPU"):
        run(model(), settings(precision="fp16"))


def test_prediction_has_no_dropout_and_no_gradients() -> None:
    net = nn.Sequential(nn.Linear(5, 3), nn.Dropout(0.5)).train()

    def only_input(batch: list[int]) -> dict[str, torch.Tensor]:
        return {"input": INPUTS[batch]}

    (_, first), (_, second) = loop.predict(net, [[0, 1], [0, 1]], only_input, precision="fp32")
    assert torch.equal(first, second)
    assert not first.requires_grad
