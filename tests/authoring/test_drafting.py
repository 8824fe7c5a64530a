"""What a project's folder becomes as a manifest."""

from __future__ import annotations

from pathlib import Path

import pytest

from repro_tui.authoring.drafting import draft
from repro_tui.authoring.reporting import lines_to_add
from repro_tui.authoring.writing import manifest_text
from repro_tui.errors import UsageError
from tests.authoring.project_lab import PROJECT, drafted, make, sources


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of whoever runs the tests out of them."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")


def test_a_script_with_options_and_a_requirements_file(tmp_path: Path) -> None:
    manifest, marks = drafted(make(tmp_path / "My Project", PROJECT), "python", "train.py", "--lr", "0.01", "--verbose")
    assert manifest["experiment"]["name"] == "my-project"
    assert manifest["experiment"]["title"] == "A classifier of mine"
    assert manifest["experiment"]["licence"] == "MIT"
    assert manifest["image"]["recipe"] == "python"
    assert manifest["environment"]["requirements"] == "requirements.txt"
    assert sources(manifest) == {
        "code": {"type": "local", "path": ".", "files": ["helpers", "labels.txt", "train.py"]},
        "data-train.csv": {"type": "local", "path": "data/train.csv"},
    }
    assert manifest["task"]["command"] == [
        "python3", "train.py", "--lr", "{lr}", "--verbose", "--train", "/inputs/data/train.csv",
        "--epochs", "{epochs}", "--seed", "{seed}", "--output-dir", "/out",
    ]  # fmt: skip
    assert manifest["hyperparameters"] == {"lr": 0.01, "epochs": 3}
    assert manifest["determinism"]["seed"] == 42
    assert [mark.split()[0] for mark in marks] == ["train.py", "who"]


def test_the_likely_script_is_found_without_a_command(tmp_path: Path) -> None:
    files = {**PROJECT, "tests/test_train.py": "import train\n", "plot.py": "print(1)\n"}
    made = draft(make(tmp_path, files))
    assert made.script == "train.py"
    assert "tests/test_train.py" not in made.code
    assert made.hyperparameters == {"lr": 0.001, "epochs": 3}


def test_a_uv_project_with_a_package_in_src(tmp_path: Path) -> None:
    folder = make(tmp_path, {
        "pyproject.toml": '[project]\nname = "deep.net"\ndescription = "A net"\nrequires-python = ">=3.12"\n'
        'authors = [{ name = "A. Author" }]\nlicense = "Apache-2.0"\ndependencies = ["torch>=2"]\n',
        "uv.lock": 'version = 1\n\n[[package]]\nname = "torch"\nversion = "2.5"\n',
        "src/net/__init__.py": "",
        "src/net/model.py": "import torch\n",
        "scripts/train.py": 'import net.model\nimport os\nos.environ["REPRO_METRICS"]\n',
    })  # fmt: skip
    manifest, marks = drafted(folder, "OMP=1", "python", "-u", "scripts/train.py")
    assert manifest["experiment"]["name"] == "deep.net"
    assert manifest["experiment"]["authors"] == ["A. Author"]
    assert manifest["image"]["recipe"] == "torch-cpu"
    assert manifest["environment"]["requirements"] == "uv.lock"
    assert manifest["environment"]["variables"] == {"OMP": "1"}
    assert manifest["task"]["command"] == ["env", "PYTHONPATH=/code/src", "python3", "-u", "scripts/train.py"]
    assert len(marks) == 1, marks
    assert "Python >=3.12" in marks[0]


def test_a_conda_project(tmp_path: Path) -> None:
    folder = make(tmp_path, {
        "environment.yml": "name: x\ndependencies:\n  - python=3.11\n  - pytorch=2.5\n",
        "CITATION.cff": "cff-version: 1.2.0\ntitle: \"Our paper's code\"\nauthors:\n  - family-names: Doe\n    given-names: Jo\n"
        "  - name: A lab\nlicense: BSD-3-Clause\ndoi: 10.1000/182\n",
        "run.py": "import torch\n",
    })  # fmt: skip
    manifest, marks = drafted(folder)
    assert manifest["environment"]["requirements"] == "environment.yml"
    assert not any("environment" in mark or "Python" in mark for mark in marks)
    assert manifest["image"]["recipe"] == "torch-cpu"
    assert manifest["experiment"]["title"] == "Our paper's code"
    assert manifest["experiment"]["authors"] == ["Jo Doe", "A lab"]
    assert manifest["experiment"]["licence"] == "BSD-3-Clause"
    assert manifest["experiment"]["paper"]["doi"] == "10.1000/182"


PACKAGE: dict[str, str | bytes] = {
    "pyproject.toml": '[project]\nname = "net"\ndependencies = ["numpy"]\n[project.scripts]\n'
    'net-train = "net.cli:main"\nnet-plot = "net.plot:draw.all"\n',
    "src/net/__init__.py": "",
    "src/net/cli.py": "import argparse\nfrom .model import fit\n\ndef main():\n    p = argparse.ArgumentParser()\n"
    '    p.add_argument("--seed", type=int, default=3)\n    fit(p.parse_args().seed)\n\n'
    'if __name__ == "__main__":\n    main()\n',
    "src/net/model.py": 'import numpy\nopen("big.bin", "rb")\n',
    "src/net/plot.py": "class draw: all = print\n",
    "big.bin": b"0" * (1 << 20 | 1),
}


def test_a_command_that_the_project_installs_is_the_module_it_stands_for(tmp_path: Path) -> None:
    folder = make(tmp_path, PACKAGE)
    manifest, marks = drafted(folder, "net-train", "--seed", "4")
    assert manifest["task"]["command"] == [
        "env", "PYTHONPATH=/code/src", "python3", "-m", "net.cli", "--seed", "{seed}",
    ]  # fmt: skip
    assert manifest["determinism"]["seed"] == 4
    assert any("src/net/model.py:2 reads 'big.bin'" in mark for mark in marks), "relative imports are followed"
    plot, _ = drafted(folder, "net-plot")
    assert plot["task"]["command"][-1] == "import sys; from net.plot import draw; sys.exit(draw.all())"
    likely, _ = drafted(folder)
    assert likely["task"]["command"] == manifest["task"]["command"]


def test_a_folder_without_a_script_says_so(tmp_path: Path) -> None:
    _, marks = drafted(make(tmp_path, {"notes.md": "# Notes\n"}))
    assert any("the command that trains" in mark for mark in marks)
    assert any("which files are the code" in mark for mark in marks)
    assert any("no file names the dependencies" in mark for mark in marks)


def test_what_is_no_part_of_a_project_is_left_out(tmp_path: Path) -> None:
    away = make(tmp_path / "away", {"secret.csv": "s\n"})
    folder = make(tmp_path / "project", {
        **PROJECT, ".git/hooks/x.py": "", ".venv/lib/y.py": "", "env2/pyvenv.cfg": "", "env2/z.py": "",
        "helpers/__pycache__/metrics.pyc": b"\0", "node_modules/n.json": "{}", "helpers/notes.txt": "no code\n",
    })  # fmt: skip
    (folder / "linked.csv").symlink_to(away / "secret.csv")
    (folder / "linked").symlink_to(away)
    (folder / "helpers/link.py").symlink_to("/etc/passwd")
    manifest, marks = drafted(folder, "python", "train.py", "--train", "linked/secret.csv")
    files = sources(manifest)["code"]["files"]
    assert files == ["helpers/__init__.py", "helpers/metrics.py", "labels.txt", "train.py"]
    assert any("linked is a symbolic link" in mark for mark in marks)
    assert "secret" not in str(sources(manifest)["code"])


def test_large_files_are_inputs_and_not_code(tmp_path: Path) -> None:
    script = 'open("big.bin", "rb")\nopen("model.bin")\nimport json\njson.load(open("small.json"))\n'
    folder = make(tmp_path, {"train.py": script, "small.json": "{}"})
    with (folder / "big.bin").open("wb") as file:
        file.truncate(50 << 20)
    manifest, marks = drafted(folder)
    assert sources(manifest)["code"]["files"] == ["small.json", "train.py"]
    assert sources(manifest)["big.bin"] == {"type": "local", "path": "big.bin"}
    assert any("train.py:1 reads 'big.bin'" in mark for mark in marks)
    assert any("train.py:2 reads 'model.bin', which is not there" in mark for mark in marks)


def test_hub_names_downloads_and_writes_are_said(tmp_path: Path) -> None:
    script = (
        "import argparse\nfrom transformers import AutoModel\nfrom datasets import load_dataset\n"
        "parser = argparse.ArgumentParser()\nparser.add_argument('--model', default='somebody/small')\n"
        "args = parser.parse_args()\nAutoModel.from_pretrained(args.model)\nload_dataset('imdb')\n"
        "fetch_20newsgroups()\nopen('log.txt', 'w')\nload_dataset('csv', data_files={'train': 'rows.csv'})\n"
    )
    manifest, marks = drafted(make(tmp_path, {"train.py": script, "rows.csv": "a\n"}))
    assert manifest["task"]["command"][2:] == ["--model", "/inputs/somebody/small"]
    assert sources(manifest)["somebody-small-model.safetensors"]["repository"] == "somebody/small"
    assert sources(manifest)["imdb-data-train.parquet"]["repository_type"] == "dataset"
    assert "rows.csv" in sources(manifest)["code"]["files"]
    for part in ("train.py:8 loads 'imdb' by name", "train.py:9 fetches data", "train.py:10 writes 'log.txt'"):
        assert any(part in mark for mark in marks), marks


def test_hostile_names_neither_break_the_file_nor_reach_a_terminal(tmp_path: Path) -> None:
    folder = make(tmp_path, {
        "train.py": 'open("we\\"ird.csv")\nopen("evil\\x1b[2J.csv")\nprint("{seed}")\n',
        'we"ird.csv': "a\n", "evil\x1b[2J.csv": "b\n", "line\nbreak.py": "", "{lr}.csv": "c\n", "broken.py": "def (\n",
    })  # fmt: skip
    (folder / b"\xff.csv".decode("utf-8", "surrogateescape")).write_text("d")
    made = draft(folder, ["python", "train.py", "{lr}.csv", "{lr}", "--x=\x1b[2J"])
    text = manifest_text(made)
    assert "\x1b" not in text
    manifest, _ = drafted(folder, "python", "train.py", "{lr}.csv", "{lr}")
    assert manifest["task"]["command"][2:] == ["/inputs/{{lr}}.csv", "{{lr}}"]
    assert 'we"ird.csv' in sources(manifest)["code"]["files"]
    assert len(made.folder.strange) == 3


def test_nothing_of_the_project_is_run(tmp_path: Path) -> None:
    trap = "import pathlib\npathlib.Path(__file__).with_name('ran').write_text('x')\n"
    folder = make(tmp_path, {"train.py": trap, "setup.py": trap, "conftest.py": trap, "sitecustomize.py": trap})
    drafted(folder)
    assert not (folder / "ran").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("python", "gone.py"), "is not in"),
        (("python", "../x.py"), "is not in"),
        (("python", "-c", "1"), "runs no script"),
        (("A=1",), "no command"),
        (("python", "-m"), "runs no script"),
    ],
)
def test_a_command_that_cannot_be_is_refused(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        draft(make(tmp_path, PROJECT), words)


def test_the_lines_to_add_name_what_is_printed(tmp_path: Path) -> None:
    text = lines_to_add(draft(make(tmp_path, PROJECT)))
    assert 'report("metric", name="accuracy", value=float(acc), split="test")  # after train.py:19' in text


@pytest.mark.parametrize(
    ("printed", "name", "value"),
    [
        ('print("Accuracy = %.3f" % model.score(x))', "accuracy", "model.score(x)"),
        ('print("epoch %d, loss %5.2f" % (e, total / n))', "loss", "total / n"),
        ('print("f1: {:.3f}".format(score))', "macro_f1", "score"),
    ],
)
def test_metrics_in_older_ways_of_printing(tmp_path: Path, printed: str, name: str, value: str) -> None:
    text = lines_to_add(draft(make(tmp_path, {"train.py": printed})))
    assert f'name="{name}", value=float({value})' in text


def test_a_seed_that_the_code_sets_itself_is_told(tmp_path: Path) -> None:
    folder = make(tmp_path, {"train.py": "import torch\nSEED = 7\ntorch.manual_seed(SEED)\n"})
    text = manifest_text(draft(folder))
    assert "seed = 7  # train.py:3 sets it itself" in text


def test_options_with_several_values_equals_and_modules(tmp_path: Path) -> None:
    script = (
        "import argparse\np = argparse.ArgumentParser()\np.add_argument('--layers', nargs='+', type=int)\n"
        "p.add_argument('--shift', type=float)\np.add_argument('--name')\np.add_argument('--data', required=True)\n"
        "a = p.parse_args()\nopen(a.data)\n"
    )
    folder = make(tmp_path, {"pkg/__init__.py": "", "pkg/train.py": script})
    words = ("python", "-m", "pkg.train", "--layers", "3", "4", "--shift", "-1.5", "--name=007")
    manifest, marks = drafted(folder, *words)
    assert manifest["task"]["command"][:12] == [
        "python3", "-m", "pkg.train", "--layers", "3", "4", "--shift", "{shift}", "--name", "{name}", "--data", "FILL-IN",
    ]  # fmt: skip
    assert manifest["hyperparameters"] == {"shift": -1.5, "name": "007"}
    assert any("a value for --data" in mark for mark in marks)


def test_paths_that_are_none_of_the_project_are_marked(tmp_path: Path) -> None:
    script = (
        "import argparse\np = argparse.ArgumentParser()\np.add_argument('--train')\np.add_argument('--model')\n"
        "p.add_argument('--optimizer', default='adam.w')\np.add_argument('--lr', type=float, default=0.1)\n"
        "a = p.parse_args()\nwork(a)\n"
    )
    folder = make(tmp_path, {"train.py": script})
    words = ("python", "train.py", "--train", "/data/x/train.csv", "--model", "somebody/small")
    manifest, marks = drafted(folder, *words)
    assert manifest["task"]["command"][2:6] == ["--train", "/inputs/x/train.csv", "--model", "/inputs/somebody/small"]
    assert manifest["hyperparameters"] == {"optimizer": "adam.w", "lr": 0.1}
    assert sources(manifest)["x-train.csv"] == {"type": "local", "path": "/data/x/train.csv"}
    assert any("'/data/x/train.csv' (train of train.py): it is outside the project" in mark for mark in marks)


def test_the_manifest_itself_is_not_code(tmp_path: Path) -> None:
    folder = make(tmp_path, {"train.py": "x = 1\n", "repro.toml": "schema = 1\n", "repro.record.json": "{}"})
    assert draft(folder, target=folder / "repro.toml").code == {"train.py"}
