"""Go on training a language model on a corpus, in whole or through low-rank adapters; perplexity before and after.

Radford et al. 2019, "Language Models are Unsupervised Multitask Learners": each token is predicted from those before
it. Adapters: Hu et al. 2021, "LoRA" (arXiv:2106.09685), with `peft`. Run as
`python3 -m repro_tui.tasks.causal_language_modelling`; docs/tasks/causal_language_modelling.md documents it.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt, Lt
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer

from repro_tui import wire
from repro_tui.tasks.common import corpus, emit, encoders, loop, start
from repro_tui.tasks.common.batches import Batch, evaluation_batches, training_batches
from repro_tui.tasks.common.blocks import UNSCORED, Blocks, cut, spread, stream
from repro_tui.tasks.common.job import Job, TaskError, run

SPLITS = ("train", "test")
FORMATS = ("texts", "tsv", "csv", "jsonl", "orange-tab")
CHECKPOINT = "needed"
METRICS = (
    "loss", "perplexity", "bits_per_byte", "initial_loss", "initial_perplexity", "initial_bits_per_byte", "tokens",
    "bytes", "trainable_parameters",
)  # fmt: skip
OUTPUTS = ("weights", "config", "tokenizer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(corpus.Settings):
    """Hyperparameters of the task besides those of the loop and the corpus."""

    block_length: Annotated[int, Ge(2)] = 512
    """Tokens of a block; a token is predicted from those before it in its block."""
    eval_blocks: Annotated[int, Ge(1)] | None = None
    """Evaluate on so many blocks only, spread evenly over the split (a cut, to be said in the description)."""
    gguf_file: str | None = None
    """The checkpoint's file, where its folder has several GGUF files."""
    adaptation: Literal["full", "lora"] = "full"
    """Train all weights, or low-rank adapters beside the checkpoint's weights, which then stay as they are."""
    lora_rank: Annotated[int, Ge(1)] = 8
    """Rank r of an adapter: d_in * r + r * d_out weights a matrix."""
    lora_alpha: Annotated[float, Gt(0)] = 16.0
    """An adapter's product is scaled by lora_alpha / lora_rank."""
    lora_dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Dropout probability of what goes into an adapter."""
    target_modules: tuple[str, ...] = ("q_proj", "v_proj")
    """Names of the matrices that get an adapter: ["c_attn"] in GPT-2."""


def main(job: Job) -> None:
    """Read, evaluate, train, evaluate; everything the host is to know goes through `emit`."""
    settings, device = start.begin(job, Settings)
    texts = corpus.load_splits(job.splits, settings)
    tokenizer, model = load_checkpoint(job.checkpoint, settings)
    splits = {name: cut(stream(part, tokenizer), settings.block_length) for name, part in texts.items()}
    for name, blocks in splits.items():
        emit.metrics({"tokens": sum(blocks.scored), "bytes": sum(blocks.bytes)}, split=name)
    scored = {name: spread(blocks, settings.eval_blocks) for name, blocks in splits.items() if name != "train"}
    model.to(device)

    def collate(blocks: Blocks, batch: Batch) -> dict[str, torch.Tensor]:
        """Return input_ids and targets (B, T), the targets one place ahead; short blocks are padded at their ends."""
        length = max(blocks.scored[i] for i in batch)
        inputs = torch.full((len(batch), length), tokenizer.eos_token_id)
        targets = torch.full((len(batch), length), UNSCORED)
        for row, block in enumerate(blocks.tokens[i] for i in batch):
            inputs[row, : len(block) - 1] = torch.tensor(block[:-1])
            targets[row, : len(block) - 1] = torch.tensor(block[1:])
        return {"input_ids": inputs, "targets": targets}

    def evaluate(name: str) -> dict[str, float]:
        """Return loss, perplexity and bits per byte on a split."""
        blocks, nats = scored[name], 0.0
        for batch, output in loop.predict(
            model,
            evaluation_batches(blocks.scored, settings.eval_batch_size),
            lambda batch: {"input_ids": collate(blocks, batch)["input_ids"]},
            precision=settings.precision,
        ):
            targets = collate(blocks, batch)["targets"].to(device)
            nats += token_losses(output.logits, targets).double().sum().item()
        return quality(nats, tokens=sum(blocks.scored), size=sum(blocks.bytes))

    def validate(step: int) -> Mapping[str, float]:
        values = evaluate("validation")
        emit.metrics(values, split="validation", step=step)
        return values

    def loss(model: Any, inputs: loop.Inputs) -> torch.Tensor:
        """Return the mean loss () over a batch's predicted tokens."""
        losses = token_losses(model(input_ids=inputs["input_ids"], use_cache=False).logits, inputs["targets"])
        return losses.sum() / (inputs["targets"] != UNSCORED).sum()

    emit.phase("train")  # the first "evaluate" is the end of the training to whoever follows the run
    for name in scored:
        emit.metrics({f"initial_{metric}": value for metric, value in evaluate(name).items()}, split=name)
    if settings.adaptation == "lora":
        model = adapters(model, settings)
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)

    train = splits["train"]
    checkpoint = loop.train(
        model,
        settings,
        batches=lambda epoch: training_batches(
            train.scored, settings.train_batch_size, seed=job.data_seed, epoch=epoch, grouped=False
        ),
        collate=lambda batch: collate(train, batch),
        loss=loss,
        weigh=lambda batch: sum(train.scored[i] for i in batch),
        evaluate=validate if "validation" in splits else None,
    )
    write(model, tokenizer, settings, job.out)

    emit.phase("evaluate")
    if checkpoint is not None:
        wire.emit("note", text=f"the weights are those after step {checkpoint.step}")
        emit.metrics(checkpoint.metrics, split="validation")
    emit.metrics({**evaluate("test"), "trainable_parameters": trainable}, split="test")


def load_checkpoint(folder: Path, settings: Settings) -> tuple[Any, Any]:
    """Return tokenizer and model of a folder with config.json, or of its GGUF file, whose weights become fp32."""
    source: dict[str, Any] = {"local_files_only": True}
    if not (folder / "config.json").is_file():
        names = [settings.gguf_file] if settings.gguf_file else sorted(path.name for path in folder.glob("*.gguf"))
        if len(names) != 1 or not (folder / names[0]).is_file():
            raise TaskError(
                f"{folder} holds neither a config.json nor the one GGUF file to take ({', '.join(names) or 'none'})",
                "task.model names the checkpoint's folder, hyperparameters.gguf_file the file where there are several",
            )
        source["gguf_file"] = names[0]
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **source)
        model, found = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True, **source
        )
        encoders.check_loaded(folder, model, found, new_head=False)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise TaskError(f"{folder}: {reason}", "Check that the artifacts of kind weights are all there") from None
    if tokenizer.eos_token_id is None or not tokenizer.is_fast:
        raise TaskError(
            f"{folder}: the tokenizer has no end of text, or no tokenizer.json", "Use a GPT-type checkpoint"
        )
    positions = getattr(model.config, "max_position_embeddings", None) or sys.maxsize
    if settings.block_length > positions:
        raise TaskError(f"block_length is {settings.block_length}, the model takes {positions} tokens", "Lower it")
    if "gguf_file" in source:
        del model.config.quantization_config  # the weights are plain fp32 from here on
    return tokenizer, model


def adapters(model: Any, settings: Settings) -> Any:
    """Return the model with W x + (lora_alpha / r) B A x for each target matrix; only A and B are trained, B is 0."""
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=list(settings.target_modules),
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        linear = sorted(
            {name.rpartition(".")[2] for name, module in model.named_modules() if not list(module.children())}
        )
        raise TaskError(
            f"hyperparameters.target_modules: {str(error).strip().splitlines()[0]}", f"Modules are {', '.join(linear)}"
        ) from None


def token_losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return -log p of each target in nats (B * T); 0 for padding. `logits` (B, T, V), `targets` (B, T)."""
    return cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=UNSCORED, reduction="none")


def quality(nats: float, *, tokens: int, size: int) -> dict[str, float]:
    """Return nats per token, its exponential, and the bits that a byte of text takes (nats / ln 2 / bytes)."""
    loss = nats / tokens
    return {
        "loss": loss,
        "perplexity": math.exp(loss) if loss < math.log(sys.float_info.max) else math.inf,
        "bits_per_byte": nats / math.log(2) / size,
    }


def write(model: Any, tokenizer: Any, settings: Settings, out: Path) -> None:
    """Write the whole checkpoint, or with "lora" the adapters alone, in the layout that `from_pretrained` reads."""
    if settings.adaptation == "full":
        emit.weights(model, out)
        model.config.name_or_path = ""  # a path of this container
        model.config.to_json_file(out / "config.json", use_diff=False)
        emit.output("config", out / "config.json", out)
        tokenizer.save_pretrained(out)
        emit.output("tokenizer", out / "tokenizer.json", out)
        return
    tensors = {name: tensor.cpu().contiguous() for name, tensor in get_peft_model_state_dict(model).items()}
    save_file(tensors, out / "adapter_model.safetensors", metadata={"format": "pt"})
    emit.output("weights", out / "adapter_model.safetensors", out)
    config = {
        key: sorted(value) if isinstance(value, set) else value
        for key, value in model.peft_config["default"].to_dict().items()
    }
    config["base_model_name_or_path"] = None  # a path of this container
    (out / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    emit.output("config", out / "adapter_config.json", out)


if __name__ == "__main__":
    sys.exit(run(main))
