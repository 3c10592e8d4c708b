"""`Captured`: work on tensors that is recorded once and then replayed."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from legged_ppo.runtime.cuda_graphs_errors import CaptureError
from legged_ppo.runtime.cuda_graphs_state import State

_ATTEMPTS = 3
"""Recordings after which tensors that share memory should have been told apart."""
_HABIT = 5
"""Recordings anew of one work of which a line is printed."""


class Segment(Protocol):
    """A stretch of torch's operators, from its making on."""

    def end(self) -> None: ...

    def replay(self) -> None: ...


class Backend(Protocol):
    """What records and replays: `CudaGraphs`."""

    def capturing(
        self, generators: list[torch.Generator]
    ) -> contextlib.AbstractContextManager[Callable[[], Segment]]:
        """Around one recording, in which nothing is computed; gives what begins a segment."""
        ...


class Captured:
    """A function that is run as it is the first time, recorded the second, and replayed from then on; each shape
    of its inputs for itself.

    A graph reads and writes fixed addresses. So whatever the work leaves in another tensor than it was found
    in is copied back at the end of the recording, and the objects get their old tensors again. What somebody
    else puts there between two calls is copied in. Where Python would now decide otherwise than at the
    recording (an attribute that is no tensor has changed, or a shape), it is recorded anew.

    Args:
        work: takes tensors, returns a tensor, or containers of tensors, that is good until the next call.
        owners: named objects through which all that lasts from one call to the next can be reached.
        name: of the work, for messages.
    """

    holds_no_state = True

    def __init__(
        self,
        work: Callable[..., Any],
        owners: Mapping[str, Any],
        backend: Backend,
        name: str,
    ) -> None:
        self._work, self._owners, self._backend, self._name = work, owners, backend, name
        self._warm: set[tuple[Any, ...]] = set()  # shapes of inputs that there were
        self._recordings: dict[tuple[Any, ...], _Recording] = {}
        self._refused, self._times_anew = False, 0

    @property
    def replays(self) -> bool:
        """Whether there is a recording."""
        return bool(self._recordings)

    def __call__(self, *inputs: torch.Tensor) -> Any:
        shapes = tuple((x.shape, x.dtype) for x in inputs)
        if self._refused or shapes not in self._warm:
            self._warm.add(shapes)
            return self._work(*inputs)
        recording = self._recordings.get(shapes)
        if recording is not None and (change := recording.adopt(State.of(self._owners))):
            del self._recordings[shapes], recording
            self._note(change)
            recording = None
        if recording is None:
            try:
                recording = self._record(inputs)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                self._refuse(error)
                return self._work(*inputs)
            self._recordings[shapes] = recording
        return recording.play(inputs)

    def _record(self, inputs: tuple[torch.Tensor, ...]) -> _Recording:
        for _ in range(_ATTEMPTS):
            recording = _Recording(State.of(self._owners), inputs)
            shared = recording.record(self._work, self._owners, self._backend)
            if not shared:
                return recording
            for path in shared:
                recording.state.replace(path, recording.state.tensors[path].clone())
        raise CaptureError(f"{shared[0]} shares its memory with another tensor")

    def _note(self, change: str) -> None:
        """Recording takes seconds: say so where it has become a habit."""
        self._times_anew += 1
        if self._times_anew == _HABIT:
            print(
                f"{self._name}: its CUDA graph was recorded anew {_HABIT} times, now because {change}",
                file=sys.stderr,
            )

    def _refuse(self, error: RuntimeError) -> None:
        self._refused = True
        self._recordings.clear()
        reason = str(error).strip().splitlines()[0]
        if not isinstance(error, CaptureError):
            reason += f", {_origin(error)}"
        print(
            f"{self._name}: no CUDA graph, goes on without ({reason}); "
            "training.cuda_graphs=false does not try",
            file=sys.stderr,
        )


def outside_graph(work: Callable[[], None]) -> None:
    """Do what no graph of torch's can hold: Warp's graphs, communication. In a recording it is left for
    the replays, between a segment that ends here and one that begins."""
    if _Recording.current is None:
        work()
    else:
        _Recording.current.interrupt(work)


class _Recording:
    """One recording: the addresses that it knows, and what to launch in turn."""

    current: _Recording | None = None

    def __init__(self, state: State, inputs: tuple[torch.Tensor, ...]) -> None:
        self.state = state
        self._versions = {path: tensor._version for path, tensor in state.tensors.items()}
        self._addresses = {path: tensor.data_ptr() for path, tensor in state.tensors.items()}
        self._inputs = [x.clone() for x in inputs]
        self._outputs: Any = None
        self._launches: list[Callable[[], None]] = []

    def record(
        self, work: Callable[..., Any], owners: Mapping[str, Any], backend: Backend
    ) -> list[str]:
        """Record; returns the tensors that must get a memory of their own first. Nothing is computed, and all
        owners hold afterwards what they held before.

        Raises:
            CaptureError: the work changes something that is no tensor, or in place what several share.
        """
        shared: list[str] = []
        with backend.capturing(self.state.generators) as begin, self._as_current():
            self._begin = begin
            self._segment = begin()
            try:
                self._outputs = work(*self._inputs)
                shared = self._write_back(State.of(owners))
                self._close()
            except BaseException:
                with contextlib.suppress(RuntimeError):  # whose cause is known
                    self._segment.end()
                raise
            finally:
                self.state.restore()
        return shared

    def interrupt(self, work: Callable[[], None]) -> None:
        self._close()
        self._launches.append(work)
        self._segment = self._begin()

    def adopt(self, now: State) -> str | None:
        """Take over what the owners hold now; says why where this recording does not fit any more."""
        for path, address in self._addresses.items():
            if self.state.tensors[path].data_ptr() != address:
                return f"{path} was given another memory"
        difference = self.state.difference(now)
        if difference is not None:
            return difference
        moved = [p for p, tensor in now.tensors.items() if tensor is not self.state.tensors[p]]
        if moved:
            _copy((now.tensors[p], self.state.tensors[p]) for p in moved)
            self.state.restore()
        return None

    def play(self, inputs: tuple[torch.Tensor, ...]) -> Any:
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given)
        for launch in self._launches:
            launch()
        return self._outputs

    def _write_back(self, after: State) -> list[str]:
        """Copy what the work left elsewhere to where it was found, unless tensors shared memory before
        that they do not share in the same way now: those are returned."""
        difference = self.state.difference(after)
        if difference is not None:
            raise CaptureError(f"{difference} within one call")
        before = self.state.tensors
        moved = [p for p, tensor in after.tensors.items() if tensor is not before[p]]
        shared = _torn_apart(before, after.tensors, moved)
        for path in shared:
            if before[path]._version != self._versions[path]:
                raise CaptureError(f"{path} shares memory that is changed in place")
        if not shared:
            _copy((after.tensors[p], before[p]) for p in moved)
        return shared

    def _close(self) -> None:
        self._segment.end()
        self._launches.append(self._segment.replay)

    @contextlib.contextmanager
    def _as_current(self) -> Iterator[None]:
        assert _Recording.current is None, "a recording within another"
        _Recording.current = self
        try:
            yield
        finally:
            _Recording.current = None


@torch.no_grad()
def _copy(pairs: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Copy sources to their targets as if all at once: a source may lie in another's target."""
    pairs = list(pairs)
    targets = {_memory(target) for _, target in pairs}
    pairs = [(s.clone() if _memory(s) in targets else s, target) for s, target in pairs]
    for source, target in pairs:
        target.copy_(source)


def _torn_apart(
    before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor], moved: list[str]
) -> list[str]:
    """Of the moved tensors those that shared memory with one that has not moved with them."""
    sharing = defaultdict(list)
    for path, tensor in before.items():
        sharing[_memory(tensor)].append(path)
    torn = []
    for path in moved:
        old = before[path]
        if old.numel() == 0:
            continue
        mine = _move(old, after[path])
        others = (p for p in sharing[_memory(old)] if p != path)
        if _overlaps_itself(old) or any(_move(before[p], after[p]) != mine for p in others):
            torn.append(path)
    return torn


def _move(old: torch.Tensor, new: torch.Tensor) -> tuple[int, Any] | None:
    """Into which memory and by how much; None for one that stayed."""
    if old is new:
        return None
    if old.stride() != new.stride():
        return (_memory(new), -1)
    return (_memory(new), new.storage_offset() - old.storage_offset())


def _origin(error: RuntimeError) -> str:
    """The line that led to it, the last one outside PyTorch."""
    frames = traceback.extract_tb(error.__traceback__)
    library = Path(torch.__file__).parent
    frame = [f for f in frames if library not in Path(f.filename).parents][-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


def _overlaps_itself(tensor: torch.Tensor) -> bool:
    """Whether it was expanded, so that nothing can be copied into it."""
    return any(s == 0 and n > 1 for s, n in zip(tensor.stride(), tensor.shape, strict=True))


def _memory(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
