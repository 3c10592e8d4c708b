"""CUDA graphs of torch's operators: a function is run once, recorded once, and replayed from then on.

A graph reads and writes fixed addresses and repeats no Python. A function that is recorded therefore keeps what
lasts from call to call in tensors that it writes in place (`OwnedState`), takes numbers that change from
tensors, and never waits for the device.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

_log = logging.getLogger(__name__)


class Segment(Protocol):
    """A stretch of operators, recorded until `capture_end`: `torch.cuda.CUDAGraph`."""

    def capture_end(self) -> None: ...

    def replay(self) -> None: ...


Recorder = Callable[[], contextlib.AbstractContextManager[Callable[[], Segment]]]
"""Opens the scope of one recording, in which nothing is computed, and gives what begins a segment:
`CudaRecorder`. The tests emulate one on the CPU."""


class Captured:
    """A function that is run as it is the first time, recorded the second, and replayed from then on; each shape
    of its inputs has its own recording.

    Where the function cannot be recorded, a warning gives the reason and it is run as it is from then on.

    Args:
        work: takes tensors; returns tensors, or containers of tensors, that are valid until the next call.
        name: of the function, for messages.
    """

    def __init__(self, work: Callable[..., Any], recorder: Recorder, name: str) -> None:
        self._work, self._recorder, self._name = work, recorder, name
        self._recordings: dict[tuple[Any, ...], _Recording | None] = {}
        self._refused = False

    @property
    def replays(self) -> bool:
        """Whether there is a recording."""
        return any(self._recordings.values())

    def __call__(self, *inputs: torch.Tensor) -> Any:
        shapes = tuple((x.shape, x.dtype) for x in inputs)
        if self._refused or shapes not in self._recordings:
            self._recordings[shapes] = None
            return self._work(*inputs)
        recording = self._recordings[shapes]
        if recording is None:
            try:
                recording = _Recording(self._work, inputs, self._recorder)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                self._refuse(error)
                return self._work(*inputs)
            self._recordings[shapes] = recording
        return recording.play(inputs)

    def _refuse(self, error: RuntimeError) -> None:
        self._refused = True
        self._recordings.clear()
        reason = str(error).strip().partition("\n")[0]
        _log.warning("%s runs without a CUDA graph: %s, %s", self._name, reason, _origin(error))


class _Recording:
    """The launches of one call, in order: segments of torch's operators, and what runs between them."""

    current: _Recording | None = None

    def __init__(
        self, work: Callable[..., Any], inputs: Sequence[torch.Tensor], recorder: Recorder
    ) -> None:
        self._inputs = [x.clone() for x in inputs]
        self._launches: list[Callable[[], None]] = []
        assert _Recording.current is None, "a recording within another"
        _Recording.current = self
        try:
            with recorder() as self._begin:
                self._segment = self._begin()
                try:
                    self._outputs = work(*self._inputs)
                except BaseException:
                    with contextlib.suppress(RuntimeError):  # the error of the work is the cause
                        self._segment.capture_end()
                    raise
                self._close()
        finally:
            _Recording.current = None

    def interrupt(self, work: Callable[[], None]) -> None:
        """Have `work` done in every replay between what is recorded before it and after it."""
        self._close()
        self._launches.append(work)
        self._segment = self._begin()

    def play(self, inputs: Sequence[torch.Tensor]) -> Any:
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given)
        for launch in self._launches:
            launch()
        return self._outputs

    def _close(self) -> None:
        self._segment.capture_end()
        self._launches.append(self._segment.replay)


def is_recording() -> bool:
    """Whether a recording is under way, in which what runs is not computed and nothing may be compiled."""
    return _Recording.current is not None


def outside_graph(work: Callable[[], None]) -> None:
    """Do what a graph of torch's operators cannot hold: Warp's graphs, communication. During a recording it is
    not done; the replays do it, between two segments."""
    if _Recording.current is None:
        work()
    else:
        _Recording.current.interrupt(work)


class CudaRecorder:
    """`Recorder` on one GPU.

    Args:
        generators: all that the recorded functions draw from, beside torch's own.
    """

    def __init__(self, device: torch.device, generators: Sequence[torch.Generator]) -> None:
        self._device, self._generators = device, generators
        self._stream = torch.cuda.Stream(device)

    @contextlib.contextmanager
    def __call__(self) -> Iterator[Callable[[], Segment]]:
        # Segments are replayed in their order and share their memory; two recordings must not, because the
        # results of one are read after the other was replayed.
        pool = torch.cuda.graph_pool_handle()
        usual = torch.cuda.current_stream(self._device)
        torch.cuda.synchronize(self._device)
        gc.collect()
        torch.cuda.empty_cache()  # the pool cannot use memory that the run before it left
        gc.disable()  # a graph freed during a capture would break it
        try:
            with torch.cuda.stream(self._stream):
                yield lambda: self._begin(pool)
        except BaseException:
            self._recover(pool)
            raise
        finally:
            gc.enable()
        usual.wait_stream(self._stream)

    def _begin(self, pool: Any) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        for generator in self._generators:
            graph.register_generator_state(generator)
        graph.capture_begin(pool, capture_error_mode="thread_local")
        return graph

    def _recover(self, pool: Any) -> None:
        """End a capture that failed. Before PyTorch 2.12 the allocator would go on filling its pool and the
        generators counting for it; a capture that succeeds resets the generators."""
        with torch.cuda.stream(self._stream):
            with contextlib.suppress(RuntimeError):
                torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), pool)
            graph = self._begin(torch.cuda.graph_pool_handle())
            torch.zeros(1, device=self._device)
            graph.capture_end()


def cuda_recorder(
    device: torch.device, generators: Sequence[torch.Generator]
) -> CudaRecorder | None:
    """For work on this device; None where it has no graphs. `generators` as in `CudaRecorder`."""
    return CudaRecorder(device, generators) if device.type == "cuda" else None


def _origin(error: RuntimeError) -> str:
    """File and line that raised it, the last one outside PyTorch."""
    frames = traceback.extract_tb(error.__traceback__)
    library = Path(torch.__file__).parent
    frame = [f for f in frames if library not in Path(f.filename).parents][-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"
