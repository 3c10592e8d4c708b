"""State that lasts from step to step: tensors allocated once, written in place and listed once."""

from __future__ import annotations

from collections.abc import Mapping

import torch


class OwnedState:
    """An object whose `owned` attributes are tensors that keep their memory.

    Checkpoints and CUDA graphs follow from the list. Whoever changes such a tensor writes into it (`copy_`,
    `out=`, `masked_fill_`); whoever returns one to the outside returns a copy.
    """

    owned: tuple[str, ...]
    """Names of the attributes."""

    def owned_tensors(self) -> dict[str, torch.Tensor]:
        """The tensors themselves by name."""
        return {name: getattr(self, name) for name in self.owned}

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Copies of the owned tensors."""
        return {name: tensor.clone() for name, tensor in self.owned_tensors().items()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Write saved values into the owned tensors.

        Raises:
            KeyError: a tensor is missing.
            RuntimeError: a tensor has another shape.
        """
        for name, tensor in self.owned_tensors().items():
            if state[name].shape != tensor.shape:
                found, needed = tuple(state[name].shape), tuple(tensor.shape)
                raise RuntimeError(f"{name}: saved with shape {found}, needed {needed}")
            tensor.copy_(state[name])
