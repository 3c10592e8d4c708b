"""Observation groups of a recipe's extensions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from legged_ppo.config.extensions import load_extensions
from legged_ppo.config.schema import Config
from legged_ppo.env.extension_terms import build_terms, check_tensor
from legged_ppo.env.observations import ObservationInputs
from legged_ppo.errors import ConfigError
from legged_ppo.interface import Observations, SignedPermutation, Symmetry
from legged_ppo.robots.spec import RobotSpec
from legged_ppo.runtime.owned_state import OwnedState


@dataclass(frozen=True)
class ObservationGroup:
    """A named group of observations that an extension adds (its mapping `OBSERVATIONS`)."""

    compute: Callable[..., Any]
    """`ObservationInputs` -> [N, width] float32; or a class derived from `OwnedState`, made with (num_envs,
    device) and called so, with `reset(mask)`."""
    width: int | Callable[[RobotSpec], int]
    """Columns of the group, or a function of the robot that returns them."""
    mirror: SignedPermutation | Callable[[RobotSpec], SignedPermutation] | None = None
    """What the columns become when left and right are exchanged; None: unknown, refused by `ppo.symmetry`."""
    privileged: bool = False
    """Append the columns to `privileged`, the input of the critic alone (`policy.critic_privileged`)."""


class ExtensionGroups:
    """The observation groups that the recipe chooses, each built once for all robots.

    Args:
        num_envs: N.

    Raises:
        ConfigError: a value of the mapping is no `ObservationGroup`, or its mirror has another width.
    """

    def __init__(
        self, config: Config, robot: RobotSpec, num_envs: int, device: torch.device
    ) -> None:
        found = load_extensions(config.extensions).observations
        names, self._robot = config.task.observations.groups, robot
        self._groups: dict[str, ObservationGroup] = {}
        for name in names:
            if not isinstance(found[name], ObservationGroup):
                raise _wrong(name, type(found[name]).__name__, "an ObservationGroup")
            self._groups[name] = found[name]
        terms = {name: group.compute for name, group in self._groups.items()}
        self._compute = build_terms(terms, names, num_envs, device)
        self._stateful: dict[str, Any] = {
            name: term for name, term in self._compute.items() if isinstance(term, OwnedState)
        }
        self._shapes = {name: (num_envs, self._width(name)) for name in names}
        self.unsound = torch.zeros(num_envs, dtype=torch.bool, device=device)
        """[N] bool, robots with an observation that is not finite: they fail in the next step"""

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._groups)

    def dims(self, built_in: Mapping[str, int]) -> dict[str, int]:
        """The widths of all groups: the built-in ones, then those of the extensions."""
        dims = dict(built_in)
        for name, group in self._groups.items():
            key = "privileged" if group.privileged else name
            dims[key] = dims.get(key, 0) + self._shapes[name][1]
        return dims

    def extend(
        self, obs: Observations, inputs: ObservationInputs, mask: torch.Tensor | None = None
    ) -> Observations:
        """`obs` with the groups, in which values that are not finite are 0 (`unsound`).

        Args:
            mask: [N] bool, the robots that observe; lasting state of the others stays. None: all.
        """
        obs = dict(obs)
        before = {name: term.state_dict() for name, term in self._stateful.items()}
        for name, group in self._groups.items():
            value = self._compute[name](inputs)
            check_tensor(f"OBSERVATIONS[{name!r}]", value, self._shapes[name], torch.float32)
            bad = ~value.isfinite().all(1)
            self.unsound |= bad if mask is None else bad & mask
            value = torch.where(bad[:, None], 0.0, value)
            obs |= (
                {"privileged": torch.cat([obs["privileged"], value], dim=1)}
                if group.privileged
                else {name: value}
            )
        if mask is not None:
            self._undo(before, ~mask)
        return obs

    def _undo(self, saved: Mapping[str, Mapping[str, torch.Tensor]], mask: torch.Tensor) -> None:
        """Put the masked robots' rows [N] bool of the lasting states back to the saved ones."""
        for name, term in self._stateful.items():
            for key, tensor in term.owned_tensors().items():
                chosen = mask.view(-1, *(1,) * (tensor.dim() - 1))
                torch.where(chosen, saved[name][key], tensor, out=tensor)

    def reset(self, mask: torch.Tensor) -> None:
        """Start the groups of the masked robots [N] bool anew."""
        self.unsound.masked_fill_(mask, False)
        for term in self._stateful.values():
            term.reset(mask)

    def mirrored(self, symmetry: Symmetry) -> Symmetry:
        """The symmetry of the built-in groups extended by that of these.

        Raises:
            ConfigError: a group has no mirror.
        """
        observations = dict(symmetry.observations)
        for name, group in self._groups.items():
            mirror = group.mirror
            if callable(mirror) and not isinstance(mirror, SignedPermutation):
                mirror = mirror(self._robot)
            if mirror is None:
                expected = "a group with a mirror (SignedPermutation), which ppo.symmetry needs"
                raise ConfigError("task.observations.groups", name, expected)
            if len(mirror.order) != self._shapes[name][1]:
                raise _wrong(name, f"a mirror of width {len(mirror.order)}", "the group's width")
            mirror = mirror.to(self.unsound.device)
            if group.privileged:
                own = observations["privileged"]
                observations["privileged"] = SignedPermutation.joined([own, mirror])
            else:
                observations[name] = mirror
        return Symmetry(symmetry.actions, observations)

    def state_dict(self) -> dict[str, Any]:
        """State of the groups; empty without groups."""
        states = {f"observations.{name}": t.state_dict() for name, t in self._stateful.items()}
        return states | {"unsound": self.unsound.clone()} if self._groups else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        if self._groups:
            self.unsound.copy_(state["unsound"])
        for name, term in self._stateful.items():
            term.load_state_dict(state[f"observations.{name}"])

    def _width(self, name: str) -> int:
        width = self._groups[name].width
        width = width if isinstance(width, int) else width(self._robot)
        if type(width) is not int or width < 1:
            raise _wrong(name, f"width {width!r}", "a width of at least 1")
        return width


def _wrong(name: str, value: str, expected: str) -> ConfigError:
    return ConfigError(f"extensions (OBSERVATIONS[{name!r}])", value, expected)
