"""AMD's GPUs, as the kernel's compute driver lists them: its topology, and a render node for each."""

from __future__ import annotations

import re

from repro_tui.engines.gpus.model import AMD, Found, Gpu, Ground

KFD = "/dev/kfd"
_TOPOLOGY = "/sys/class/kfd/kfd/topology/nodes"
_VRAM_HEAPS = {"1", "2"}
"""Heap types of a memory bank that are the GPU's own: visible to the host, and not."""


def discover(ground: Ground) -> Found:
    """Return the GPUs of the topology whose render node is here, in its order."""
    if not ground.exists(KFD):
        return Found()
    gpus: list[Gpu] = []
    for folder in sorted(ground.path(_TOPOLOGY).glob("*"), key=lambda each: (len(each.name), each.name)):
        node = f"{_TOPOLOGY}/{folder.name}"
        facts = _properties(ground.read(f"{node}/properties"))
        minor = facts.get("drm_render_minor", "0")
        render = f"/dev/dri/renderD{minor}"
        if minor == "0" or facts.get("simd_count", "0") == "0" or not ground.exists(render):
            continue
        device = f"/sys/class/drm/renderD{minor}/device"
        target = _target(int(facts.get("gfx_target_version", "0")))
        unique = int(facts.get("unique_id", "0"))
        gpus.append(
            Gpu(
                AMD, str(len(gpus)), f"GPU-{unique:016x}" if unique else "",
                ground.read(f"{device}/product_name").strip() or f"AMD {target or 'GPU'}",
                (render,),
                memory_total=_memory(ground, node),
                memory_used=_number(ground.read(f"{device}/mem_info_vram_used")),
                compute_capability=target,
            )
        )  # fmt: skip
    driver = ground.read("/sys/module/amdgpu/version").strip() or "of the kernel"
    return Found(tuple(gpus), driver=driver, source=_TOPOLOGY)


def _properties(text: str) -> dict[str, str]:
    return dict(re.findall(r"^(\w+) (\d+)$", text, re.MULTILINE))


def _memory(ground: Ground, node: str) -> int:
    banks = (
        _properties(ground.read(f"{node}/mem_banks/{bank.name}/properties"))
        for bank in ground.path(f"{node}/mem_banks").glob("*")
    )
    return sum(int(bank.get("size_in_bytes", "0")) for bank in banks if bank.get("heap_type") in _VRAM_HEAPS)


def _target(version: int) -> str:
    """Return the name of an instruction set: 90010 is gfx90a."""
    major, minor, step = version // 10000, version // 100 % 100, version % 100
    return f"gfx{major}{minor:x}{step:x}" if version else ""


def _number(text: str) -> int:
    return int(text) if text.strip().isdecimal() else 0
