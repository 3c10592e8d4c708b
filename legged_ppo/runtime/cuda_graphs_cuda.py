"""CUDA graphs of torch's operators."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from typing import Any

import torch


class CudaGraphs:
    """`Backend` on one GPU."""

    holds_no_state = True

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    @contextlib.contextmanager
    def capturing(self, generators: list[torch.Generator]) -> Iterator[Callable[[], _CudaSegment]]:
        # Segments are replayed in their order and share their memory; two recordings must not, because the
        # results of one are read after the other was replayed.
        pool = torch.cuda.graph_pool_handle()
        generators = [generator for generator in generators if generator.device.type == "cuda"]
        usual = torch.cuda.current_stream(self._device)
        torch.cuda.synchronize(self._device)
        gc.collect()
        torch.cuda.empty_cache()  # the pool can use nothing of what the run before it has left
        gc.disable()  # a graph freed during a capture would break it
        try:
            with torch.cuda.stream(self._stream):
                yield lambda: _CudaSegment(pool, generators)
        except BaseException:
            self._abandon(generators, pool)
            raise
        finally:
            gc.enable()
        usual.wait_stream(self._stream)

    def _abandon(self, generators: list[torch.Generator], pool: Any) -> None:
        """Tidy up after a capture that failed. PyTorch before 2.12 leaves the allocator filling its pool and the
        generators counting for it; a capture that succeeds puts the generators right."""
        with torch.cuda.stream(self._stream):
            with contextlib.suppress(RuntimeError):
                torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), pool)
            segment = _CudaSegment(torch.cuda.graph_pool_handle(), generators)
            torch.zeros(1, device=self._device)
            segment.end()


class _CudaSegment:
    def __init__(self, pool: Any, generators: list[torch.Generator]) -> None:
        self._graph = torch.cuda.CUDAGraph()
        for generator in generators:
            self._graph.register_generator_state(generator)
        self._graph.capture_begin(pool, capture_error_mode="thread_local")

    def end(self) -> None:
        self._graph.capture_end()

    def replay(self) -> None:
        self._graph.replay()


def cuda_graphs(device: torch.device) -> CudaGraphs | None:
    """For work on this device; None where it has no graphs."""
    return CudaGraphs(device) if device.type == "cuda" else None
