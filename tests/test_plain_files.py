from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from repro_tui.files import open_plain, read_plain, write_whole


def test_a_file_is_the_old_one_or_the_new_one_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old", mode=0o600)
    assert path.stat().st_mode & 0o777 == 0o600

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_only_plain_files_are_opened_and_no_pipe_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 2000)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("file")
    for name, said in (("pipe", "not a plain"), ("link", "symbolic links"), ("none", "No such"), (".", "not a plain")):
        with pytest.raises(OSError, match=said):
            open_plain(tmp_path / name)
    with open_plain(tmp_path / "link", follow=True) as file:
        assert len(file.read()) == 2000
    assert len(read_plain(tmp_path / "file", 2000)) == 2000
    with pytest.raises(OSError, match="larger than 1 KiB"):
        read_plain(tmp_path / "file", 1999)
