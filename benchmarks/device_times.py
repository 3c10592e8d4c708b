"""Times of work on a device, and floors of a machine that no program goes below."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

_CHAIN = 300
"""Small operators in one measured piece of work."""
_PRODUCTS = {"cuda": (20, 20), "cpu": (1, 2)}
"""Matrix products in one piece, and pieces."""
_COPIED = {"cuda": 2**28, "cpu": 2**22}
"""float32 numbers of a copy, beyond the caches."""
_PRECISIONS = {"float32": "highest", "tf32": "high"}


@dataclass(frozen=True)
class Timing:
    """Seconds of a call on the device, and until Python had launched it."""

    device: float
    host: float


def timed(
    work: Callable[[], Any], device: torch.device, times: int = 20, warmup: int = 3
) -> Timing:
    """Means over calls that follow one another without waiting; on a CPU both times are the same."""
    for _ in range(warmup):
        work()
    if device.type != "cuda":
        begin = time.perf_counter()
        for _ in range(times):
            work()
        seconds = (time.perf_counter() - begin) / times
        return Timing(seconds, seconds)
    torch.cuda.synchronize(device)
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin = time.perf_counter()
    first.record()
    for _ in range(times):
        work()
    last.record()
    host = (time.perf_counter() - begin) / times
    torch.cuda.synchronize(device)
    return Timing(first.elapsed_time(last) / 1e3 / times, host)


def operator_time(device: torch.device) -> dict[str, float]:
    """Seconds of a small operator that waits for the one before it: launched by Python, the launch alone, and
    within a CUDA graph."""
    x = torch.rand(4096, 12, device=device)

    def chain() -> None:
        for _ in range(_CHAIN):
            x.mul_(1.0001)

    eager = timed(chain, device)
    found = {"launched": eager.device / _CHAIN, "in Python": eager.host / _CHAIN}
    if device.type == "cuda":
        found["in a graph"] = timed(graph_of(chain).replay, device).device / _CHAIN
    return found


def copy_rate(device: torch.device) -> float:
    """Bytes per second that a large copy reads and writes."""
    source = torch.zeros(_COPIED[device.type], device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / timed(lambda: target.copy_(source), device).device


def product_time(shape: tuple[int, int, int], precision: str, device: torch.device) -> float:
    """Seconds of a product [M, K] x [K, N] in `float32` or `tf32`, on a GPU within a CUDA graph."""
    m, k, n = shape
    a, b = torch.rand(m, k, device=device), torch.rand(k, n, device=device)

    count, times = _PRODUCTS[device.type]

    def products() -> None:
        for _ in range(count):
            a @ b

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(_PRECISIONS[precision])
    try:
        work = graph_of(products).replay if device.type == "cuda" else products
        return timed(work, device, times).device / count
    finally:
        torch.set_float32_matmul_precision(before)


def graph_of(work: Callable[[], Any]) -> torch.cuda.CUDAGraph:
    """A recording of work that was done once before, as libraries allocate what they need then."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph
