"""All that some objects hold from one step to the next: tensors by their paths, and what Python decides by."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from legged_ppo.runtime.cuda_graphs_errors import CaptureError

_PLAIN = (bool, int, float, str, bytes, type(None))
"""Compared by value; other objects that are not looked into by identity."""
_CONTAINERS = (dict, list, tuple, SimpleNamespace, nn.Module, torch.optim.Optimizer)
_LIBRARIES = {*sys.stdlib_module_names, "torch", "numpy", "warp", "mujoco", "mujoco_warp"}
"""Their other objects are not looked into: what of them is state, this package has views of."""


@dataclass
class State:
    """What was reachable from the owners through attributes, dictionaries, lists and tuples."""

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    """by path, such as `collector.env.duty`"""
    constants: dict[str, Any] = field(default_factory=dict)
    generators: list[torch.Generator] = field(default_factory=list)
    _places: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    """container and key of each tensor"""
    _contents: list[tuple[Any, Any]] = field(default_factory=list)
    """every container, and a shallow copy of it"""

    @classmethod
    def of(cls, owners: Mapping[str, Any]) -> State:
        """The present state of the named owners. All objects are looked into but those of libraries and of
        classes with the attribute `holds_no_state`, which are constants."""
        state = cls()
        seen: dict[int, Any] = {}
        for name, owner in owners.items():
            state._enter(name, owner, seen)
        return state

    def restore(self) -> None:
        """Put the same objects back into every container; what is in the tensors stays as it is."""
        for container, content in self._contents:
            if isinstance(container, list):
                if not _same(container, content):
                    container[:] = content
            elif not _same(container.values(), content.values()) or list(container) != list(
                content
            ):
                container.clear()
                container.update(content)

    def replace(self, path: str, tensor: torch.Tensor) -> None:
        """Let the owner hold another tensor.

        Raises:
            CaptureError: it is in a tuple.
        """
        container, key = self._places[path]
        if isinstance(container, tuple):
            raise CaptureError(f"{path} shares its memory and is in a tuple")
        container[key] = tensor
        self.tensors[path] = tensor

    def difference(self, other: State) -> str | None:
        """The first thing in which Python would do something else; None if only tensors' values differ."""
        for mine, others in ((self.tensors, other.tensors), (self.constants, other.constants)):
            for path in [*mine, *others]:
                if path not in mine or path not in others:
                    return f"{path} appears or disappears"
        for path, value in self.constants.items():
            if not _equal(value, other.constants[path]):
                return f"{path} changes from {value!r} to {other.constants[path]!r}"
        for path, tensor in self.tensors.items():
            if not _alike(tensor, other.tensors[path]):
                return f"{path} changes its shape or type"
        return None

    def _enter(self, path: str, value: Any, seen: dict[int, Any]) -> None:
        if id(value) in seen:
            return
        seen[id(value)] = value
        content: Any
        items: Iterator[tuple[Any, Any]]
        if isinstance(value, (list, tuple)):
            content, items = value, iter(enumerate(value))
        else:
            content = value if isinstance(value, dict) else vars(value)
            items = iter(content.items())
        if not isinstance(value, tuple):
            self._contents.append((content, content.copy()))
        for number, (key, item) in enumerate(items):
            # Optimizers keep their state by parameter.
            name = key if isinstance(key, (str, int)) else number
            self._add(f"{path}.{name}", content, key, item, seen)

    def _add(self, path: str, container: Any, key: Any, value: Any, seen: dict[int, Any]) -> None:
        if isinstance(value, torch.Tensor):
            self.tensors[path], self._places[path] = value, (container, key)
        elif _is_container(value):
            self._enter(path, value, seen)
        else:
            self.constants[path] = value
            if isinstance(value, torch.Generator) and value not in self.generators:
                self.generators.append(value)


def _is_container(value: Any) -> bool:
    if isinstance(value, _CONTAINERS):
        return True
    kind = type(value)
    library = kind.__module__.partition(".")[0] in _LIBRARIES
    return hasattr(value, "__dict__") and not library and not hasattr(kind, "holds_no_state")


def _same(values: Any, others: Any) -> bool:
    return len(values) == len(others) and all(a is b for a, b in zip(values, others, strict=True))


def _equal(value: Any, other: Any) -> bool:
    if isinstance(value, _PLAIN):
        return type(value) is type(other) and (value == other or value != value)
    return value is other


def _alike(tensor: torch.Tensor, other: torch.Tensor) -> bool:
    return (
        tensor.shape == other.shape
        and tensor.dtype == other.dtype
        and tensor.device == other.device
    )
