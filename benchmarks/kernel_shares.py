"""The device's time by kernel and by kind of kernel, from torch's profiler; on a CPU by operator of torch."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

KINDS: dict[str, tuple[str, ...]] = {
    "height fields": ("hfield",),
    "gru": ("gru_outputs", "gru_record", "gru_gradients"),
    "task": ("task_operators",),
    "physics": ("_cuda_kernel_forward",),
    "products": ("gemm", "nvjet", "cutlass", "sm80_x", "sm90_x", "::mm", "::addmm"),
    "factorizations": ("trsm", "potrf", "chol"),
    "copies": ("Mem", "copy_"),
}
"""Parts of the kernels' names, in the order in which they are looked for."""
OTHER = "torch"
_NAME_LENGTH = 90


@dataclass(frozen=True)
class Span:
    """One run of a kernel, in microseconds."""

    name: str
    start: float
    end: float


@dataclass(frozen=True)
class Shares:
    """Times in microseconds, the largest first."""

    total: float
    """From the first start to the last end"""
    busy: float
    """Of it with a kernel running; kernels may overlap"""
    kinds: list[tuple[str, float]]
    kernels: list[tuple[str, float, int]]
    """Name, time and number of runs"""


def recorded(work: Callable[[], Any], device: torch.device) -> list[Span]:
    """What runs on the device during `work`, Warp's kernels and those of graphs included; on a CPU the operators
    of torch that call no others."""
    on_gpu = device.type == "cuda"
    with profile(
        activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]
    ) as profiler:
        work()
        if on_gpu:
            torch.cuda.synchronize(device)
    kinds = torch.autograd.DeviceType  # type: ignore[attr-defined]
    kind = kinds.CUDA if on_gpu else kinds.CPU
    return [
        Span(_short(event.name), event.time_range.start, event.time_range.end)
        for event in profiler.events() or []
        if event.device_type == kind and not event.cpu_children
    ]


def shares(spans: Iterable[Span]) -> Shares:
    """Sums by name and by kind.

    Raises:
        ValueError: there are no spans.
    """
    times: defaultdict[str, float] = defaultdict(float)
    kinds: defaultdict[str, float] = defaultdict(float)
    counts: Counter[str] = Counter()
    ordered = sorted(spans, key=lambda span: span.start)
    if not ordered:
        raise ValueError("the profiler has seen no kernel")
    busy, end = 0.0, ordered[0].start
    for span in ordered:
        duration = span.end - span.start
        times[span.name] += duration
        kinds[kind_of(span.name)] += duration
        counts[span.name] += 1
        busy += max(0.0, span.end - max(span.start, end))
        end = max(end, span.end)
    kernels = [(name, time, counts[name]) for name, time in _largest_first(times)]
    return Shares(end - ordered[0].start, busy, _largest_first(kinds), kernels)


def kind_of(name: str) -> str:
    return next((kind for kind, marks in KINDS.items() if any(m in name for m in marks)), OTHER)


def show(found: Shares, rows: int) -> None:
    """Print the kinds and the largest kernels."""
    whole = sum(time for _, time in found.kinds) or 1.0
    parts = [f"{kind} {100 * time / whole:.0f} %" for kind, time in found.kinds]
    print(f"    busy {found.busy / 1e3:.2f} ms of {found.total / 1e3:.2f}: {', '.join(parts)}")
    for name, time, count in found.kernels[:rows]:
        print(f"    {time / 1e3:9.3f} ms {count:6} x {time / count:8.1f} us  {name}", flush=True)


def _largest_first(times: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(times.items(), key=itemgetter(1), reverse=True)


def _short(name: str) -> str:
    """Without arguments and anonymous namespaces."""
    return name.replace("(anonymous namespace)::", "").partition("(")[0][:_NAME_LENGTH]
