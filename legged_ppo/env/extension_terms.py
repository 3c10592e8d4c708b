"""Rewards and terminations of a recipe's extensions: functions, or objects with lasting state."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from legged_ppo.config.extensions import load_extensions
from legged_ppo.config.schema import Config
from legged_ppo.env.rewards import RewardInputs
from legged_ppo.errors import ConfigError
from legged_ppo.runtime.owned_state import OwnedState

Term = Callable[..., torch.Tensor]


class ExtensionTerms:
    """The rewards and terminations that the recipe chooses, each built once for all robots.

    Args:
        num_envs: N.
    """

    def __init__(self, config: Config, num_envs: int, device: torch.device) -> None:
        found, task = load_extensions(config.extensions), config.task
        self._shape = (num_envs,)
        active = [name for name, weight in task.rewards.extra.items() if weight != 0.0]
        self.rewards = build_terms(found.rewards, active, num_envs, device)
        ends = task.terminations
        self.terminations = build_terms(found.terminations, ends, num_envs, device)
        kinds = {"rewards": self.rewards, "terminations": self.terminations}
        self._stateful: dict[str, Any] = {
            f"{kind}.{name}": term
            for kind, terms in kinds.items()
            for name, term in terms.items()
            if isinstance(term, OwnedState)
        }

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.rewards or self.terminations)

    def ended(self, inputs: RewardInputs) -> torch.Tensor:
        """[N] bool: the robots of `inputs.fell` and those whose episode one of the terminations ends."""
        ended = inputs.fell
        for name, term in self.terminations.items():
            value = term(inputs)
            check_tensor(f"TERMINATIONS[{name!r}]", value, self._shape, torch.bool)
            ended = ended | value
        return ended

    def reward(self, name: str, inputs: RewardInputs) -> torch.Tensor:
        """[N] value of the reward term `name`."""
        value = self.rewards[name](inputs)
        check_tensor(f"REWARDS[{name!r}]", value, self._shape, torch.float32)
        return value

    def reset(self, mask: torch.Tensor) -> None:
        """Start the terms of the masked robots [N] bool anew."""
        for term in self._stateful.values():
            term.reset(mask)

    def state_dict(self) -> dict[str, Any]:
        """State of the terms that have one, by kind and name."""
        return {name: term.state_dict() for name, term in self._stateful.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for name, term in self._stateful.items():
            term.load_state_dict(state[name])


def build_terms(
    terms: Mapping[str, Any], names: Iterable[str], num_envs: int, device: torch.device
) -> dict[str, Term]:
    """The named terms, ready to be called: functions as they are, classes made with (num_envs, device).

    A class derives from `OwnedState` and has `reset(mask)`, which starts the masked robots [N] bool anew. Its
    tensors, [N, ...] each, are part of the environment's checkpoint.

    Raises:
        ConfigError: a class is of another kind.
    """
    built: dict[str, Term] = {}
    for name in names:
        built[name] = terms[name]
        if inspect.isclass(terms[name]):
            if not _lasts(terms[name]):
                expected = "a class derived from runtime.owned_state.OwnedState, with reset(mask)"
                raise ConfigError(f"extensions ({name})", terms[name].__name__, expected)
            built[name] = terms[name](num_envs, device)
    return built


def _lasts(kind: type) -> bool:
    return issubclass(kind, OwnedState) and hasattr(kind, "reset")


def check_tensor(
    name: str, value: torch.Tensor, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    """Compare shape and type of a term's value, which are on the host: no wait for a GPU.

    Raises:
        ConfigError: they differ.
    """
    if tuple(value.shape) != shape or value.dtype != dtype:
        expected = f"a tensor of shape {shape} and type {dtype}"
        raise ConfigError(f"extensions ({name})", f"{tuple(value.shape)} {value.dtype}", expected)
