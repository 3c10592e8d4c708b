"""Functions of objects whose state is in tensors: traced at the first call, then one kernel."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Any

import torch

from legged_ppo.runtime.fusion.graph import Node, UnfusableError
from legged_ppo.runtime.fusion.kernel import Kernel, Threads
from legged_ppo.runtime.fusion.trace import Draw, Recorder
from legged_ppo.runtime.lanes.target import host

_LOG = logging.getLogger(__name__)
_MOST = 4
"""Kernels of a function: one for each set of Python's values that it was called with."""
_LARGE = 100_000
"""Entries above which a table is not copied in order to trace a function."""
_PLAIN = (bool, int, float, str, type(None))

Place = tuple[int, str]
"""Which owner, and the name of its attribute."""


class Fused:
    """A function of tensors that reads, writes and assigns tensors of some objects.

    It must do the same operators whenever the numbers, strings and Nones among the objects' attributes, and
    lists of such, are equal. Draws from generators stay as they are, before everything else and in the same
    order. What cannot be compiled runs as it is. Numbers differ from the function's own by rounding, where sums
    and elementary functions are concerned.

    Args:
        function: returns a tensor, None, or a tuple or dictionary of such.
        owners: the objects, at any time.
        robots: N, rows of every tensor that is written or returned.
        threads: None: one.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        owners: Callable[[], Sequence[object]],
        robots: int,
        threads: Threads | None = None,
    ) -> None:
        self._function, self._owners, self._robots = function, owners, robots
        self._threads = threads or Threads(1)
        self._compiled: list[_Compiled] = []
        self._refused = False

    @property
    def compiled(self) -> int:
        """Number of kernels; 0 before the first call, and of a function that runs in torch."""
        return len(self._compiled)

    def __call__(self, *arguments: torch.Tensor) -> Any:
        if self._refused:
            return self._function(*arguments)
        owners = self._owners()
        for compiled in self._compiled:
            if compiled.fits(owners):
                return compiled(owners, arguments)
        try:
            if len(self._compiled) == _MOST:
                raise UnfusableError("too many variants")
            compiled = _Compiled(self._function, owners, arguments, self._robots, self._threads)
        except UnfusableError as reason:
            name = getattr(self._function, "__name__", "function")
            _LOG.debug("%s runs in torch: %s", name, reason)
            self._refused = True
            return self._function(*arguments)
        self._compiled.append(compiled)
        return compiled(owners, arguments)


class _Compiled:
    """The kernel for certain values of Python's."""

    def __init__(
        self,
        function: Callable[..., Any],
        owners: Sequence[object],
        arguments: Sequence[torch.Tensor],
        robots: int,
        threads: Threads,
    ) -> None:
        plain = [
            (i, name)
            for i, owner in enumerate(owners)
            for name, value in vars(owner).items()
            if _is_plain(value)
        ]
        self._plain = _Attributes(plain)
        self._values = [list(v) if isinstance(v, list) else v for v in self._plain.of(owners)]
        places = _tensor_places(owners)
        present = [vars(owners[i])[name] for i, name in places]
        given = [*arguments, *present]
        large = {i for i, t in enumerate(given) if t.numel() > _LARGE and robots not in t.shape}
        copies = [t if i in large else t.clone() for i, t in enumerate(given)]
        recorder = Recorder(copies, fixed=large)
        with _replaced(owners, places, copies[len(arguments) :]):
            with torch.no_grad(), recorder, recorder.keeping_generators():
                result = function(*copies[: len(arguments)])
            assigned = _assigned(owners, places, copies[len(arguments) :])
        self._draws: list[Draw] = recorder.draws
        results: dict[Node, int] = {}
        self._result = _numbered(result, recorder, results)
        self._assigned = [
            (place, results.setdefault(recorder.value(tensor), len(results)))
            for place, tensor in assigned.items()
        ]
        inputs = [*arguments, *present, *recorder.drawn]
        self._kernel = Kernel(list(results), recorder.written(), inputs, robots, host(), threads)
        first, behind = len(arguments), len(arguments) + len(present)
        used = self._kernel.positions
        self._arguments = [i for i in used if i < first]
        self._state = _Attributes([places[i - first] for i in used if first <= i < behind])
        self._used_draws = [i - behind for i in used if i >= behind]

    def fits(self, owners: Sequence[object]) -> bool:
        """Whether Python's values are those of the trace."""
        return self._plain.of(owners) == self._values

    def __call__(self, owners: Sequence[object], arguments: Sequence[torch.Tensor]) -> Any:
        drawn = [draw() for draw in self._draws]
        inputs = [arguments[i] for i in self._arguments]
        inputs += self._state.of(owners)
        inputs += [drawn[i] for i in self._used_draws]
        results = self._kernel(inputs)
        for (i, name), number in self._assigned:
            vars(owners[i])[name] = results[number]
        return _filled(self._result, results)


class _Attributes:
    """Attributes of owners, looked up fast: a step reads hundreds."""

    def __init__(self, places: Sequence[Place]) -> None:
        names: dict[int, list[str]] = {}
        for owner, name in places:
            names.setdefault(owner, []).append(name)
        self._getters = [(owner, itemgetter(*found, found[0])) for owner, found in names.items()]

    def of(self, owners: Sequence[object]) -> list[Any]:
        """Their values; None for all of an owner that lacks one."""
        values: list[Any] = []
        for i, getter in self._getters:
            try:
                values += getter(vars(owners[i]))[:-1]
            except KeyError:
                values.append(None)
        return values


def _is_plain(value: Any) -> bool:
    """Whether it can be compared with what it was: a number, a string, None, or a list or tuple of such."""
    if isinstance(value, (list, tuple)):
        return all(isinstance(item, _PLAIN) for item in value)
    return isinstance(value, _PLAIN)


def _tensor_places(owners: Sequence[object]) -> list[Place]:
    """The places of the owners' tensors; one that has several is taken once."""
    seen: set[int] = set()
    places = []
    for i, owner in enumerate(owners):
        for name, value in vars(owner).items():
            if isinstance(value, torch.Tensor) and id(value) not in seen:
                seen.add(id(value))
                places.append((i, name))
    return places


@contextmanager
def _replaced(
    owners: Sequence[object], places: Sequence[Place], copies: Sequence[torch.Tensor]
) -> Iterator[None]:
    """Copies in place of the owners' tensors, wherever these are attributes."""
    before = [dict(vars(owner)) for owner in owners]
    copy_of = {
        id(vars(owners[i])[name]): copy for (i, name), copy in zip(places, copies, strict=True)
    }
    try:
        for owner, attributes in zip(owners, before, strict=True):
            for name, value in attributes.items():
                if isinstance(value, torch.Tensor):
                    vars(owner)[name] = copy_of[id(value)]
        yield
    finally:
        for owner, attributes in zip(owners, before, strict=True):
            vars(owner).clear()
            vars(owner).update(attributes)


def _assigned(
    owners: Sequence[object], places: Sequence[Place], copies: Sequence[torch.Tensor]
) -> dict[Place, torch.Tensor]:
    """The tensors that the function put into attributes."""
    known = {id(copy) for copy in copies}
    return {
        (i, name): value
        for i, owner in enumerate(owners)
        for name, value in vars(owner).items()
        if isinstance(value, torch.Tensor) and id(value) not in known
    }


def _numbered(value: Any, recorder: Recorder, results: dict[Node, int]) -> Any:
    """A result with numbers in place of tensors, which are added to `results`."""
    if isinstance(value, torch.Tensor):
        return results.setdefault(recorder.value(value), len(results))
    if isinstance(value, tuple):
        return tuple(_numbered(item, recorder, results) for item in value)
    if isinstance(value, dict):
        return {key: _numbered(item, recorder, results) for key, item in value.items()}
    if value is None:
        return None
    raise UnfusableError(f"a result of type {type(value).__name__}")


def _filled(value: Any, results: Sequence[torch.Tensor]) -> Any:
    """The reverse of `_numbered`."""
    if isinstance(value, int):
        return results[value]
    if isinstance(value, tuple):
        return tuple(_filled(item, results) for item in value)
    if isinstance(value, dict):
        return {key: _filled(item, results) for key, item in value.items()}
    return None
