"""State that lasts from step to step: tensors allocated once, written in place and listed once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


class OwnedState:
    """An object whose `owned` attributes are tensors, or dictionaries of tensors, that keep their memory.

    Checkpoints follow from the list. So do CUDA graphs, which read and write fixed addresses: whoever changes
    such a tensor writes into it (`copy_`, `out=`, `masked_fill_`), and assigning another one is an error.
    Whoever returns one to the outside returns a copy.
    """

    owned: tuple[str, ...] = ()
    """Names of the attributes."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Raises AttributeError where an owned attribute would get another tensor."""
        if name in self.owned:
            present = self.__dict__.get(name)
            if present is not None and present is not value:
                kind = type(self).__name__
                raise AttributeError(f"{kind}.{name} is owned: write into it (copy_, out=)")
        super().__setattr__(name, value)

    def owned_tensors(self) -> dict[str, torch.Tensor]:
        """The tensors themselves by name; those of a dictionary as `attribute.key`."""
        tensors: dict[str, torch.Tensor] = {}
        for name in self.owned:
            value = getattr(self, name)
            if isinstance(value, Mapping):
                tensors |= {f"{name}.{key}": tensor for key, tensor in value.items()}
            else:
                tensors[name] = value
        return tensors

    def state_dict(self) -> dict[str, Any]:
        """Copies of the owned attributes."""
        return {name: _copied(getattr(self, name)) for name in self.owned}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Write saved values into the owned tensors.

        Raises:
            KeyError: a tensor is missing.
            RuntimeError: a tensor has another shape.
        """
        for path, tensor in self.owned_tensors().items():
            name, _, key = path.partition(".")
            saved = state[name][key] if key else state[name]
            if saved.shape != tensor.shape:
                found, needed = tuple(saved.shape), tuple(tensor.shape)
                raise RuntimeError(f"{path}: saved with shape {found}, needed {needed}")
            tensor.copy_(saved)


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: tensor.clone() for key, tensor in value.items()}
    return value.clone()
