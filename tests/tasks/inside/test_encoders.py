"""Loading a checkpoint: what must be in it, what is drawn anew, and that models have their published sizes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    BertModel,
    ModernBertConfig,
    ModernBertForSequenceClassification,
    RobertaConfig,
    RobertaModel,
    RobertaTokenizerFast,
)

from repro_tui.tasks.common import encoders, tagged
from repro_tui.tasks.common.job import Job, TaskError
from repro_tui.tasks.text_classification import Settings

Tensors = dict[str, torch.Tensor]
Changed = Callable[..., Path]


@pytest.fixture
def changed(tmp_path: Path, checkpoint: Path) -> Changed:
    """Return a function that makes the checkpoint anew, with other tensors or other keys of the configuration."""

    def make(tensors: Callable[[Tensors], Tensors] = dict, **keys: Any) -> Path:
        for file in checkpoint.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        config = json.loads((checkpoint / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(config | keys))
        state = tensors(load_file(checkpoint / "model.safetensors"))
        save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
        return tmp_path

    return make


def load(folder: Path, architecture: Any = AutoModelForSequenceClassification, **given: Any) -> tuple[Any, Any]:
    job = Job(
        model=folder, seed=1, data_seed=1, level="bitwise", threads=1, device="cpu", hyperparameters={}, splits={},
        out=folder,
    )  # fmt: skip
    return encoders.load(job, architecture, Settings(max_length=16), **given)


def renamed(state: Tensors) -> Tensors:
    return {name.replace("encoder.", "coder."): tensor for name, tensor in state.items()}


def without_pooler(state: Tensors) -> Tensors:
    return {name: tensor for name, tensor in state.items() if not name.startswith("pooler")}


@pytest.mark.parametrize("architecture", [AutoModelForSequenceClassification, AutoModel])
def test_weights_that_the_checkpoint_lacks_are_an_error(changed: Changed, architecture: Any) -> None:
    with pytest.raises(TaskError, match=r"do not fit the configuration: 32 tensors are missing .*encoder\.layer\.0"):
        load(changed(renamed), architecture)


@pytest.mark.parametrize("keys", [{"hidden_size": 32}, {"intermediate_size": 64}, {"num_hidden_layers": 3}])
@pytest.mark.parametrize("architecture", [AutoModelForSequenceClassification, AutoModel])
def test_weights_of_another_shape_are_an_error(changed: Changed, architecture: Any, keys: dict[str, int]) -> None:
    with pytest.raises(TaskError, match="the weights do not fit the configuration: "):
        load(changed(**keys), architecture)


@pytest.mark.parametrize("architecture", [AutoModelForSequenceClassification, AutoModel])
def test_a_pooler_may_be_missing_and_all_else_is_the_checkpoints(changed: Changed, architecture: Any) -> None:
    folder = changed(without_pooler)
    _, model = load(folder, architecture)
    found = model.base_model.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in load_file(folder / "model.safetensors").items())


def test_a_head_that_is_to_be_kept_must_be_there(checkpoint: Path) -> None:
    with pytest.raises(TaskError, match=r"2 tensors are missing .*classifier\.bias first"):
        load(checkpoint, new_head=False)


def test_a_file_of_weights_that_is_cut_short_is_an_error(changed: Changed) -> None:
    folder = changed()
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(TaskError, match="Check that the artifacts of kind weights are all there"):
        load(folder)


def test_a_drawn_head_has_norms_of_scale_one_and_matrices_of_the_configurations_range() -> None:
    config = ModernBertConfig(
        vocab_size=40, pad_token_id=0, hidden_size=64, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, num_labels=3,
        norm_bias=True, classifier_bias=True, initializer_range=0.05,
    )  # fmt: skip
    model = ModernBertForSequenceClassification(config)
    encoder = {name: tensor.clone() for name, tensor in model.model.state_dict().items()}
    encoders.draw_head(model)
    assert model.head.norm.weight.tolist() == [1.0] * 64
    assert model.head.norm.bias.tolist() == [0.0] * 64
    assert model.head.dense.bias.tolist() == [0.0] * 64
    assert model.classifier.bias.tolist() == [0.0] * 3
    assert model.head.dense.weight.std().item() == pytest.approx(0.05, rel=0.05)
    assert all(torch.equal(tensor, encoder[name]) for name, tensor in model.model.state_dict().items())


def test_words_keep_the_space_before_them_where_the_tokenizer_is_of_robertas_kind(tmp_path: Path) -> None:
    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "a", "b", "\u0120", "\u0120b"]
    numbers = {token: number for number, token in enumerate(vocabulary)}
    RobertaTokenizerFast(vocab=numbers, merges=[("\u0120", "b")], model_max_length=32).save_pretrained(tmp_path)
    config = RobertaConfig(
        vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8,
        max_position_embeddings=34,
    )  # fmt: skip
    RobertaModel(config).save_pretrained(tmp_path)
    tokenizer, _ = load(tmp_path, AutoModelForTokenClassification, words=True)
    split = tagged.encode([tagged.Sentence(["a", "b"], ["O", "O"])], [[0, 0]], tokenizer, 16)
    read = tokenizer.convert_ids_to_tokens(split.encoded[0]["input_ids"])
    assert read == ["<s>", "\u0120", "a", "\u0120b", "</s>"]
    assert split.places == [[1, 3]]


def test_models_have_their_published_sizes() -> None:
    minilm = BertConfig(
        vocab_size=30522, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    )
    with torch.device("meta"):
        assert BertModel(minilm).num_parameters() == 22_713_216  # all-MiniLM-L6-v2: 22.7 M
        assert BertModel(BertConfig()).num_parameters() == 109_482_240  # BERT-base
