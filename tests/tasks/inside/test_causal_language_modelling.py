"""The whole task on a tiny random GPT-2 whose tokens are bytes, so that its metrics can be worked out by hand."""

import json
import math
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from repro_tui.tasks import causal_language_modelling as task
from repro_tui.tasks.common import blocks
from repro_tui.tasks.common.job import Job, TaskError

VOCABULARY = 257
"""256 bytes and the end of a text."""

DEFAULTS = {field.name: field.default for field in fields(task.Settings)}
HYPERPARAMETERS = {"block_length": 8, "epochs": 2, "train_batch_size": 4, "eval_batch_size": 4, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a random GPT-2 of two layers over bytes."""
    folder = tmp_path_factory.mktemp("gpt2")
    tokenizer = Tokenizer(
        models.BPE(vocab={c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, merges=[])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>").save_pretrained(folder)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=16, n_embd=16, n_layer=2, n_head=2, eos_token_id=256, bos_token_id=256
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def start(tmp_path: Path, gpt2: Path, events: Callable[..., list[dict[str, Any]]]) -> Callable[..., dict[str, float]]:
    """Return a function that runs the task and returns its metrics on test; its files are in the folder `out`."""
    (tmp_path / "out").mkdir()
    texts = {"train": "abcdefgh" * 30, "test": "abcdefgh" * 3 + "é"}
    for name, text in texts.items():
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")

    def run(model: Path = gpt2, **changed: Any) -> dict[str, float]:
        before = len(events())
        splits = {name: {"path": str(tmp_path / f"{name}.txt"), "format": "texts"} for name in texts}
        job = Job(
            model=model, seed=1, data_seed=1, level="bitwise", threads=1, device="cpu",
            hyperparameters={**DEFAULTS, **HYPERPARAMETERS, **changed}, splits=splits, out=tmp_path / "out",
        )  # fmt: skip
        task.main(job)
        told = events()[before:]
        return {e["name"]: e["value"] for e in told if e["event"] == "metric" and e["split"] == "test"}

    return run


def test_a_uniform_model_has_the_metrics_worked_out_by_hand(start: Any, gpt2: Path, tmp_path: Path) -> None:
    model = GPT2LMHeadModel.from_pretrained(gpt2)
    model.transformer.wte.weight.data.zero_()  # tied to the head: all logits are 0
    folder = tmp_path / "uniform"
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gpt2).save_pretrained(folder)
    found = start(folder, max_steps=1)
    assert found["bytes"] == 26  # é is two
    assert found["tokens"] == 27  # and the end of the text
    assert found["initial_loss"] == pytest.approx(math.log(257), rel=1e-6)
    assert found["initial_perplexity"] == pytest.approx(257, rel=1e-5)
    assert found["initial_bits_per_byte"] == pytest.approx(27 * math.log2(257) / 26, rel=1e-6)


def test_the_loss_is_that_of_transformers_where_one_block_holds_the_text(
    start: Any, gpt2: Path, tmp_path: Path
) -> None:
    (tmp_path / "test.txt").write_text("abc def")
    found = start(max_steps=1)
    ids = torch.tensor([[256, *AutoTokenizer.from_pretrained(gpt2)("abc def")["input_ids"], 256]])
    model = GPT2LMHeadModel.from_pretrained(gpt2).eval()
    with torch.no_grad():
        assert found["initial_loss"] == pytest.approx(model(ids, labels=ids).loss.item(), rel=1e-5)


def test_full_training_learns_repeats_and_writes_a_checkpoint(start: Any, gpt2: Path, tmp_path: Path) -> None:
    first = start(epochs=3)
    assert first["loss"] < first["initial_loss"] - 1
    assert first["trainable_parameters"] == GPT2LMHeadModel(small()).num_parameters()
    weights = (tmp_path / "out/model.safetensors").read_bytes()
    assert start(epochs=3) == first
    assert (tmp_path / "out/model.safetensors").read_bytes() == weights
    again = start(tmp_path / "out", max_steps=1)  # what it writes is a checkpoint for the next stage
    assert again["initial_loss"] == pytest.approx(first["loss"], rel=1e-6)
    for path in (tmp_path / "out").glob("*.json"):
        assert str(gpt2.parent) not in path.read_text(), "a path of the container"
    names = load_file(tmp_path / "out/model.safetensors")
    assert len({"lm_head.weight", "transformer.wte.weight"} & set(names)) == 1  # tied: written once


def test_adapters_have_the_parameters_of_the_formula_and_alone_are_written(
    start: Any, gpt2: Path, tmp_path: Path
) -> None:
    found = start(adaptation="lora", lora_rank=2, target_modules=("c_attn",), epochs=3)
    assert found["trainable_parameters"] == 2 * 2 * (16 + 48)  # layers * r * (d_in + d_out)
    assert found["loss"] < found["initial_loss"]
    tensors = load_file(tmp_path / "out/adapter_model.safetensors")
    assert sum(tensor.numel() for tensor in tensors.values()) == 256
    assert not (tmp_path / "out/model.safetensors").exists()
    config = (tmp_path / "out/adapter_config.json").read_text()
    assert str(tmp_path) not in config
    assert json.loads(config)["target_modules"] == ["c_attn"]
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(gpt2), str(tmp_path / "out")).eval()
    made = blocks.cut(blocks.stream([(tmp_path / "test.txt").read_text()], AutoTokenizer.from_pretrained(gpt2)), 8)
    nats = 0.0
    for block in made.tokens:
        with torch.no_grad():
            logits = adapted(torch.tensor([block[:-1]])).logits[0]
        nats -= logits.log_softmax(-1)[range(len(block) - 1), block[1:]].sum().item()
    assert found["loss"] == pytest.approx(nats / sum(made.scored), rel=1e-5)


def small() -> GPT2Config:
    return GPT2Config(vocab_size=VOCABULARY, n_positions=16, n_embd=16, n_layer=2, n_head=2)


def test_models_have_their_published_sizes() -> None:
    with torch.device("meta"):
        assert GPT2LMHeadModel(GPT2Config()).num_parameters() == 124_439_808
        smollm2 = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
                num_key_value_heads=3, tie_word_embeddings=True,
            )
        )  # fmt: skip
        assert smollm2.num_parameters() == 134_515_008
        adapted = task.adapters(smollm2, task.Settings())
    trainable = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert trainable == 30 * 8 * ((576 + 576) + (576 + 192))


GGUF_NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "model.layers.": "blk.",
    "post_attention_layernorm": "ffn_norm", "input_layernorm": "attn_norm", "self_attn.o_proj": "attn_output",
    "self_attn.": "attn_", "mlp.": "ffn_", "_proj": "",
}  # fmt: skip
"""What GGUF calls the parts of a Llama."""


def gguf_llama(path: Path) -> LlamaForCausalLM:
    """Write a random Llama over bytes as llama.cpp's converter would, unquantised, and return it."""
    config = LlamaConfig(
        vocab_size=259, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=32, rms_norm_eps=1e-5, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).eval()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(32)
    writer.add_embedding_length(8)
    writer.add_feed_forward_length(16)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(259)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([*sorted(pre_tokenizers.ByteLevel.alphabet()), "ab", "<s>", "</s>"])
    writer.add_token_merges(["a b"])
    writer.add_token_types([1] * 257 + [3, 3])
    writer.add_bos_token_id(257)
    writer.add_eos_token_id(258)
    for name, tensor in model.state_dict().items():
        theirs = name
        for part, called in GGUF_NAMES.items():
            theirs = theirs.replace(part, called)
        rotary = "q_proj" in name or "k_proj" in name  # their halves are interleaved
        written = tensor.reshape(2, 2, 2, 8).swapaxes(1, 2).reshape(8, 8).contiguous() if rotary else tensor
        if name != "lm_head.weight":  # tied
            writer.add_tensor(theirs, written.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def test_a_gguf_file_alone_is_a_checkpoint(tmp_path: Path) -> None:
    model = gguf_llama(tmp_path / "m.gguf")
    tokenizer, loaded = task.load_checkpoint(tmp_path, task.Settings(block_length=16))
    ids = torch.tensor([tokenizer("abc")["input_ids"]])
    assert tokenizer.convert_ids_to_tokens(ids[0].tolist()) == ["ab", "c"]
    assert tokenizer.eos_token_id == 258
    with torch.no_grad():
        assert torch.equal(loaded.eval()(ids).logits, model(ids).logits)
    assert "quantization_config" not in loaded.config.to_dict()


def test_bytes_of_tokens_add_up_whatever_the_characters(gpt2: Path) -> None:
    texts = ["é€a", "", "x\ny"]
    tokens, sizes = blocks.stream(texts, AutoTokenizer.from_pretrained(gpt2))
    assert len(tokens) == 2 + 3 + 1 + 3 + 0 + 3 + 1
    assert sum(sizes) == sum(len(text.encode()) for text in texts)
    assert sizes[0] == sizes[-1] == 0


def test_bytes_that_the_tokenizer_drops_count_all_the_same(checkpoint: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(checkpoint, eos_token="[SEP]")
    texts = ["  w1 good \n", "bad\u200d\u200d", "w2"]
    tokens, sizes = blocks.stream(texts, tokenizer)
    assert tokenizer.convert_ids_to_tokens(tokens) == [
        "[SEP]", "w1", "good", "[SEP]", "bad", "[SEP]", "w2", "[SEP]"
    ]  # fmt: skip
    assert sizes == [0, 4, 7, 0, 9, 0, 2, 0]  # the joiner has three bytes
    assert sum(blocks.cut((tokens, sizes), 3).bytes) == sum(len(text.encode()) for text in texts)


def test_weights_that_do_not_fit_the_configuration_are_an_error(gpt2: Path, tmp_path: Path) -> None:
    for file in gpt2.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    state = load_file(gpt2 / "model.safetensors")
    lacking = {name: tensor for name, tensor in state.items() if ".h.1." not in name and not name.startswith("h.1.")}
    save_file(lacking, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TaskError, match=r"do not fit the configuration: 12 tensors are missing .*\.h\.1\."):
        task.load_checkpoint(tmp_path, task.Settings(block_length=8))
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((gpt2 / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"n_embd": 32}))
    with pytest.raises(TaskError, match="Check that the artifacts of kind weights are all there"):
        task.load_checkpoint(tmp_path, task.Settings(block_length=8))


def test_what_a_user_can_put_right_is_said(start: Any, gpt2: Path, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="block_length is 17, the model takes 16 tokens"):
        start(block_length=17)
    with pytest.raises(TaskError, match=r"target_modules: .*Modules are .*c_attn"):
        start(adaptation="lora", target_modules=("query",))
    folder = tmp_path / "ggufs"
    folder.mkdir()
    for name in ("a.gguf", "b.gguf"):
        (folder / name).write_bytes(b"")
    with pytest.raises(TaskError, match=r"the one GGUF file to take \(a.gguf, b.gguf\)"):
        start(folder)
    with pytest.raises(TaskError, match="ggufs: "):
        start(folder, gguf_file="a.gguf")
