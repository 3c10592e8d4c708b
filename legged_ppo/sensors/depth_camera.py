"""The depth camera: images of the terrain ahead, seen late, now and then, with noise and holes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from legged_ppo.config.schema import DepthConfig
from legged_ppo.runtime.device import rows_without_sync
from legged_ppo.runtime.owned_state import OwnedState
from legged_ppo.runtime.sampling import uniform
from legged_ppo.sensors.depth_rendering import DepthRenderer, pixel_directions
from legged_ppo.terrain.grid import Terrain


@dataclass(frozen=True)
class BasePose:
    """Where the bases of N robots are."""

    position: torch.Tensor
    """[N, 3] m, world"""
    rotation: torch.Tensor
    """[N, 3, 3], columns: axes of the base in the world"""
    shift: torch.Tensor
    """[N, 2] m, the sum of the jumps from edge to edge of the tile in this episode"""
    tile: torch.Tensor
    """[N] int64, column times levels plus level"""


class DepthCamera(OwnedState):
    """The cameras of N robots.

    `reading` [N, rows, columns] is the policy's input as of the last frame: the depth along the optical axis from
    -0.5 (`near` and below) to 0.5 (`far` and beyond).

    Args:
        mount: [x, y, z] m of the camera in the base frame, without the mounting error.
        dt: control step [s].
        noisy: add the configured noise and holes.
    """

    owned = ("reading", "time_left", "past", "delay", "lens", "mounting")

    def __init__(
        self,
        config: DepthConfig,
        mount: tuple[float, float, float],
        terrain: Terrain,
        num_envs: int,
        dt: float,
        generator: torch.Generator,
        noisy: bool = True,
    ) -> None:
        self.config, self._dt, self._generator, self._noisy = config, dt, generator, noisy
        device = generator.device
        self.shape = (config.rows, config.columns)
        directions = pixel_directions(*self.shape, config.horizontal_fov_deg)
        self._renderer = DepthRenderer(terrain, directions, config.far, device)
        self._mount = torch.tensor(mount, device=device)
        self.reading = torch.zeros(num_envs, *self.shape, device=device)
        self.time_left = torch.zeros(num_envs, device=device)
        # The last poses, the newest first: position without the tile's jumps, then rotation by rows.
        steps = max(1, math.ceil(config.latency_s[1] / dt)) if config.latency_s else 0
        self.past = torch.zeros(steps + 1, num_envs, 12, device=device)
        self.delay = torch.zeros(num_envs, device=device)
        """[N] control steps between a frame's exposure and its arrival"""
        self.lens = self._mount.repeat(num_envs, 1)
        """[N, 3] m, each robot's camera in its base frame"""
        self.mounting = self._mounting(torch.zeros(num_envs, 3, device=device))
        """[N, 3, 3], columns: optical axis, left and up of each camera in its base frame"""

    def step(self, pose: BasePose) -> None:
        """Let one control step pass."""
        if len(self.past) > 1:
            self.past[1:] = self.past[:-1].clone()
        self.past[0] = _flat(pose)
        if not self.config.period_s:
            self._expose(torch.ones_like(self.time_left, dtype=torch.bool), pose.tile)
            return
        self.time_left -= self._dt
        due = self.time_left < 0.5 * self._dt
        period = uniform(self.config.period_s, due.shape, self._generator)
        # The remainder of either sign is kept, as for the scandots.
        remainder = self.time_left.clamp(min=-0.5 * self._dt)
        torch.where(due, remainder + period, self.time_left, out=self.time_left)
        self._expose(due, pose.tile)

    def reset(self, mask: torch.Tensor, pose: BasePose) -> None:
        """Start anew for the masked robots [N] bool, with other mounts and what they see now."""
        chosen, now, config = mask[:, None], _flat(pose), self.config
        torch.where(chosen, now, self.past, out=self.past)
        if config.period_s:
            period = uniform(config.period_s, mask.shape, self._generator)
            torch.where(mask, period, self.time_left, out=self.time_left)
        if config.latency_s:
            delay = uniform(config.latency_s, mask.shape, self._generator) / self._dt
            torch.where(mask, delay, self.delay, out=self.delay)
        moved, angle = config.position_error, math.radians(config.angle_error_deg)
        shape = self.lens.shape
        lens = self._mount + uniform((-moved, moved), shape, self._generator)
        torch.where(chosen, lens, self.lens, out=self.lens)
        mounting = self._mounting(uniform((-angle, angle), shape, self._generator))
        torch.where(chosen[:, :, None], mounting, self.mounting, out=self.mounting)
        self._expose(mask, pose.tile)

    def render(self, pose: BasePose) -> torch.Tensor:
        """True depths [N, rows, columns] m, at most `far`, at a pose; without delay, noise and holes."""
        return self._depths(_flat(pose), self.lens, self.mounting, pose.tile)

    def _expose(self, due: torch.Tensor, tile: torch.Tensor) -> None:
        """A new frame of the robots that have one due [N] bool, from where they were a delay ago."""
        robots = rows_without_sync(due)
        if len(robots) == 0:
            return
        poses = self._delayed(robots)
        depths = self._depths(poses, self.lens[robots], self.mounting[robots], tile[robots])
        frames = self._normalized(self._measured(depths))
        if len(robots) == len(due):
            torch.where(due[:, None, None], frames, self.reading, out=self.reading)
        else:
            self.reading.index_copy_(0, robots, frames)

    def _delayed(self, robots: torch.Tensor) -> torch.Tensor:
        """Poses [n, 12] of robots, between two control steps."""
        if len(self.past) == 1:
            return self.past[0, robots]
        delay = self.delay[robots]
        newer = delay.long().clamp(max=len(self.past) - 2)
        between = (delay - newer)[:, None]
        return torch.lerp(self.past[newer, robots], self.past[newer + 1, robots], between)

    def _depths(
        self, poses: torch.Tensor, lens: torch.Tensor, mounting: torch.Tensor, tile: torch.Tensor
    ) -> torch.Tensor:
        position, rotation = poses[:, :3], poses[:, 3:].view(-1, 3, 3)
        camera = position + (rotation @ lens[:, :, None])[:, :, 0]
        depths = self._renderer(camera, rotation @ mounting, tile)
        return depths.view(-1, *self.shape)

    def _measured(self, depths: torch.Tensor) -> torch.Tensor:
        """Depths with noise and holes."""
        config, generator, device = self.config, self._generator, depths.device
        if not self._noisy:
            return depths
        if config.noise > 0.0:
            noise = torch.randn(depths.shape, generator=generator, device=device)
            depths = depths + config.noise * depths.square() * noise
        if config.holes > 0.0:
            drawn = torch.rand(depths.shape, generator=generator, device=device)
            depths = torch.where(drawn < config.holes, config.far, depths)
        return depths

    def _normalized(self, depths: torch.Tensor) -> torch.Tensor:
        near, far = self.config.near, self.config.far
        return ((depths - near) / (far - near)).clamp(0.0, 1.0) - 0.5

    def _mounting(self, error: torch.Tensor) -> torch.Tensor:
        """[N, 3, 3] of errors [N, 3] rad about the optical axis, across and up."""
        pitch = error[:, 1] + math.radians(self.config.pitch_deg)
        return _about(2, error[:, 2]) @ _about(1, pitch) @ _about(0, error[:, 0])


def _flat(pose: BasePose) -> torch.Tensor:
    """[N, 12], the position on an endless tile and the rotation by rows."""
    along = pose.position[:, :2] - pose.shift
    return torch.cat([along, pose.position[:, 2:], pose.rotation.flatten(1)], dim=1)


def _about(axis: int, angle: torch.Tensor) -> torch.Tensor:
    """Rotations [N, 3, 3] by angles [N] rad about an axis of the frame."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    rotation = torch.eye(3, device=angle.device).repeat(len(angle), 1, 1)
    rotation[:, first, first] = rotation[:, second, second] = torch.cos(angle)
    rotation[:, second, first] = torch.sin(angle)
    rotation[:, first, second] = -torch.sin(angle)
    return rotation
