"""The base of an image: Debian packages unpacked, and the few files that their maintainer scripts would have written.

Nothing is run: no maintainer script, no chroot, no root. What those scripts do that users of a container meet is made
here from the packages' own content: merged /usr, certificates in one file, users, time zone, the package database.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from repro_tui.errors import ManifestError
from repro_tui.images.debs import LockedDeb, Member, open_deb
from repro_tui.images.recipe import BaseRules

OWN = "image"
"""Owner of what the assembler writes itself."""

_MERGED = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")

_FOLDERS = (
    "boot", "code", "dev", "etc", "home", "home/repro", "inputs", "job", "mnt", "opt", "out", "proc", "root", "run",
    "srv", "sys", "usr", "usr/bin", "usr/lib", "usr/lib64", "usr/local", "usr/local/bin", "usr/local/etc",
    "usr/local/include", "usr/local/lib", "usr/local/share", "usr/sbin", "var", "var/cache", "var/lib", "var/log",
)  # fmt: skip
"""Always there; mount points among them, since a container's root is read-only."""

_FILES = {
    "etc/passwd": (
        "root:x:0:0:root:/root:/bin/bash\n"
        "repro:x:1000:1000:repro:/home/repro:/bin/bash\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    ),
    "etc/group": "root:x:0:\nrepro:x:1000:\nnogroup:x:65534:\n",
    "etc/hosts": "127.0.0.1\tlocalhost\n::1\tlocalhost\n",
    "etc/hostname": "repro\n",
    "etc/resolv.conf": "",
    "etc/nsswitch.conf": (
        "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\n"
        "protocols: files\nservices: files\nethers: files\nrpc: files\n"
    ),
    "etc/timezone": "Etc/UTC\n",
    "etc/shells": "/bin/sh\n/bin/bash\n",
}  # fmt: skip

_LINKS = {
    "etc/localtime": "/usr/share/zoneinfo/Etc/UTC",
    "etc/mtab": "/proc/self/mounts",
    "usr/lib/ssl/cert.pem": "/etc/ssl/certs/ca-certificates.crt",
}

_INSTEAD = (
    Member("tmp", "folder", 0o1777), Member("var/tmp", "folder", 0o1777),
    Member("var/run", "link", 0o777, target="/run"), Member("var/lock", "link", 0o777, target="/run/lock"),
)  # fmt: skip
"""In place of what base-files ships, whose folders its maintainer script changes so."""

_BUNDLE = "etc/ssl/certs/ca-certificates.crt"


@dataclass(frozen=True, slots=True)
class Owned:
    """A path of the base, and who put it there."""

    member: Member
    owner: str


def base_members(debs: Sequence[tuple[LockedDeb, bytes]], rules: BaseRules, folders: Iterable[str] = ()) -> list[Owned]:
    """Return everything the base layer holds, sorted by path; `folders` are made besides.

    Raises ManifestError for a malformed package, and where two packages have the same file.
    """
    kept = _keep(rules.drop, rules.keep)
    tree: dict[str, Owned] = {}
    status: list[str] = []
    for deb, data in sorted(debs, key=lambda pair: pair[0].name):
        opened = open_deb(data, deb.name)
        listed = ["/."]
        for member in _merged(opened.members):
            if not kept(member.path if member.type != "folder" else member.path + "/"):
                continue
            _add(tree, Owned(_plain(member), f"{deb.name} {deb.version}"))
            listed.append("/" + member.path)
        status.append(_status(opened.control))
        listing = "\n".join(sorted(listed)) + "\n"
        _add(tree, Owned(_file(f"var/lib/dpkg/info/{deb.name}.list", listing), OWN))
    _add(tree, Owned(_file("var/lib/dpkg/status", "\n".join(status)), OWN))
    _add_own(tree, rules, folders)
    _add_parents(tree)
    _check_parents(tree)
    return [tree[path] for path in sorted(tree, key=str.encode)]


def _keep(drop: Sequence[str], keep: Sequence[str]) -> Callable[[str], bool]:
    dropped = re.compile("|".join(map(_pattern, drop)) or r"(?!)")
    excepted = re.compile("|".join(map(_pattern, keep)) or r"(?!)")
    return lambda path: dropped.match(path) is None or excepted.match(path) is not None


def _pattern(glob: str) -> str:
    """Turn a rule into a regular expression: "a/b/" is a folder with all below, `*` stays within a component."""
    body = re.escape(glob).replace(r"\*", "[^/]*")
    return f"(?:{body})" if glob.endswith("/") else f"(?:{body}$)"


def _merged(members: Iterable[Member]) -> list[Member]:
    """Move /bin, /lib, /sbin … below /usr; links that are relative to where they were get a new text."""
    moved: list[Member] = []
    for member in members:
        top, _, rest = member.path.partition("/")
        if top not in _MERGED:
            moved.append(member)
        elif rest:
            target = member.target
            if member.type == "link" and target.startswith("../"):
                target = "/" + posixpath.normpath(posixpath.join(posixpath.dirname(member.path), target)).lstrip("./")
            moved.append(replace(member, path="usr/" + member.path, target=target))
    return moved


def _plain(member: Member) -> Member:
    """Return it with 0755 or 0644: readable by all, no setuid, setgid or sticky bit, written by nobody else."""
    if member.type == "folder":
        return replace(member, mode=0o755)
    if member.type == "file":
        return replace(member, mode=0o755 if member.mode & 0o111 else 0o644)
    return member


def _file(path: str, text: str) -> Member:
    return Member(path, "file", 0o644, data=text.encode())


def _add(tree: dict[str, Owned], new: Owned) -> None:
    old = tree.get(new.member.path)
    if old is None:
        tree[new.member.path] = new
    elif old.member.type != "folder" or new.member.type != "folder":
        raise ManifestError(
            f"/{new.member.path} is in both {old.owner} and {new.owner}",
            where=new.owner,
            hint="leave one of the packages out of the recipe, or drop the path",
        )


def _status(control: str) -> str:
    """Return a package's paragraph of the package database, as dpkg writes it for one that is installed."""
    lines = control.strip("\n").split("\n")
    first = next((index for index, line in enumerate(lines) if line.startswith("Package:")), 0)
    return "\n".join([*lines[: first + 1], "Status: install ok installed", *lines[first + 1 :]]) + "\n"


def _add_own(tree: dict[str, Owned], rules: BaseRules, folders: Iterable[str]) -> None:
    """Add what packages do not ship; a file of a package is never replaced."""
    own: list[Member] = [Member(path, "folder", 0o755) for path in (*_FOLDERS, *folders)]
    tree.update((member.path, Owned(member, OWN)) for member in _INSTEAD)
    own.extend(
        Member(name, "link", 0o777, target="usr/" + name)
        for name in _MERGED
        if f"usr/{name}" in tree or f"usr/{name}" in _FOLDERS
    )
    own.extend(_file(path, text) for path, text in _FILES.items())
    own.extend(Member(path, "link", 0o777, target=target) for path, target in (_LINKS | rules.links).items())
    certificates = [
        owned.member.data
        for path, owned in sorted(tree.items(), key=lambda pair: pair[0].encode())
        if path.startswith("usr/share/ca-certificates/") and path.endswith(".crt")
    ]
    if certificates:
        bundle = b"".join(data.rstrip(b"\n") + b"\n" for data in certificates)
        own.append(Member(_BUNDLE, "file", 0o644, data=bundle))
    for member in own:
        if member.path not in tree:
            tree[member.path] = Owned(member, OWN)


def _add_parents(tree: dict[str, Owned]) -> None:
    for path in list(tree):
        parent = posixpath.dirname(path)
        while parent and parent not in tree:
            tree[parent] = Owned(Member(parent, "folder", 0o755), OWN)
            parent = posixpath.dirname(parent)


def _check_parents(tree: dict[str, Owned]) -> None:
    """Refuse a path below something that is not a folder: writing it would follow a link out of its place."""
    for path, owned in tree.items():
        parent = posixpath.dirname(path)
        if parent and tree[parent].member.type != "folder":
            raise ManifestError(
                f"/{path} of {owned.owner} lies below /{parent}, which is a {tree[parent].member.type}",
                where=owned.owner,
                hint="drop one of the two in the recipe",
            )
