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


class EmulatedGraphs:
    """`Backend` that records operators with the tensors that they read and write. As if nothing had been
    computed meanwhile, all memory and all generators are as before when a segment ends.

    A replay begins with garbage in all that the recording itself allocated, so that nothing but what was there
    before can be relied on, and runs the operators on the same addresses.
    """

    holds_no_state = True

    def __init__(self) -> None:
        self.recordings, self.replays = 0, 0

    @contextlib.contextmanager
    def capturing(self, generators: list[torch.Generator]) -> Iterator[Callable[[], Any]]:
        self.recordings += 1
        own: dict[int, torch.Tensor] = {}
        yield lambda: EmulatedSegment(self, generators, own)


class EmulatedSegment(TorchDispatchMode):
    """
    Args:
        own: storages that this recording allocated, by address, in all its segments.
    """

    def __init__(
        self,
        graphs: EmulatedGraphs,
        generators: list[torch.Generator],
        own: dict[int, torch.Tensor],
    ) -> None:
        super().__init__()
        self._graphs, self._own = graphs, own
        self._first = not own
        self._generators = [(g, g.get_state()) for g in generators]
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
        inputs = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        if func._schema.is_mutable:
            for tensor in inputs:
                self._keep(tensor)
        results = func(*args, **kwargs)
        outputs = [x for x in tree_leaves(results) if isinstance(x, torch.Tensor)]
        known = {address(x) for x in inputs}
        fresh = [x for x in outputs if address(x) not in known]
        for tensor in fresh:
            self._own[address(tensor)] = tensor
        if fresh or func._schema.is_mutable:  # else it is a view
            # The operators' own tensors: somebody may turn those in `results` into other views.
            hold = [x.detach() for x in fresh]
            self._operators.append((func, *tree_map(detached, (args, kwargs)), hold))
        return results

    def end(self) -> None:
        self.__exit__(None, None, None)
        for tensor, content in self._overwritten.values():
            whole(tensor).copy_(content)
        for generator, state in self._generators:
            generator.set_state(state)
        assert torch.equal(torch.get_rng_state(), self._global), "a generator that nobody named"

    @torch.no_grad()
    def replay(self) -> None:
        self._graphs.replays += 1
        if self._first:
            for tensor in self._own.values():
                spoil(tensor)
        for func, args, kwargs, fresh in self._operators:
            results = func(*args, **kwargs)
            for result, tensor in zip(new(results, args, kwargs), fresh, strict=True):
                tensor.copy_(result)

    def _keep(self, tensor: torch.Tensor) -> None:
        """Its content, before it is written to for the first time."""
        where = address(tensor)
        if where not in self._own and where not in self._overwritten:
            self._overwritten[where] = (tensor.detach(), whole(tensor).clone())


def new(results: Any, args: Any, kwargs: Any) -> list[torch.Tensor]:
    known = {address(x) for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)}
    outputs = [x for x in tree_leaves(results) if isinstance(x, torch.Tensor)]
    return [x for x in outputs if address(x) not in known]


def detached(value: Any) -> Any:
    return value.detach() if isinstance(value, torch.Tensor) else value


def address(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """All of its storage, as bytes."""
    return torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())


def spoil(tensor: torch.Tensor) -> None:
    whole(tensor).fill_(0xFF)  # NaN, -1, and no boolean


@pytest.fixture
def graphs() -> EmulatedGraphs:
    return EmulatedGraphs()
