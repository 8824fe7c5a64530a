"""bundle.json, the first member of a bundle: every other member with its size and digest, and what was left out.

What is read here may come from anybody. A path is accepted only where it means the same on every file system: relative,
without dots, links or control characters, and no two that differ in case or Unicode form only.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from repro_tui.errors import BundleError
from repro_tui.manifest.canonical import canonical
from repro_tui.manifest.paths import format_path
from repro_tui.manifest.trees import tree_digest_of
from repro_tui.runs.words import printable

NAME = "bundle.json"
MAX_INDEX_BYTES = 16 << 20
MAX_MEMBERS = 50_000
MAX_MEMBER_BYTES = 1 << 40
MAX_PATH_BYTES, MAX_NAME_BYTES = 1000, 200
MAX_FOLDERS = 20_000
MAX_TEXT_BYTES = 256 << 20
"""Of a member that is read whole: all but blobs, trees and images."""
ASK = "ask whoever made the bundle for it again; a bundle that is as `repro-tui pack` wrote it is never refused"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Role = Literal[
    "manifest", "lock", "listing", "recipe", "base lock", "record", "wheel", "deb", "data", "weights", "code", "image",
    "report", "events", "metrics", "environment", "log", "metadata", "citation", "licence",
]  # fmt: skip
MANY_ROLES = ("wheel", "deb", "data", "weights", "code", "image", "log", "listing")

_NAMED_BY_DIGEST = re.compile(r"(?:blobs|image/blobs/sha256)/([0-9a-f]{64})")
_TREE = re.compile(r"trees/([0-9a-f]{64})/(.+)")
_RUN = re.compile(
    r"run/(?:seeds/[0-9]{1,10}(?:\.again)?/)?(?:manifest\.toml|events\.jsonl|out/metrics\.jsonl|environment\.json"
    r"|report\.json|report\.md|record\.json|logs/[a-z]{1,32}\.log)"
)
_TOP = ("ro-crate-metadata.json", "croissant.json", "CITATION.cff", "LICENCE")
_IMAGE = ("image/index.json", "image/oci-layout")


class _Table(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, populate_by_name=True, serialize_by_alias=True)


class Member(_Table):
    """One file of the bundle."""

    path: str
    bytes: Annotated[int, Field(ge=0, le=MAX_MEMBER_BYTES)]
    sha256: Sha256
    role: Role
    media_type: str
    name: str = ""
    """What people call it: an artifact's name, a package and its version."""
    executable: bool = False


class LeftOut(_Table):
    """An artifact that is pinned and not in the bundle."""

    artifact: str
    sha256: Sha256 | None = None
    tree_sha256: Sha256 | None = None
    bytes: Annotated[int, Field(ge=0)]
    licence: str = ""
    reason: str


class Pinned(_Table):
    """Which manifest the bundle is of."""

    path: str
    sha256: Sha256


class Index(_Table):
    """Everything that is in a bundle. A later version may add keys."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    experiment: str
    manifest: Pinned
    image: Literal["parts", "oci"]
    """How the image is brought: the wheels and packages it is assembled from, or its layers."""
    made_by: str
    files: list[Member]
    left_out: list[LeftOut] = []

    @property
    def size_bytes(self) -> int:
        """What the members have together, in bytes."""
        return sum(member.bytes for member in self.files)

    def member(self, path: str) -> Member | None:
        """Return the member at a path."""
        return next((member for member in self.files if member.path == path), None)

    def with_role(self, role: Role) -> list[Member]:
        """Return the members that have a role."""
        return [member for member in self.files if member.role == role]


def render(index: Index) -> bytes:
    """Return the index as it stands in a bundle: canonical JSON, so that the same index is the same bytes."""
    return canonical(index.model_dump()) + b"\n"


def parse(content: bytes, bundle: Path) -> Index:
    """Return the index in these bytes; raises BundleError for one that is none, or lists what no bundle may hold."""
    try:
        index = Index.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise refused(bundle, NAME, f"{format_path(first['loc']) or 'it'}: {first['msg']}") from None
    if len(index.files) > MAX_MEMBERS:
        raise refused(bundle, NAME, f"it lists {len(index.files)} members; {MAX_MEMBERS} are allowed")
    for member in index.files:
        if (fault := path_fault(member.path) or _place_fault(member)) is not None:
            raise refused(bundle, NAME, f"it lists {shown(member.path)}: {fault}")
    if (fault := listing_fault([member.path for member in index.files])) is not None:
        raise refused(bundle, NAME, fault)
    if (fault := _tree_fault(index.files)) is not None:
        raise refused(bundle, NAME, fault)
    for each in index.left_out:
        if (each.sha256 is None) == (each.tree_sha256 is None):
            raise refused(bundle, NAME, f"what it says was left out, {shown(each.artifact)}, needs one digest")
    manifest = index.member(index.manifest.path)
    if manifest is None or manifest.role != "manifest" or manifest.sha256 != index.manifest.sha256:
        raise refused(bundle, NAME, f"its manifest {shown(index.manifest.path)} is not among its members")
    if len(index.with_role("manifest")) != 1:
        raise refused(bundle, NAME, "it lists more than one manifest")
    return index


def path_fault(path: str) -> str | None:
    """Return what is wrong with a member's path, None where it means the same everywhere."""
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        return "a path that is no Unicode text"
    parts = path.split("/")
    if path.startswith("/") or re.match(r"^[A-Za-z]:", path):
        return "an absolute path"
    if ".." in parts:
        return "a path that climbs out of the bundle"
    if any(part in {"", "."} for part in parts):
        return "a path with an empty part, or a dot for one"
    if not path.isprintable() or "\\" in path:
        return "a path with a control character or a backslash"
    if len(encoded) > MAX_PATH_BYTES or any(len(part.encode()) > MAX_NAME_BYTES for part in parts):
        return f"a path of {len(encoded)} bytes; {MAX_PATH_BYTES} are allowed, {MAX_NAME_BYTES} a part"
    if unicodedata.normalize("NFC", path) != path:
        return "a path that is not in Unicode's normal form C"
    return None


def listing_fault(paths: Sequence[str]) -> str | None:
    """Return what is wrong with paths as a whole: not sorted, twice, or not to be told apart on some file system."""
    spelled: dict[tuple[int, str], tuple[str, int, bool]] = {}  # (folder, folded name): its name, number, whether file
    before = ""
    for path in paths:
        if path == before:
            return f"{shown(path)} is listed twice"
        if path.encode() < before.encode():
            return f"{shown(path)} is out of order; members are sorted by the bytes of their path"
        before = path
        parts = path.split("/")
        folder = 0
        for depth, part in enumerate(parts, 1):
            is_file = depth == len(parts)
            key = folder, unicodedata.normalize("NFKC", part).casefold()
            name, folder, was_file = spelled.setdefault(key, (part, len(spelled) + 1, is_file))
            if name != part:
                both = shown("/".join(parts[:depth])), shown("/".join([*parts[: depth - 1], name]))
                return f"{both[0]} and {both[1]} differ in case or Unicode form only"
            if was_file != is_file:
                return f"{shown('/'.join(parts[:depth]))} is a file, and {shown(path)} needs a folder there"
        if len(spelled) > len(paths) + MAX_FOLDERS:
            return f"it lists more than {MAX_FOLDERS} folders"
    return None


def _tree_fault(files: Sequence[Member]) -> str | None:
    """Return which folder has not the tree digest that it is named by."""
    trees: dict[str, dict[str, tuple[str, bool]]] = {}
    for member in files:
        if (found := _TREE.fullmatch(member.path)) is not None:
            trees.setdefault(found[1], {})[found[2]] = member.sha256, member.executable
    for name, tree in trees.items():
        if (observed := tree_digest_of(tree)) != name:
            return f"the files that it lists below trees/{name} have the tree digest {observed}"
    return None


def _place_fault(member: Member) -> str | None:
    """Return why a member may not lie where it does."""
    path = member.path
    if (found := _NAMED_BY_DIGEST.fullmatch(path)) is not None:
        return None if found[1] == member.sha256 else f"its name is a digest, and its own is {member.sha256}"
    if _TREE.fullmatch(path):
        return None
    if path.startswith("experiment/") or path in (*_TOP, *_IMAGE) or _RUN.fullmatch(path):
        return None if member.bytes <= MAX_TEXT_BYTES else f"it has more than {MAX_TEXT_BYTES >> 20} MiB"
    return "no member of a bundle lies there"


def counted(files: Iterable[Member]) -> dict[str, tuple[int, int]]:
    """Return how many members of each role there are, and their bytes."""
    found: dict[str, tuple[int, int]] = {}
    for member in files:
        count, size_bytes = found.get(member.role, (0, 0))
        found[member.role] = (count + 1, size_bytes + member.bytes)
    return found


def shown(path: str) -> str:
    """Return a path of unknown origin so that a terminal can be shown it."""
    text = path.encode(errors="backslashreplace").decode()
    text = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
    return repr(text if len(text) <= 120 else f"{text[:117]}…")


def refused(bundle: Path, member: str, what: str, *, hint: str = ASK) -> BundleError:
    """Return the error for a bundle that is not used, and why; `member` is empty where it is about the whole file."""
    told, where = (f"{member}: {what}", f"{bundle}, member {member}") if member else (what, str(bundle))
    return BundleError(f"{bundle.name} is refused: {printable(told)}", where=where, hint=hint)
