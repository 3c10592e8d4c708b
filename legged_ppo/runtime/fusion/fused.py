"""Functions of objects whose state is in tensors: traced at the first call, then one kernel."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import is_, itemgetter
from typing import Any

import torch

from legged_ppo.runtime.cuda_graphs import is_recording
from legged_ppo.runtime.fusion.graph import Node, UnfusableError
from legged_ppo.runtime.fusion.kernel import Backend, Kernel, extent
from legged_ppo.runtime.fusion.trace import Draw, Guard, Recorder, Storage

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

    It must do the same operators whenever the numbers, strings and Nones among the objects' attributes, and lists
    and dictionaries of such, are equal, and their other attributes but tensors are the same objects. Tensors that
    it returns are new ones, never views of the objects', and integers fit 32 bits. Draws from generators stay as
    they are, before everything else and in the same order. What cannot be compiled runs as it is. Numbers differ
    from the function's own by rounding, where sums and elementary functions are concerned.

    Args:
        function: returns a tensor, None, or a tuple or dictionary of such.
        owners: the objects, at any time.
        robots: N, rows of every tensor that is written or returned.
        backend: compiles kernels for the device of all tensors.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        owners: Callable[[], Sequence[object]],
        robots: int,
        backend: Backend,
    ) -> None:
        self._function, self._owners, self._robots = function, owners, robots
        self._backend, self._name = backend, getattr(function, "__name__", "function")
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
        if is_recording():
            _LOG.debug("%s runs in torch in this graph: nothing is compiled now", self._name)
            return self._function(*arguments)
        try:
            if len(self._compiled) == _MOST:
                raise UnfusableError("too many variants")
            compiled = _Compiled(self._function, owners, arguments, self._robots, self._backend)
        except (UnfusableError, RecursionError) as reason:
            _LOG.debug("%s runs in torch: %s", self._name, reason)
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
        backend: Backend,
    ) -> None:
        self._function = function
        self._python = _PythonState(owners)
        places = _tensor_places(owners)
        present = [vars(owners[i])[name] for i, name in places]
        given = [*arguments, *present]
        large = {i for i, t in enumerate(given) if t.numel() > _LARGE and robots not in t.shape}
        copies = [t if i in large else _copied(t) for i, t in enumerate(given)]
        recorder = Recorder(copies, fixed=large)
        with _replaced(owners, places, copies[len(arguments) :]) as replaced:
            with torch.no_grad(), Guard(), recorder, recorder.keeping_generators():
                result = function(*copies[: len(arguments)])
            assigned = _assigned(owners, replaced)
        _check_assigned(list(assigned.values()), copies, recorder)
        self._draws: list[Draw] = recorder.draws
        results: dict[Node, int] = {}
        self._result = _numbered(result, recorder, results)
        self._assigned = [
            (place, results.setdefault(recorder.value(tensor), len(results)))
            for place, tensor in assigned.items()
        ]
        inputs = [*arguments, *present, *recorder.drawn]
        self._kernel = Kernel(list(results), recorder.written(), inputs, robots, backend)
        first, behind = len(arguments), len(arguments) + len(present)
        used = self._kernel.positions
        self._arguments = [i for i in used if i < first]
        self._state = _Attributes([places[i - first] for i in used if first <= i < behind])
        self._used_draws = [i - behind for i in used if i >= behind]

    def fits(self, owners: Sequence[object]) -> bool:
        """Whether Python's values are those of the trace."""
        return self._python.fits(owners)

    def __call__(self, owners: Sequence[object], arguments: Sequence[torch.Tensor]) -> Any:
        inputs = [arguments[i] for i in self._arguments]
        inputs += self._state.of(owners)
        if self._kernel.shares_memory(inputs):
            return self._function(*arguments)
        drawn = [draw() for draw in self._draws]
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


class _PythonState:
    """What owners hold apart from tensors' values."""

    def __init__(self, owners: Sequence[object]) -> None:
        items = [((i, n), v) for i, owner in enumerate(owners) for n, v in vars(owner).items()]
        tensors = [place for place, value in items if isinstance(value, torch.Tensor)]
        plain = [place for place, value in items if _is_plain(value)]
        others = [place for place, _ in items if place not in {*tensors, *plain}]
        self._tensors, self._plain, self._others = map(_Attributes, (tensors, plain, others))
        self._tensor_types = [*map(type, self._tensors.of(owners))]
        self._types = [*map(type, self._plain.of(owners))]
        self._values = copy.deepcopy(self._plain.of(owners))
        self._objects = self._others.of(owners)
        self._twins = _twins(owners, tensors)

    def fits(self, owners: Sequence[object]) -> bool:
        """Whether it is what it was."""
        values, objects = self._plain.of(owners), self._others.of(owners)
        return (
            [*map(type, values)] == self._types  # 1 and 1.0 are equal
            and values == self._values
            and len(objects) == len(self._objects)
            and all(map(is_, objects, self._objects))
            and [*map(type, self._tensors.of(owners))] == self._tensor_types
            and all(vars(owners[i])[a] is vars(owners[j])[b] for (i, a), (j, b) in self._twins)
        )


def _twins(owners: Sequence[object], places: Sequence[Place]) -> list[tuple[Place, Place]]:
    """Pairs of places that hold the same tensor."""
    first: dict[int, Place] = {}
    pairs = [
        (first.setdefault(id(vars(owners[i])[name]), (i, name)), (i, name)) for i, name in places
    ]
    return [(a, b) for a, b in pairs if a != b]


def _is_plain(value: Any) -> bool:
    """Whether it can be compared with what it was: a number, a string, None, or a list or the like of such."""
    if type(value) in (list, tuple):
        return all(map(_is_plain, value))
    if type(value) is dict:
        return all(map(_is_plain, value)) and all(map(_is_plain, value.values()))
    return isinstance(value, _PLAIN)


def _copied(tensor: torch.Tensor) -> torch.Tensor:
    """A copy with the same strides: what reshapes it must copy or view it as it does the tensor itself."""
    values = tensor.detach()
    cloned = values.clone()
    if cloned.stride() == tensor.stride() or not tensor.numel():
        return cloned
    memory = values.as_strided((extent(tensor),), (1,)).clone()
    return memory.as_strided(tensor.shape, tensor.stride())


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
) -> Iterator[list[dict[str, Any]]]:
    """Copies in place of the owners' tensors, wherever these are attributes; yields the owners' attributes then.

    Raises:
        UnfusableError: at the end, if a list or dictionary among the attributes changed meanwhile.
    """
    before = [dict(vars(owner)) for owner in owners]
    copy_of = {
        id(vars(owners[i])[name]): copy for (i, name), copy in zip(places, copies, strict=True)
    }
    containers = [v for a in before for v in a.values() if type(v) in (list, dict)]
    contents = [c.copy() for c in containers]
    try:
        for owner, attributes in zip(owners, before, strict=True):
            for name, value in attributes.items():
                if isinstance(value, torch.Tensor):
                    vars(owner)[name] = copy_of[id(value)]
        yield [dict(vars(owner)) for owner in owners]
    finally:
        for owner, attributes in zip(owners, before, strict=True):
            vars(owner).clear()
            vars(owner).update(attributes)
        changed = [_restored(*pair) for pair in zip(containers, contents, strict=True)]
    if any(changed):
        raise UnfusableError("a list or dictionary changes")


def _restored(container: Any, content: Any) -> bool:
    """Whether a list or dictionary holds other objects than it did; it gets those back."""
    if isinstance(container, dict):
        same = [*container] == [*content] and all(map(is_, container.values(), content.values()))
    else:
        same = len(container) == len(content) and all(map(is_, container, content))
    if not same:
        container.clear()
        container.update(content) if isinstance(container, dict) else container.extend(content)
    return not same


def _assigned(
    owners: Sequence[object], before: Sequence[dict[str, Any]]
) -> dict[Place, torch.Tensor]:
    """The tensors that the function put into attributes.

    Args:
        before: the attributes that it began with.

    Raises:
        UnfusableError: it changed an attribute that is no tensor, or that becomes none.
    """
    found: dict[Place, torch.Tensor] = {}
    for i, (owner, attributes) in enumerate(zip(owners, before, strict=True)):
        now = vars(owner)
        if attributes.keys() - now.keys():
            raise UnfusableError("an attribute is deleted")
        for name, value in now.items():
            old = attributes.get(name, found)
            if isinstance(value, torch.Tensor) and value is not old:
                found[i, name] = value
            elif value is not old and not (
                _is_plain(old) and type(value) is type(old) and value == old
            ):
                raise UnfusableError(f"the attribute {name} becomes a {type(value).__name__}")
    return found


def _check_assigned(
    assigned: Sequence[torch.Tensor], inputs: Sequence[torch.Tensor], recorder: Recorder
) -> None:
    """An attribute may become a new tensor, but none that shares memory with another one."""
    nodes: dict[Storage, Node] = {}
    lasting = {recorder.storage(tensor) for tensor in inputs}
    for tensor in assigned:
        node, storage = recorder.value(tensor), recorder.storage(tensor)
        if storage in lasting or nodes.setdefault(storage, node) is not node:
            raise UnfusableError("an attribute becomes a view of another tensor")


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
