"""What every real engine promises: mounts, outputs and the environment."""

from __future__ import annotations

import os
import stat
from dataclasses import replace

import pytest

from repro_tui.engines.base import Engine, Mount
from repro_tui.errors import EngineError, ReproError
from repro_tui.images.model import Image
from tests.engines.engine_bench import Bench

pytestmark = pytest.mark.engine


def test_paths_with_spaces_and_unicode(bench: Bench) -> None:
    source = bench.folder / 'Ünï cödé: 数据, "x"=1'
    source.mkdir()
    (source / "ファイル.txt").write_text("hello")
    text = bench.ask(
        "print(json.dumps([open('/inputs/ein Ordner/ファイル.txt').read(), sys.argv[1], os.environ['NAME']]))",
        "ärg ümént $HOME",
        environment={"PATH": "/bin", "HOME": "/tmp", "NAME": "wert mit ß\nund Zeile", "PYTHONUTF8": "1"},
        mounts=[Mount(source, "/inputs/ein Ordner")],
    )
    assert text == ["hello", "ärg ümént $HOME", "wert mit ß\nund Zeile"]


def test_the_environment_is_exactly_the_given_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_THE_HOST", "1")
    given = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "EMPTY": "", "A": "b=c"}
    seen = bench.ask("print(json.dumps(dict(os.environ)))", environment=given)
    seen.pop("LC_CTYPE", None)  # set by Python itself in the C locale
    assert seen == {**given, "HOSTNAME": "repro-tui", "PWD": "/out"}
    bench.log.unlink()
    without_path = bench.ask("print(json.dumps(dict(os.environ)))", environment={"HOME": "/tmp"})
    assert "PATH" not in without_path


def test_it_starts_where_it_should_with_the_hosts_umask_left_out(bench: Bench) -> None:
    old = os.umask(0o077)
    try:
        seen = bench.ask("open('made', 'w').close()\nprint(json.dumps([os.getcwd(), os.stat('made').st_mode & 0o777]))")
    finally:
        os.umask(old)
    assert seen == ["/out", 0o644]


def test_output_belongs_to_the_caller(bench: Bench) -> None:
    outcome = bench.run(
        "import os\nos.makedirs('/out/a/b')\nopen('/out/a/b/file', 'w').write('x')\nos.symlink('b', '/out/a/l')"
    )
    assert outcome.ok, bench.log.read_text()
    for path in [bench.out, *bench.out.rglob("*")]:
        assert (path.lstat().st_uid, path.lstat().st_gid) == (os.geteuid(), os.getegid()), path
    assert (bench.out / "a/b/file").read_text() == "x"


def test_nothing_it_leaves_runs_with_the_callers_powers(bench: Bench) -> None:
    bench.run(
        "import os\nos.mkdir('/out/d')\nfor name in ('/out/a', '/out/d/b'):\n"
        "    open(name, 'w').close(); os.chmod(name, 0o6755)\n"
        "os.symlink('/etc', '/out/link')"
    )
    for name in ("a", "d/b"):
        assert stat.S_IMODE((bench.out / name).stat().st_mode) == 0o755
    assert (bench.out / "link").is_symlink()


def test_what_cannot_be_mounted_is_said_before_anything_runs(bench: Bench) -> None:
    with pytest.raises(EngineError, match="nothing-here"):
        bench.start_python("pass", mounts=[Mount(bench.folder / "nothing-here", "/inputs/x")])


def test_an_image_that_is_not_there_is_an_error(engine: Engine, image: Image, bench: Bench) -> None:
    other = replace(
        image, config_digest="sha256:" + "0" * 64, root=bench.folder / "no-root", layout=bench.folder / "no"
    )
    with pytest.raises(ReproError):
        engine.prepare(other, lambda done, total, text: None)
