"""What `podman run` is asked for, to the letter; nothing is started here."""

from __future__ import annotations

import json
import resource
from dataclasses import replace
from pathlib import Path

import pytest

from repro_tui.engines import workers
from repro_tui.engines.base import ContainerSpec, Limits, Mount
from repro_tui.engines.podman_arguments import Setting, arguments, furnish
from repro_tui.engines.podman_command import environment, last_words
from repro_tui.engines.podman_seccomp import profile
from repro_tui.errors import EngineError

SPEC = ContainerSpec(
    name="repro-tui-1-train", run_id="1", argv=["/usr/bin/python3", "-c", 'print("ä")'], environment={"A": "b=c\nd"},
    log=Path("/runs/1/log"), limits=Limits(memory_bytes=1 << 30, processes=64, cpus=1.5, shared_memory_bytes=1 << 20),
    mounts=[Mount(Path("/data/a:b,c"), "/inputs/data"), Mount(Path("/runs/1/out"), "/out", read_only=False)],
)  # fmt: skip
SETTING = Setting("ab" * 32, "1000:1000", rootless=False, held={"memory", "pids", "cpu"}, init="/usr/bin/catatonit")


def test_the_sandbox_is_asked_for_word_for_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "current", lambda: "worker")
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1024, 4096))
    assert arguments(SPEC, SETTING, Path("/f")) == [
        "--detach", "--pull=never", "--name=repro-tui-1-train", "--label=org.repro-tui.worker=worker",
        "--label=org.repro-tui.run=1", "--conmon-pidfile=/f/monitor", "--pidfile=/f/first", "--log-driver=passthrough",
        "--unsetenv-all", "--env-host=false", "--http-proxy=false", "--env=A=b=c\nd", "--env=HOSTNAME=repro-tui",
        "--env=PWD=/out", "--workdir=/out", "--hostname=repro-tui", "--user=1000:1000", "--passwd=false", "--no-hosts",
        "--network=none", "--ipc=private", "--pid=private", "--uts=private", "--read-only", "--read-only-tmpfs=false",
        "--tmpfs=/tmp:rw,exec,nosuid,nodev,mode=1777,size=1073741824", "--shm-size=1048576b", "--cap-drop=all",
        "--security-opt=no-new-privileges", "--security-opt=label=disable", "--init",
        "--init-path=/usr/bin/catatonit", "--systemd=false", "--sdnotify=ignore", "--no-healthcheck", "--umask=0022",
        "--ulimit=core=0:0", "--ulimit=nofile=1024:4096", "--ulimit=nproc=1024:1024",
        "--volume=/f/mount-0:/inputs/data:ro,nosuid,nodev,rprivate",
        "--volume=/f/mount-1:/out:rw,nosuid,nodev,rprivate",
        '--entrypoint=["/usr/bin/python3", "-c", "print(\\"\\u00e4\\")"]',
        "--pids-limit=64", "--memory=1073741824b", "--memory-swap=1073741824b", "--cpus=1.5", "ab" * 32,
    ]  # fmt: skip


def test_without_root_the_user_stays_the_caller_and_no_limit_is_asked_for_in_vain() -> None:
    given = arguments(replace(SPEC, network=True), replace(SETTING, rootless=True, held=()), Path("/f"))
    assert "--userns=keep-id" in given
    assert "--network=private" in given
    assert not [word for word in given if word.startswith(("--memory", "--pids-limit", "--cpus"))]


def test_what_cannot_be_mounted_is_an_error(tmp_path: Path) -> None:
    colon = replace(SPEC, mounts=[Mount(tmp_path, "/inputs/a:b")])
    with pytest.raises(EngineError, match="colon"):
        furnish(colon, SETTING, tmp_path)
    with pytest.raises(EngineError, match=r"a:b,c.* is not there"):
        furnish(SPEC, SETTING, tmp_path)


def test_the_filter_takes_namespaces_away_and_keeps_the_rest(tmp_path: Path) -> None:
    given = tmp_path / "seccomp.json"
    rules = [{"names": ["read", "unshare", "clone", "mount"], "action": "SCMP_ACT_ALLOW", "args": []}]
    given.write_text(json.dumps({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules}))
    narrowed = json.loads(profile(given) or "")
    assert narrowed["defaultAction"] == "SCMP_ACT_ERRNO"
    allowed = [rule for rule in narrowed["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW"]
    assert [rule["names"] for rule in allowed] == [["read"], ["socket"], ["clone"], ["clone"]]
    assert all(rule["args"] for rule in allowed[1:])
    assert profile(tmp_path / "none") is None


def test_the_last_error_is_what_is_said() -> None:
    assert last_words('time="…" level=warning msg="x"\nError: no such container\n') == "no such container"
    assert last_words("") == ""


def test_a_run_time_folder_of_somebody_else_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert environment()["XDG_RUNTIME_DIR"] == str(tmp_path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "gone"))
    assert "XDG_RUNTIME_DIR" not in environment()
