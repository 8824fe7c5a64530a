"""Causes around the job: packages, image, variables, threads, CPU, GPU, engine, tool, machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from repro_tui.errors import ReproError
from repro_tui.manifest.pins import differences
from repro_tui.report.explain.model import Cause, Kind, cause, show
from repro_tui.report.explain.sides import Side
from repro_tui.runs.words import printable, size
from repro_tui.verify import environment
from repro_tui.verify.probe import UNKNOWN

_CALCULATE = frozenset({
    "torch", "numpy", "scipy", "scikit-learn", "transformers", "tokenizers", "datasets", "accelerate", "safetensors",
    "pandas", "tensorflow", "jax", "jaxlib", "keras", "lightgbm", "xgboost", "triton", "mkl", "intel-openmp", "peft",
    "torchvision", "torchaudio", "sentencepiece", "evaluate", "libgomp1", "libopenblas0", "libc6", "libm6",
})  # fmt: skip
"""Packages that are named before others: they calculate, or make what is calculated with."""

_DETERMINISM = ("CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE")

_WHY = {
    Kind.PACKAGE: "another version may calculate otherwise, or have other defaults",
    Kind.IMAGE: "whatever lies in it may be another",
    Kind.VARIABLE: "libraries and scripts read it",
    Kind.THREADS: "sums are split otherwise, so the last bits differ and grow from step to step",
    Kind.CPU_CAPABILITY: "other instructions round otherwise, so the last bits differ and grow from step to step",
    Kind.CPU: "numerical libraries choose their kernels by the CPU, so the last bits may differ",
    Kind.GPU: "another GPU or driver chooses other kernels, so the last bits differ",
    Kind.DETERMINISM: "it decides whether a GPU calculates the same thing twice alike, and how precisely",
    Kind.SEED: "the order of sets in Python follows it",
    Kind.ENGINE: "containers are the same in every engine; it is named for completeness",
    Kind.TOOL: "it starts the training and takes no part in it",
    Kind.MACHINE: "nothing that is calculated should depend on it",
}


def surrounding_causes(left: Side, right: Side) -> Iterator[Cause]:
    """Yield what differs around the job, each part where both sides know it."""
    packages = list(_packages(left, right))
    yield from packages
    yield from _image(left, right, packages)
    yield from _settings(left, right)
    yield from _host(left, right)
    for kind, name, one, other in (
        (Kind.ENGINE, "engine", left.engine, right.engine),
        (Kind.TOOL, "repro-tui", left.version, right.version),
    ):
        if one and other and one != other:
            yield cause(kind, name, (one, other), _WHY[kind])


# --- packages and image -----------------------------------------------------------------------------------------------


def _packages(left: Side, right: Side) -> Iterator[Cause]:
    found = [*_probed(left, right)]
    named = {each.name for each in found}
    if left.lock and right.lock:
        for name in sorted(left.lock.keys() | right.lock.keys()):
            one, other = left.lock.get(name, ""), right.lock.get(name, "")
            if one != other and name not in named:
                found.append(_package(name, one, other, ("in the dependency lock",)))
    yield from sorted(found, key=_package_order)


def _package_order(each: Cause) -> tuple[bool, bool, bool, str]:
    """Return what a package is sorted by: what calculates, what changed, then what is there on one side only."""
    return each.name not in _CALCULATE, each.left == each.right, not (each.left and each.right), each.name


def _package(name: str, one: str, other: str, details: tuple[str, ...] = ()) -> Cause:
    why = _WHY[Kind.PACKAGE]
    if one == other:
        why = "the same version with other files"
    elif not (one and other):
        why = f"{'added' if other else 'removed'} on the right; others may behave otherwise with it there"
    return cause(Kind.PACKAGE, name, (one, other), why, details)


def _probed(left: Side, right: Side) -> Iterator[Cause]:
    one, other = left.environment, right.environment
    if one is None or other is None:
        return
    yield from _python(one["python"], other["python"])
    named = _named_files(left, right)
    for component in ("base", "distributions"):
        for name in sorted(one[component].keys() | other[component].keys()):
            was, now = one[component].get(name), other[component].get(name)
            if was == now:
                continue
            versions = [str(each["version"]) if each else "" for each in (was, now)]
            of = f" in {name} {versions[0]} "
            details = [each.text for each in named if each.component == component and of in each.text]
            yield _package(str(name), versions[0], versions[1], tuple(map(printable, details[:5])))
    if one["other"] != other["other"]:
        details = [each.text for each in named if each.component == "other"]
        why = "scripts and libraries may lie there"
        yield cause(
            Kind.PACKAGE, "files of no package", (one["other"], other["other"]), why, tuple(map(printable, details[:5]))
        )


def _named_files(left: Side, right: Side) -> list[environment.Difference]:
    """Return the differences of the environments named by file, where the probes of both left their listings."""
    one, other = left.environment, right.environment
    if one is None or other is None or left.listing is None or right.listing is None:
        return []
    try:
        return environment.compare(one, other, expected_files=left.listing, observed_files=right.listing)
    except (ReproError, RecursionError):
        return []


def _python(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[Cause]:
    if one.get("version") != other.get("version"):
        yield _package("Python", str(one.get("version")), str(other.get("version")))
        return
    for path, was, now in differences(one, other):
        yield cause(Kind.VARIABLE, f"Python's {printable(path)}", (was, now), "it is how the interpreter was started")


def _image(left: Side, right: Side, packages: list[Cause]) -> Iterator[Cause]:
    names = [name for name in ("manifest", "config") if left.image.get(name) and right.image.get(name)]
    differing = [name for name in names if left.image[name] != right.image[name]]
    for name in differing[:1]:
        made = cause(Kind.IMAGE, f"image {name} digest", (left.image[name], right.image[name]), _WHY[Kind.IMAGE])
        if packages:
            made = made.following(packages[0].name)
        elif left.environment is not None and right.environment is not None:
            made = replace(made, why="the packages inside are the same; its other parts are not")
        yield made
    if left.manifest is None or right.manifest is None or "record" in {left.named.kind, right.named.kind}:
        return
    pins, others = (
        side.manifest.image.model_dump(exclude={"manifest_digest", "config_digest"})
        for side in (left, right)
        if side.manifest is not None
    )
    for path, was, now in differences(pins, others):
        made = cause(Kind.IMAGE, f"image.{path}", (was, now), _WHY[Kind.IMAGE])
        yield made.following("another place for the same image") if names and not differing else made
    locks = (left.manifest.environment.lock_sha256, right.manifest.environment.lock_sha256)
    if locks[0] != locks[1]:
        made = cause(Kind.PACKAGE, "dependency lock", locks, "it says which packages are used")
        if packages:
            made = made.following(packages[0].name)
        elif left.environment is not None and right.environment is not None:
            made = replace(made, why="the packages that were installed are the same", weight=0)
        yield made


# --- variables, threads, CPU capability -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Setting:
    """A pin that several variables and libraries tell of."""

    kind: Kind
    name: str
    variables: tuple[str, ...]
    word: str
    """What the libraries' facts about it have in their name."""


_SETTINGS = (
    _Setting(Kind.THREADS, "threads", ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "threads"),
    _Setting(
        Kind.CPU_CAPABILITY,
        "CPU capability",
        ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS"),
        "cpu_capability",
    ),
)

_Values = dict[str, tuple[Any, Any]]


def _settings(left: Side, right: Side) -> Iterator[Cause]:
    variables, libraries = _variables(left, right), _libraries(left, right)
    for setting, value in zip(_SETTINGS, (_threads, _capability), strict=True):
        yield from _setting(setting, (value(left), value(right)), variables, libraries)
    for name, values in variables.items():
        kind = Kind.VARIABLE
        if name in _DETERMINISM:
            kind = Kind.DETERMINISM
        elif name == "PYTHONHASHSEED":
            kind = Kind.SEED
        elif name.startswith("CUDA_"):
            kind = Kind.GPU
        yield cause(kind, name, values, _WHY[kind])
    for name, values in libraries.items():
        yield cause(Kind.DETERMINISM, name, values, "the libraries in the container say so")


def _setting(setting: _Setting, values: tuple[Any, Any], variables: _Values, libraries: _Values) -> Iterator[Cause]:
    """Yield one cause, whatever variables tell of it; takes these out of what is left to name."""
    told = {each: variables.pop(each) for each in setting.variables if each in variables}
    told |= {f"libraries: {each}": libraries.pop(each) for each in list(libraries) if setting.word in each}
    details = tuple(f"{name}: {show(one) or 'not set'} → {show(two) or 'not set'}" for name, (one, two) in told.items())
    if values[0] != values[1] and None not in values:
        yield cause(setting.kind, setting.name, values, _WHY[setting.kind], details)
    elif told:
        first = next(iter(told))
        yield cause(setting.kind, first, told[first], _WHY[setting.kind], details[1:])


def _threads(side: Side) -> Any:
    if side.named.kind != "record" and side.manifest is not None:
        return side.manifest.environment.threads
    text = "" if side.environment is None else str(side.environment["variables"].get("OMP_NUM_THREADS", ""))
    return int(text) if text.isdecimal() and len(text) < 6 else None


def _capability(side: Side) -> Any:
    if side.named.kind != "record" and side.manifest is not None:
        return side.manifest.environment.cpu_capability
    return None if side.environment is None else side.environment["variables"].get("ATEN_CPU_CAPABILITY")


def _variables(left: Side, right: Side) -> _Values:
    seen: _Values = {}
    if left.environment is not None and right.environment is not None:
        seen |= _differing(left.environment["variables"], right.environment["variables"])
    declared = [side.manifest for side in (left, right) if side.manifest is not None and side.named.kind != "record"]
    if len(declared) == 2:
        seen |= _differing(declared[0].environment.variables, declared[1].environment.variables)
    return seen


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> _Values:
    names = sorted(one.keys() | other.keys())
    return {name: (one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)}


def _libraries(left: Side, right: Side) -> _Values:
    if left.environment is None or right.environment is None:
        return {}
    found = differences(left.environment["libraries"], right.environment["libraries"])
    return {path: (one, other) for path, one, other in found if UNKNOWN not in {str(one), str(other)}}


# --- the machine ------------------------------------------------------------------------------------------------------


def _host(left: Side, right: Side) -> Iterator[Cause]:
    one, other = left.host, right.host
    for name in [*one, *(name for name in other if name not in one)]:
        was, now = one.get(name), other.get(name)
        if was is None or now is None or was == now:
            continue
        kind = {"driver": Kind.GPU, "gpus": Kind.GPU}.get(name, Kind.CPU if name.startswith("cpu_") else Kind.MACHINE)
        details: tuple[str, ...] = ()
        if name == "cpu_flags" and isinstance(was, list) and isinstance(now, list):
            only = [sorted(map(str, set(map(str, a)) - set(map(str, b)))) for a, b in ((was, now), (now, was))]
            was, now = (printable(", ".join(flags)) or "no other" for flags in only)
        yield cause(kind, _host_name(name), (_host_value(name, was), _host_value(name, now)), _WHY[kind], details)


def _host_name(name: str) -> str:
    words = printable(name.removesuffix("_bytes").replace("_", " "))
    return words.replace("cpu", "CPU").replace("gpus", "GPUs")


def _host_value(name: str, value: Any) -> str:
    if name.endswith("_bytes") and isinstance(value, int):
        return size(value)
    if isinstance(value, list):
        return show(", ".join(map(str, value)) or "none")
    return show(value) or "none"
