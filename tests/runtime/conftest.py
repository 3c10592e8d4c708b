"""CUDA graphs emulated on the CPU, from what they do with memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from waiting import waits_for_device

from legged_ppo.runtime.lanes.use import operators_only


class EmulatedRecorder:
    """`Recorder` of operators with the tensors that they read and write. As if nothing had been computed
    meanwhile, all memory and all generators are as before when a segment ends.

    A replay begins with garbage in all that the recording itself allocated, so that nothing but what was there
    before can be relied on, and runs the operators on the same addresses.
    """

    def __init__(self) -> None:
        self.generators: list[torch.Generator] = []
        self.recordings, self.replays = 0, 0

    @contextlib.contextmanager
    def __call__(self) -> Iterator[Callable[[], Any]]:
        self.recordings += 1
        own: dict[int, torch.Tensor] = {}
        yield lambda: EmulatedSegment(self, own)


class EmulatedSegment(TorchDispatchMode):
    """
    Args:
        own: storages that this recording allocated, by address, in all its segments.
    """

    def __init__(self, recorder: EmulatedRecorder, own: dict[int, torch.Tensor]) -> None:
        super().__init__()
        self._recorder, self._own, self._first = recorder, own, not own
        self._generators = [(g, g.get_state()) for g in recorder.generators]
        self._global = torch.get_rng_state()
        self._operators: list[tuple[Any, Any, Any, list[torch.Tensor]]] = []
        self._overwritten: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.__enter__()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if waits_for_device(func, args):
            raise RuntimeError(f"{func} is not permitted in a capture")
        inputs = tensors((args, kwargs))
        if func._schema.is_mutable:
            for tensor in inputs:
                self._keep(tensor)
        results = func(*args, **kwargs)
        fresh = new(results, inputs)
        for tensor in fresh:
            self._own[address(tensor)] = tensor
        if fresh or func._schema.is_mutable:  # else it is a view
            # The operators' own tensors: somebody may turn those in `results` into other views.
            hold = [x.detach() for x in fresh]
            self._operators.append((func, *tree_map(detached, (args, kwargs)), hold))
        return results

    def capture_end(self) -> None:
        self.__exit__(None, None, None)
        for tensor, content in self._overwritten.values():
            whole(tensor).copy_(content)
        for generator, state in self._generators:
            generator.set_state(state)
        assert torch.equal(torch.get_rng_state(), self._global), "a generator that nobody named"

    @torch.no_grad()
    def replay(self) -> None:
        self._recorder.replays += 1
        if self._first:
            for tensor in self._own.values():
                whole(tensor).fill_(0xFF)  # NaN, -1, and no boolean
        for func, args, kwargs, fresh in self._operators:
            results = func(*args, **kwargs)
            for result, tensor in zip(new(results, tensors((args, kwargs))), fresh, strict=True):
                tensor.copy_(result)

    def _keep(self, tensor: torch.Tensor) -> None:
        """Its content, before it is written to for the first time."""
        where = address(tensor)
        if where not in self._own and where not in self._overwritten:
            self._overwritten[where] = (tensor.detach(), whole(tensor).clone())


def tensors(values: Any) -> list[torch.Tensor]:
    return [x for x in tree_leaves(values) if isinstance(x, torch.Tensor)]


def new(results: Any, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    """Tensors of the results that share no memory with the inputs."""
    known = {address(x) for x in inputs}
    return [x for x in tensors(results) if address(x) not in known]


def detached(value: Any) -> Any:
    return value.detach() if isinstance(value, torch.Tensor) else value


def address(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """All of its storage, as bytes."""
    return torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())


@pytest.fixture
def recorder() -> Iterator[EmulatedRecorder]:
    with operators_only():
        yield EmulatedRecorder()
