"""Tracing: a function runs once on real tensors, and its operators become a graph.

Views and mutations disappear on the way. A tensor is a chain of view operators on a base; reading it applies the
chain to the base's present value, and writing into it gives the base a new value.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from legged_ppo.runtime.fusion.graph import Node, UnfusableError

_DRAWS = {"rand", "randn", "randint"}
_VIEWS = {"slice", "select", "view", "unsqueeze", "squeeze", "expand", "permute", "transpose", "t"}
_VIEWS |= {"alias", "detach", "_reshape_alias", "_unsafe_view", "lift_fresh"}
_SAME = {"alias", "detach", "lift_fresh"}
_SPLITS = {"split", "split_with_sizes", "unbind"}
_RESHAPES = {"view", "unsqueeze", "squeeze", "_reshape_alias", "_unsafe_view"}
_SELF_INVERSE = {"transpose", "t"}
_READS = {"_local_scalar_dense", "nonzero", "equal"}
_PAST_DISPATCH = {
    "tolist",
    "numpy",
    "__array__",
    "__dlpack__",
    "__repr__",
    "data_ptr",
    "untyped_storage",
}
_PAST_DISPATCH |= {"apply_", "map_", "map2_", "__set__"}
"""Methods of a tensor that read or replace its memory, and call no operator."""


@dataclass(frozen=True)
class Step:
    """A view operator with its arguments, and the shape that it leads to."""

    name: str
    args: tuple[Any, ...]
    shape: tuple[int, ...]


class Storage:
    """Memory that tensors share, and its present value; what is `fixed` must not be written."""

    def __init__(self, value: Node, fixed: bool = False) -> None:
        self.value, self.fixed = value, fixed


@dataclass
class View:
    """A tensor: steps from a storage's value to its own."""

    storage: Storage
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Draw:
    """A call of a random generator, which stays outside the kernel and becomes an input."""

    function: Callable[..., torch.Tensor]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __call__(self) -> torch.Tensor:
        return self.function(*self.args, **self.kwargs)


class Guard(TorchFunctionMode):
    """Refuses what a `Recorder` cannot see."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name in _PAST_DISPATCH:
            raise UnfusableError(f"{name}: Python reads or replaces a tensor's memory")
        return func(*args, **(kwargs or {}))


class Recorder(TorchDispatchMode):
    """Records every operator that runs under it.

    Args:
        inputs: the tensors that the graph's inputs stand for, in order. A function that reads any other tensor
            which was there before it is refused, because that tensor might change.
        fixed: positions of those that it must not write.
    """

    def __init__(
        self, inputs: Sequence[torch.Tensor], fixed: Collection[int] = frozenset()
    ) -> None:
        super().__init__()
        self._views: dict[int, View] = {}
        self._alive: list[Any] = []  # an id is that of one tensor as long as it lives
        self._reads: dict[tuple[Node, tuple[Step, ...]], Node] = {}
        self.draws: list[Draw] = []
        self.drawn: list[torch.Tensor] = []
        self._generators: dict[torch.Generator, torch.Tensor] = {}
        self.count = len(inputs)
        self._inputs = [self._input(i, tensor, i in fixed) for i, tensor in enumerate(inputs)]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False: torch need not import its own compiler, which takes more than a second."""
        return False

    def _input(self, position: int, tensor: torch.Tensor, fixed: bool = False) -> Storage:
        node = Node("input", (position,), tuple(tensor.shape), tensor.dtype)
        storage = Storage(node, fixed)
        self._bind(tensor, View(storage))
        return storage

    def _bind(self, tensor: torch.Tensor, view: View) -> None:
        self._views[id(tensor)] = view
        self._alive.append(tensor)

    def knows(self, tensor: torch.Tensor) -> bool:
        """Whether the tensor is an input or was computed from one."""
        return id(tensor) in self._views

    def storage(self, tensor: torch.Tensor) -> Storage:
        """The memory of a known tensor."""
        return self._views[id(tensor)].storage

    def value(self, tensor: torch.Tensor) -> Node:
        """What a tensor holds now."""
        view = self._views.get(id(tensor))
        if view is None:
            raise UnfusableError(f"a tensor {tuple(tensor.shape)} that is no input")
        return self._applied(view.storage.value, view.steps)

    def written(self) -> dict[int, Node]:
        """New values of the inputs that were written into, by their positions."""
        values = {i: storage.value for i, storage in enumerate(self._inputs)}
        return {i: node for i, node in values.items() if node.name != "input" or node.args != (i,)}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        _check_operator(func, name)
        known = {key: value for key, value in kwargs.items() if key != "out"}
        written: list[Any] = [
            kwargs.get(a.name) if a.kwarg_only else args[i]
            for i, a in enumerate(func._schema.arguments)
            if a.alias_info is not None and a.alias_info.is_write
        ]
        for target in written:
            if target is not None and self._view_of(name, target).storage.fixed:
                raise UnfusableError(f"{name} into a large tensor without robots")
        outside = name in _DRAWS or name == "lift_fresh"
        values = () if outside else self._values(args)
        if name in _DRAWS:
            return self._draw(func, args, kwargs)
        result = func(*args, **kwargs)
        if written:
            if len(written) > 1:
                raise UnfusableError(f"{name} writes {len(written)} tensors")
            if kwargs.get("out") is not None:
                self._check_out(name, kwargs["out"], args)
            self._write(name, written[0], values, self._values(known))
        elif name == "lift_fresh" and not self.knows(args[0]):
            self._bind(result, View(Storage(_constant(args[0]))))
        elif name in _SPLITS:
            for tensor, step in zip(result, _split_steps(name, args, result), strict=True):
                self._view(args[0], tensor, step)
        elif name in _VIEWS and self.knows(args[0]):
            self._view(args[0], result, Step(name, _hashable(args[1:]), tuple(result.shape)))
        else:
            self._pure(name, values, self._values(known), result)
        return result

    def _values(self, value: Any) -> Any:
        """Arguments with nodes in place of tensors."""
        if isinstance(value, torch.Tensor):
            return self.value(value)
        if isinstance(value, (list, tuple)):
            return type(value)(self._values(item) for item in value)
        if isinstance(value, dict):
            return {key: self._values(item) for key, item in value.items()}
        return value

    @contextmanager
    def keeping_generators(self) -> Iterator[None]:
        """Leave the generators of all draws in the state that they are in."""
        try:
            yield
        finally:
            for generator, state in self._generators.items():
                generator.set_state(state)

    def _draw(self, func: Any, args: Any, kwargs: dict[str, Any]) -> torch.Tensor:
        generator = kwargs.get("generator")
        if generator is None or kwargs.get("out") is not None:
            raise UnfusableError(f"{func} without a generator, or into a tensor")
        if generator not in self._generators:
            self._generators[generator] = generator.get_state()
        result: torch.Tensor = func(*args, **kwargs)
        self.draws.append(Draw(func, args, kwargs))
        self.drawn.append(result)
        self._inputs.append(self._input(self.count, result))
        self.count += 1
        return result

    def _view(self, source: torch.Tensor, result: torch.Tensor, step: Step) -> None:
        view = self._views.get(id(source))
        if view is None:
            raise UnfusableError(f"a tensor {tuple(source.shape)} that is no input")
        if result.dtype != source.dtype:
            raise UnfusableError(f"a view of {source.dtype} as {result.dtype}")
        if result is not source:
            steps = view.steps if step.name in _SAME else (*view.steps, step)
            self._bind(result, View(view.storage, steps))

    def _pure(self, name: str, args: Any, kwargs: Any, result: Any) -> None:
        if not isinstance(result, torch.Tensor):
            raise UnfusableError(f"{name} returns {type(result).__name__}")
        node = Node(name, args, tuple(result.shape), result.dtype, kwargs)
        self._bind(result, View(Storage(node)))

    def _view_of(self, name: str, target: torch.Tensor) -> View:
        if not self.knows(target):
            raise UnfusableError(f"{name} into a tensor that is no input")
        return self._views[id(target)]

    def _write(self, name: str, target: torch.Tensor, args: Any, kwargs: Any) -> None:
        """An operator in place or with `out`: the value of the one without, in the target's type."""
        view = self._view_of(name, target)
        pure = name.removesuffix("_")
        shape, dtype = tuple(target.shape), target.dtype
        if pure == "copy" or (pure == "fill" and isinstance(args[1], Node)):
            node = Node("copy", (args[1],), shape, dtype)
        elif pure in ("fill", "zero"):
            node = Node("full", ([], args[1] if pure == "fill" else 0), shape, dtype)
        else:
            node = Node(pure, args, shape, dtype, kwargs)
        view.storage.value = self._put(view.storage.value, view.steps, node)

    def _check_out(self, name: str, out: torch.Tensor, args: Any) -> None:
        """An operator computes in the type of `out`, so that must be the one it computes in anyway."""
        if out.shape != self.value(out).shape:
            raise UnfusableError(f"{name} gives its `out` another shape")
        types = {tensor.dtype for tensor in _tensors(args)}
        if out.dtype != torch.bool and out.dtype not in types:
            raise UnfusableError(f"{name} of {types} into {out.dtype}")

    def _applied(self, value: Node, steps: tuple[Step, ...]) -> Node:
        if not steps:
            return value
        key = value, steps
        known = self._reads.get(key)
        if known is None:
            inner = self._applied(value, steps[:-1])
            last = steps[-1]
            known = Node(last.name, (inner, *last.args), last.shape, inner.dtype)
            self._reads[key] = known
        return known

    def _put(self, value: Node, steps: tuple[Step, ...], new: Node) -> Node:
        """`value` with `new` in place of what the steps lead to."""
        if not steps:
            return new
        step, rest = steps[0], steps[1:]
        inner = self._put(self._applied(value, steps[:1]), rest, new)
        if step.name in ("slice", "select"):
            args = (value, inner, *step.args)
            return Node(f"{step.name}_scatter", args, value.shape, value.dtype)
        if step.name in _RESHAPES:
            return Node("view", (inner, value.shape), value.shape, value.dtype)
        if step.name in _SELF_INVERSE:
            return Node(step.name, (inner, *step.args), value.shape, value.dtype)
        raise UnfusableError(f"writing through {step.name}")


def _check_operator(func: Any, name: str) -> None:
    """Refuse, before it runs, what a graph of values cannot express."""
    if name in _READS:
        raise UnfusableError(f"{name}: Python reads a tensor's values")
    if torch.Tag.inplace_view in func.tags:
        raise UnfusableError(f"{name} changes a tensor's shape in place")
    if torch.Tag.nondeterministic_seeded in func.tags and name not in _DRAWS:
        raise UnfusableError(f"{name} draws random numbers")
    if func.is_view and name not in _VIEWS | _SPLITS:
        raise UnfusableError(f"the view {name}")


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


def _constant(tensor: torch.Tensor) -> Node:
    """A tensor that the function made of a number of Python's."""
    if tensor.dim():
        raise UnfusableError(f"a tensor {tuple(tensor.shape)} made of numbers of Python's")
    with _disable_current_modes():
        return Node("full", ((), tensor.item()), (), tensor.dtype)


def _hashable(value: Any) -> Any:
    return tuple(_hashable(v) for v in value) if isinstance(value, (list, tuple)) else value


def _split_steps(name: str, args: Any, results: Sequence[torch.Tensor]) -> list[Step]:
    """The views that an operator returns in a list, as slices or selections."""
    dim = args[1] if name == "unbind" and len(args) > 1 else args[2] if len(args) > 2 else 0
    steps, start = [], 0
    for i, tensor in enumerate(results):
        shape = tuple(tensor.shape)
        if name == "unbind":
            steps.append(Step("select", (dim, i), shape))
        else:
            size = shape[dim]
            steps.append(Step("slice", (dim, start, start + size, 1), shape))
            start += size
    return steps
