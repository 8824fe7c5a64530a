from __future__ import annotations

import ast
import ctypes.util
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from repro_tui.verify import probe as module
from repro_tui.verify.environment import COMPONENTS, PROBE, environment_hash, read_summary
from tests.verify.image_roots import ENVIRONMENT, Probe, files, make_root, write

SITE = "/usr/local/lib/python3.11/site-packages"


def test_the_list_of_what_is_left_out_is_this_one() -> None:
    assert module.EXCLUDED_FOLDERS == (
        "/proc", "/sys", "/dev", "/tmp", "/out", "/inputs", "/code", "/job", "/run",
    )  # fmt: skip
    assert module.ENGINE_FILES == (
        "/.dockerenv", "/etc/hostname", "/etc/hosts", "/etc/mtab", "/etc/resolv.conf", "/sbin/docker-init",
        "/usr/sbin/docker-init",
    )  # fmt: skip
    assert module.ENGINE_VARIABLES == ("HOSTNAME", "OLDPWD", "PWD", "SHLVL", "TERM", "_", "container")


def test_every_file_has_its_owner_and_its_digest(root: Path, probe: Probe, tmp_path: Path) -> None:
    summary = probe(root)
    seen = files(tmp_path / "out")
    owners = {path: body["owner"] for path, body in seen.items()}
    assert owners["/usr/bin/bash"] == "deb:bash", "the list says /bin/bash, and /bin is a link"
    assert owners["/var/lib/dpkg/info/bash.md5sums"] == "deb:bash"
    assert owners["/usr/lib/x86_64-linux-gnu/libc.so"] == "deb:libc6:amd64"
    assert owners["/usr/local/bin/torchrun"] == "pip:torch"
    assert owners[f"{SITE}/torch/odd, name.py"] == "pip:torch"
    assert owners[f"{SITE}/torch/__pycache__/__init__.cpython-311.pyc"] == "pip:torch"
    assert owners[f"{SITE}/torch/__pycache__/__init__.cpython-311.opt-1.pyc"] == "pip:torch"
    assert owners[f"{SITE}/loose.py"] == owners["/var/lib/dpkg/status"] == "other"
    assert summary["base"]["bash"]["version"] == "5.2.15-2"
    assert summary["base"]["libc6:amd64"]["version"] == "2.36-9"
    assert {name: each["version"] for name, each in summary["distributions"].items()} == {"torch": "2.13.0+cpu"}
    assert not {path for path in seen if path.startswith(("/proc", "/tmp", "/out", "/inputs", "/run"))}
    assert "/etc/hosts" not in seen
    assert "/etc/mtab" not in seen
    assert seen["/bin"] == {"path": "/bin", "type": "link", "target": "usr/bin", "owner": "deb:bash"}
    for path, body in seen.items():
        if body["type"] == "file":
            content = (root / path[1:]).read_bytes()
            assert (body["sha256"], body["size"]) == (hashlib.sha256(content).hexdigest(), len(content)), path
            assert body["mode"] == ("755" if (root / path[1:]).stat().st_mode & stat.S_IXUSR else "644")
    assert summary["probe"]["files"] == sum(body["type"] == "file" for body in seen.values())


def test_an_owner_s_digest_is_that_of_its_sorted_listing(root: Path, probe: Probe) -> None:
    """Written by hand, so that the definition in docs/environment-hash.md stays the one that is computed."""
    target = hashlib.sha256(b"libc.so.6").hexdigest()
    content = hashlib.sha256((root / "usr/lib/x86_64-linux-gnu/libc.so.6").read_bytes()).hexdigest()
    listed = hashlib.sha256((root / "var/lib/dpkg/info/libc6:amd64.list").read_bytes()).hexdigest()
    lines = sorted(
        [
            f"{target}  link  /usr/lib/x86_64-linux-gnu/libc.so\n",
            f"{content}  644  /usr/lib/x86_64-linux-gnu/libc.so.6\n",
            f"{listed}  644  /var/lib/dpkg/info/libc6:amd64.list\n",
        ]
    )
    assert probe(root)["base"]["libc6:amd64"]["sha256"] == hashlib.sha256("".join(lines).encode()).hexdigest()


@pytest.mark.parametrize(
    "size", [0, 1, module._SMALL_BYTES - 1, module._SMALL_BYTES, module._SMALL_BYTES + 1, (1 << 20) * 2 + 5]
)
def test_sizes_around_the_buffers(tmp_path: Path, probe: Probe, size: int) -> None:
    content = os.urandom(size)
    write(tmp_path / "one", "/opt/file", content)
    probe(tmp_path / "one")
    assert files(tmp_path / "out")["/opt/file"]["sha256"] == hashlib.sha256(content).hexdigest()


def test_the_same_content_gives_the_same_hash(root: Path, probe: Probe, tmp_path: Path) -> None:
    first = probe(root)
    umask = os.umask(0o077)
    try:
        again = make_root(tmp_path / "elsewhere" / "again")
    finally:
        os.umask(umask)
    for path in again.rglob("*"):
        if not path.is_symlink():
            os.utime(path, (1, 1))
            path.chmod(0o700 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o600)
    second = probe(again, "second")
    assert environment_hash(first) == environment_hash(second)
    assert (tmp_path / "out/files.jsonl").read_bytes() == (tmp_path / "second/files.jsonl").read_bytes()


def _touch(root: Path) -> None:
    (root / "usr/local/lib/python3.11/site-packages/torch/__init__.py").write_text("x = 2\n")


def _byte_code(root: Path) -> None:
    (root / "usr/local/lib/python3.11/site-packages/torch/__pycache__/__init__.cpython-311.pyc").write_bytes(b"evil")


def _executable(root: Path) -> None:
    (root / "etc/bash.bashrc").chmod(0o755)


def _link(root: Path) -> None:
    (root / "usr/lib/x86_64-linux-gnu/libc.so").unlink()
    (root / "usr/lib/x86_64-linux-gnu/libc.so").symlink_to("libc.so.7")


def _added(root: Path) -> None:
    write(root, "/usr/local/lib/python3.11/site-packages/sitecustomize.py", "import os\n")


def _removed(root: Path) -> None:
    (root / "usr/bin/bash").unlink()


def _version(root: Path) -> None:
    status = root / "var/lib/dpkg/status"
    status.write_text(status.read_text().replace("5.2.15-2", "5.2.15-3"))


@pytest.mark.parametrize(
    ("change", "component"),
    [
        (_touch, "distributions"), (_byte_code, "distributions"), (_executable, "base"), (_link, "base"),
        (_added, "other"), (_removed, "base"), (_version, "base"),
    ],
)  # fmt: skip
def test_one_change_changes_the_hash_of_its_component(
    root: Path, probe: Probe, change: Callable[[Path], None], component: str
) -> None:
    before = probe(root)
    change(root)
    after = probe(root)
    assert environment_hash(before) != environment_hash(after)
    assert before[component] != after[component]


def test_variables_and_flags_are_seen_and_what_engines_set_is_not(root: Path, probe: Probe) -> None:
    plain = probe(root)
    noisy = probe(root, environment={**ENVIRONMENT, "HOSTNAME": "a1b2", "PWD": "/out", "container": "podman"})
    assert environment_hash(plain) == environment_hash(noisy)
    assert plain["variables"]["PYTHONHASHSEED"] == "0"
    threads = probe(root, environment={**ENVIRONMENT, "OMP_NUM_THREADS": "4"})
    assert threads["variables"]["OMP_NUM_THREADS"] == "4"
    assert environment_hash(threads) != environment_hash(plain)
    optimized = probe(root, environment={**ENVIRONMENT, "PYTHONOPTIMIZE": "1"})
    assert optimized["python"]["flags"]["optimize"] == 1, "the flags of a task's interpreter, not the probe's own"
    seeded = probe(root, environment={**ENVIRONMENT, "PYTHONHASHSEED": "7"})
    assert seeded["python"]["string_hash"] != plain["python"]["string_hash"]
    assert probe(root, environment={"PATH": "/bin"})["python"]["string_hash"] == "random"


def test_an_image_with_neither_packages_nor_distributions(tmp_path: Path, probe: Probe) -> None:
    write(tmp_path / "bare", "/app/main", b"main", mode=0o755)
    summary = probe(tmp_path / "bare")
    assert summary["base"] == summary["distributions"] == {}
    assert set(summary["libraries"].values()) == {"unknown"}
    assert summary["other"] != hashlib.sha256(b"").hexdigest()
    assert set(COMPONENTS) <= set(summary)


def test_a_library_that_cannot_be_loaded_is_unknown(root: Path, probe: Probe) -> None:
    write(root, f"{SITE}/torch/lib/libtorch_cpu.so", b"no library at all")
    assert set(probe(root)["libraries"].values()) == {"unknown"}


def test_thread_counts_are_asked_of_the_library(tmp_path: Path, probe: Probe) -> None:
    name = ctypes.util.find_library("gomp")
    found = next((Path(folder) / name for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/lib64")
                  if name and (Path(folder) / name).exists()), None)  # fmt: skip
    if found is None:
        pytest.skip("this host has no libgomp to copy into the image")
    write(tmp_path / "omp", "/usr/lib/libgomp.so.1", found.read_bytes())
    summary = probe(tmp_path / "omp", environment={**ENVIRONMENT, "OMP_NUM_THREADS": "3"})
    assert summary["libraries"]["openmp_threads"] == 3


def test_a_file_that_cannot_be_read_is_said_to_be(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to other users
        base = Path(name)
        base.chmod(0o755)
        root = make_root(base / "root")
        write(root, "/etc/shadow", "secret", mode=0o600 if os.geteuid() == 0 else 0)
        (root / "root-only").mkdir(mode=0o700 if os.geteuid() == 0 else 0)
        out = base / "out"
        out.mkdir()
        out.chmod(0o777)
        shutil.copy(PROBE, base / "probe.py")
        (base / "probe.py").chmod(0o644)
        python = sys.executable
        user: dict[str, Any] = {}
        if os.geteuid() == 0:
            user = {"user": 65534, "group": 65534, "extra_groups": []}
            python = "/usr/bin/python3"
            if not Path(python).exists():
                pytest.skip("no Python that another user may run at /usr/bin/python3")
        subprocess.run(
            [python, "-I", str(base / "probe.py"), str(out), "--root", str(root)], check=True, env=ENVIRONMENT, **user
        )
        summary = read_summary(out / "environment.json")
        (root / "root-only").chmod(0o700)
        assert summary["unreadable"] == ["/etc/shadow", "/root-only"]
        assert files(out)["/etc/shadow"]["sha256"] == "unknown"


def test_host_facts_are_there_and_not_hashed(root: Path, probe: Probe) -> None:
    summary = probe(root)
    assert summary["host"]["cores"] == len(os.sched_getaffinity(0))
    assert summary["host"]["cpu_vendor"]
    assert summary["host"]["memory_bytes"] > 0
    before = environment_hash(summary)
    summary["host"]["kernel"] = "Linux 1.0"
    summary["probe"]["elapsed_s"] = 99
    assert environment_hash(summary) == before


def test_no_space_is_an_exit_code_and_a_line_not_half_a_file(root: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", str(PROBE), str(tmp_path / "missing"), "--root", str(root)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("probe: ")
    assert "Traceback" not in done.stderr


def test_it_is_one_file_of_the_standard_library_for_python_3_8() -> None:
    tree = ast.parse(PROBE.read_text(encoding="utf-8"), feature_version=(3, 8))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names] if isinstance(node, ast.Import)
            else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        )
    }  # fmt: skip
    assert imported <= set(sys.stdlib_module_names)
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not used & {"removeprefix", "removesuffix", "file_digest", "bit_count"}, "newer than Python 3.8"


def _interpreter(version: str) -> str | None:
    """Return a working interpreter of that version, where this host has one."""
    installed = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))
    for python in (shutil.which(f"python{version}"), *map(str, installed)):
        if python and subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode == 0:
            return python
    return None


@pytest.mark.parametrize("version", ["3.8", "3.9", "3.10", "3.12", "3.13", "3.14"])
def test_every_interpreter_sees_the_same_files(root: Path, probe: Probe, tmp_path: Path, version: str) -> None:
    python = _interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} on this host")
    here, there = probe(root), probe(root, "there", python=python)
    assert (tmp_path / "out/files.jsonl").read_bytes() == (tmp_path / "there/files.jsonl").read_bytes()
    assert all(here[component] == there[component] for component in ("base", "distributions", "other"))
    assert there["python"]["version"].startswith(version + ".")
