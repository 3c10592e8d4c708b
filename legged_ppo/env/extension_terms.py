"""The terms of a recipe's extensions in one environment: functions, or objects with lasting state."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from legged_ppo.config.extensions import load_extensions
from legged_ppo.config.schema import Config
from legged_ppo.env.rewards import RewardInputs
from legged_ppo.errors import ConfigError

Term = Callable[[RewardInputs], torch.Tensor]


class ExtensionTerms:
    """The rewards and terminations that the recipe chooses, each built once for all robots.

    A term that is a class is made with (num_envs, device). It derives from `OwnedState` and has `reset(mask)`,
    which starts the masked robots [N] bool anew; its tensors are part of the environment's checkpoint.

    Args:
        num_envs: N.
    """

    def __init__(self, config: Config, num_envs: int, device: torch.device) -> None:
        found, task = load_extensions(config.extensions), config.task
        self._shape = torch.Size([num_envs])
        self._stateful: dict[str, Any] = {}

        def built(kind: str, terms: Mapping[str, Any], names: Iterable[str]) -> dict[str, Term]:
            made = {}
            for name in names:
                made[name] = terms[name]
                if inspect.isclass(terms[name]):
                    made[name] = self._stateful[f"{kind}.{name}"] = terms[name](num_envs, device)
            return made

        weights = task.rewards.extra
        active = [name for name in weights if weights[name] != 0.0]
        self.rewards = built("rewards", found.rewards, active)
        self.terminations = built("terminations", found.terminations, task.terminations)

    def ended(self, inputs: RewardInputs) -> torch.Tensor:
        """[N] bool: the robots of `inputs.fell` and those whose episode one of the terminations ends."""
        ended = inputs.fell
        for name, term in self.terminations.items():
            value = term(inputs)
            self._check("TERMINATIONS", name, value, torch.bool)
            ended = ended | value
        return ended

    def reward(self, name: str, inputs: RewardInputs) -> torch.Tensor:
        """[N] value of the reward term `name`."""
        value = self.rewards[name](inputs)
        self._check("REWARDS", name, value, torch.float32)
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

    def _check(self, mapping: str, name: str, value: torch.Tensor, dtype: torch.dtype) -> None:
        """Compare shape and type, which the host knows without waiting for a GPU."""
        if value.shape != self._shape or value.dtype != dtype:
            expected = f"a tensor of shape {tuple(self._shape)} and type {dtype}"
            found = f"{tuple(value.shape)} {value.dtype}"
            raise ConfigError(f"extensions ({mapping}[{name!r}])", found, expected)
