"""Left and right exchanged: reflections of observations and actions, and environments with mirrored twins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import mujoco
import numpy as np
import torch

from legged_ppo.config.errors import ConfigError
from legged_ppo.env.environment import Environment, Observations, StepResult
from legged_ppo.robots.spec import RobotSpec


@dataclass
class Reflection:
    """x -> sign * x[..., order], which is its own inverse."""

    order: torch.Tensor
    """[W] int64"""
    sign: torch.Tensor
    """[W] of 1 and -1"""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """The reflection of [..., W]."""
        return x[..., self.order] * self.sign

    @classmethod
    def of_signs(cls, *signs: float) -> Reflection:
        """Every entry stays in its place."""
        return cls(torch.arange(len(signs)), torch.tensor(signs))

    @classmethod
    def joined(cls, parts: Sequence[Reflection]) -> Reflection:
        """Of entries side by side."""
        starts = np.cumsum([0, *(len(p.order) for p in parts)]).tolist()
        orders = [p.order + start for p, start in zip(parts, starts, strict=False)]
        return cls(torch.cat(orders), torch.cat([p.sign for p in parts]))

    def to(self, device: torch.device) -> Reflection:
        return Reflection(self.order.to(device), self.sign.to(device))


VECTOR = Reflection.of_signs(1.0, -1.0, 1.0)
"""x, y, z of a velocity, a force or a direction."""
ROTATION = Reflection.of_signs(-1.0, 1.0, -1.0)
"""x, y, z of an angular velocity or an axis."""


@dataclass
class Mirror:
    """How a robot's left becomes its right."""

    actions: Reflection
    observations: dict[str, Reflection]

    def reflect(self, obs: Observations) -> Observations:
        return {name: self.observations[name](group) for name, group in obs.items()}


def joint_reflection(robot: RobotSpec) -> Reflection:
    """Each joint's angle becomes that of its counterpart on the other side, whose name differs by the
    pairs of `robot.mirror`; with the opposite sign where the axes are not each other's mirror images.

    Raises:
        ConfigError: a joint has no counterpart, or its axis is not the mirror image of that one's.
    """
    model = mujoco.MjModel.from_xml_path(str(robot.path))
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    names = robot.config.joints
    order = _counterparts(robot, "robot.joints", names)
    axes = np.array([data.joint(name).xaxis for name in names])
    alike = (axes * np.array([-1.0, 1.0, -1.0]) * axes[order]).sum(1)
    for name, value in zip(names, alike, strict=True):
        if abs(value) < 1.0 - 1e-4:
            expected = "joints whose axes are mirror images from left to right"
            raise ConfigError("robot.joints", name, expected)
    return Reflection(torch.tensor(order), torch.as_tensor(np.sign(alike), dtype=torch.float32))


def foot_reflection(robot: RobotSpec) -> Reflection:
    """Each foot becomes its counterpart."""
    order = _counterparts(robot, "robot.foot_geoms", robot.config.foot_geoms)
    return Reflection(torch.tensor(order), torch.ones(len(order)))


def grid_reflection(grid: torch.Tensor) -> Reflection:
    """Points (x, y) [D, 2] become those at (x, -y).

    Raises:
        ConfigError: the grid is not the same on both sides.
    """
    # The default for many points multiplies matrices, and loses the digits that count here.
    distance = torch.cdist(
        grid,
        grid * torch.tensor([1.0, -1.0]),
        compute_mode="donot_use_mm_for_euclid_dist",
    )
    nearest, order = distance.min(dim=1)
    if float(nearest.max()) > 1e-6:
        raise ConfigError(
            "task.observations.scandots.y", "uneven", "a grid that is the same on both sides"
        )
    return Reflection(order, torch.ones(len(order)))


def _counterparts(robot: RobotSpec, key: str, names: list[str]) -> list[int]:
    """Index of every name's counterpart."""
    swaps = {a: b for pair in robot.config.mirror for a, b in (pair, reversed(pair))}
    found = []
    for name in names:
        part = next((part for part in swaps if part in name), "")
        other = name.replace(part, swaps[part]) if part else name
        if other not in names:
            expected = f"a counterpart in {key} ({other}); robot.mirror names left and right"
            raise ConfigError(key, name, expected)
        found.append(names.index(other))
    return found


class MirroredEnv:
    """N robots and N twins that live the same life mirrored: the policy sees and acts for 2 N.

    A twin acts as its robot does, mirrored (`couple`); its memory is what the policy remembers of the
    mirrored observations.
    """

    def __init__(self, env: Environment, mirror: Mirror) -> None:
        self.env, self._mirror = env, mirror
        self.num_envs = 2 * env.num_envs
        self.num_actions, self.device, self.obs_dims = env.num_actions, env.device, env.obs_dims
        self.episode_metrics, self.step_metrics = env.episode_metrics, env.step_metrics

    @property
    def strata(self) -> torch.Tensor | None:
        own = self.env.strata
        return None if own is None else torch.cat([own, own])

    @property
    def mirror(self) -> None:
        return None

    def couple(
        self, actions: torch.Tensor, log_probs: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Actions [2 N, A] in which the twins' are their robots', mirrored, and the log-probabilities [2 N] with
        which they were drawn: the robots' for twins too, for that is whose they are."""
        own = actions[: self.env.num_envs]
        coupled = torch.cat([own, self._mirror.actions(own)])
        return coupled, log_probs[: self.env.num_envs].repeat(2)

    def reset(self) -> Observations:
        return self._with_twins(self.env.reset())

    def step(self, actions: torch.Tensor) -> StepResult:
        result = self.env.step(actions[: self.env.num_envs])
        flags = {n: getattr(result, n).repeat(2) for n in ("reward", "terminated", "truncated")}
        return replace(
            result,
            obs=self._with_twins(result.obs),
            final_obs=None if result.final_obs is None else self._with_twins(result.final_obs),
            **flags,
        )

    def anneal(self, progress: float) -> None:
        self.env.anneal(progress)

    def metrics(self) -> dict[str, torch.Tensor]:
        return self.env.metrics()

    def curriculum_report(self) -> dict[str, Any] | None:
        return self.env.curriculum_report()

    def state_dict(self) -> dict[str, Any]:
        return self.env.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.env.load_state_dict(state)

    def load_progress(self, states: list[dict[str, Any]]) -> None:
        self.env.load_progress(states)

    def _with_twins(self, obs: Observations) -> Observations:
        twins = self._mirror.reflect(obs)
        return {name: torch.cat([group, twins[name]]) for name, group in obs.items()}
