"""The robots and their ground in viser's scene."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import viser

from legged_ppo.env.locomotion import LocomotionEnv
from legged_ppo.viewer.arrows import COMMAND_COLOR, VELOCITY_COLOR, heading_of, velocity_arrows
from legged_ppo.viewer.cameras import Camera
from legged_ppo.viewer.ground_mesh import ground_mesh
from legged_ppo.viewer.web_robots import WebRobots

_FOG = (14.0, 40.0)
"""Distances [m] at which the ground begins to fade and is gone."""
_FAR, _FAR_SHARE = 9.0, 0.1
"""Distance [m] to the middle of a tile beyond which the light drawing leaves this share of its triangles."""
_SKY = (214, 226, 238)
_ZENITH, _NADIR, _LIGHT = (225, 235, 255), (150, 145, 135), 1.3
"""Light from above and below; the sun is viser's own, with shadows."""
_CONTACT_COLOR = (255, 140, 30)
_CONTACT_SCALE = 1.5
"""Size of the ball that marks a foot on the ground, in foot radii."""
_HIDDEN = 1e-3
"""Scale of a ball that is not to be seen."""
_LOOK_AT_HEIGHT = -0.06
"""m from the base: the camera looks at the belly."""
FOLLOW = ("position and heading", "position", "off")
"""What of the followed robot the view moves with."""


class WebScene:
    """Draws the robots of an environment, all of them on one tile.

    The view follows a robot by moving the world under the camera, so that the mouse stays free.
    """

    def __init__(self, server: viser.ViserServer, env: LocomotionEnv) -> None:
        self._server, self._env = server, env
        self.followed, self.follow = 0, FOLLOW[0]
        self.arrows, self.contacts = True, True
        self._tile_size = env.terrain.config.tile_size
        self._place: tuple[int, int] | None = None
        self._focus: np.ndarray | None = None
        self._heading = 0.0
        scene = server.scene
        scene.configure_environment_map(hdri=None)  # an image of surroundings loads for seconds
        scene.add_light_hemisphere(
            "/sky",
            sky_color=_ZENITH,
            ground_color=_NADIR,
            intensity=_LIGHT,
            position=(0.0, 0.0, 1.0),
        )
        scene.set_background_image(np.full((2, 2, 3), _SKY, dtype=np.uint8))
        scene.configure_fog(*_FOG, color=_SKY)
        self._world = scene.add_frame("/world", show_axes=False)
        self._ground: Any = None
        self.robots = WebRobots(server, env, "/world/robots")
        self._arrows = scene.add_arrows(
            "/world/arrows",
            np.zeros((2, 2, 3)),
            np.array([COMMAND_COLOR[:3], VELOCITY_COLOR[:3]]),
            shaft_radius=0.012,
            head_radius=0.03,
            head_length=0.06,
        )
        self._feet = self._add_feet()
        self.set_light(False)

    def set_light(self, on: bool) -> None:
        """Draw few triangles without lights and shadows; or everything, which is slow without a GPU."""
        self.light, self._place = on, None
        self._server.scene.configure_default_lights(not on, cast_shadow=not on)
        self.robots.draw(light=on)

    def cut(self) -> None:
        """Let the view jump to the robot in the next frame, as after a reset."""
        self._focus = None

    def update(self, seconds: float) -> None:
        """Draw the environment's state, `seconds` after the frame before."""
        env = self._env
        place = int(env.terrain_type[0]), int(env.terrain_level[0])
        if place != self._place:
            self._place = place
            self._draw_ground()
        base = self.robots.poses.base
        positions, quats = self.robots.poses.of(env)  # [N, bodies, 3], [N, bodies, 4]
        shift = self._images(positions[:, base])
        positions += shift[:, None]
        with self._server.atomic():
            self._aim(positions[self.followed, base], quats[self.followed, base], seconds)
            self.robots.move(positions, quats)
            self._draw_arrows(positions[self.followed, base], quats[self.followed, base])
            self._mark_contacts(shift)

    def set_camera(self, style: Camera) -> None:
        """Where a browser that connects, or presses Home, looks from."""
        elevation, azimuth = math.radians(-style.elevation), math.radians(style.azimuth)
        offset = np.array(
            [
                -math.cos(elevation) * math.cos(azimuth),
                -math.cos(elevation) * math.sin(azimuth),
                math.sin(elevation),
            ]
        )
        position = tuple(float(x) for x in style.distance * offset)
        self._server.initial_camera.position = position
        self._server.initial_camera.look_at = (0.0, 0.0, 0.0)
        for client in self._server.get_clients().values():
            client.camera.position = position
            client.camera.look_at = (0.0, 0.0, 0.0)

    def _add_feet(self) -> Any:
        import trimesh

        count = self._env.num_envs * self._env.robot.num_feet
        ball = trimesh.creation.icosphere(subdivisions=1)
        return self._server.scene.add_batched_meshes_simple(
            "/world/contacts",
            ball.vertices,
            ball.faces,
            np.tile([1.0, 0.0, 0.0, 0.0], (count, 1)),
            np.zeros((count, 3)),
            batched_scales=np.full(count, _HIDDEN),
            batched_colors=_CONTACT_COLOR,
            lod="off",
            cast_shadow=False,
        )

    def _draw_ground(self) -> None:
        """The tile and its eight copies: a robot that crosses an edge enters at the opposite one."""
        assert self._place is not None
        column, level = self._place
        terrain, size = self._env.terrain, self._tile_size
        middle = np.array([*terrain.origins[column, level][:2], 0.0])
        mesh = ground_mesh(terrain.tiles[column][level], size)
        steps = np.array([(i, j, 0.0) for i in (-1, 0, 1) for j in (-1, 0, 1)])
        self._ground = self._server.scene.add_batched_glb(
            "/world/ground",
            (mesh.shaded() if self.light else mesh).glb(lit=not self.light),
            np.tile([1.0, 0.0, 0.0, 0.0], (9, 1)),
            middle + size * steps,
            lod=((_FAR, _FAR_SHARE),) if self.light else "off",
            cast_shadow=False,
            receive_shadow=not self.light,
        )
        self.cut()

    def _images(self, bases: np.ndarray) -> np.ndarray:
        """Shifts [N, 3] m to the copies of the tile on which the robots are nearest to the followed one."""
        shift = np.zeros_like(bases)
        if self.follow != "off":
            away = bases[self.followed, :2] - bases[:, :2]
            shift[:, :2] = np.round(away / self._tile_size) * self._tile_size
        return shift

    def _aim(self, base: np.ndarray, quat: np.ndarray, seconds: float) -> None:
        """Move the world so that the robot is where the camera looks."""
        target = base + np.array([0.0, 0.0, _LOOK_AT_HEIGHT])
        yaw = heading_of(quat)
        if self._focus is None:
            self._focus, self._heading, self._seen = target.copy(), yaw, target
        elif self.follow == "off":
            return
        # Where the robot came in at the opposite edge of its tile, so does the view.
        jump = np.round((target - self._seen)[:2] / self._tile_size) * self._tile_size
        self._focus[:2] += jump
        self._seen = target
        style = Camera()
        self._focus += _share(seconds, style.follow_time) * (target - self._focus)
        if self.follow == FOLLOW[0]:
            turn = math.remainder(yaw - self._heading, math.tau)
            self._heading += _share(seconds, style.turn_time) * turn
        cos, sin = math.cos(-self._heading), math.sin(-self._heading)
        x, y, z = -self._focus
        self._world.wxyz = (math.cos(self._heading / 2), 0.0, 0.0, -math.sin(self._heading / 2))
        self._world.position = (cos * x - sin * y, sin * x + cos * y, z)

    def _draw_arrows(self, base: np.ndarray, quat: np.ndarray) -> None:
        self._arrows.visible, robot = self.arrows, self.followed
        arrows = velocity_arrows(
            base,
            quat,
            self._env.commands.command[robot].cpu().numpy(),
            self._env.simulator.state.base_lin_vel[robot].cpu().numpy(),
        )
        self._arrows.points = np.array([(each.start, each.end) for each in arrows])

    def _mark_contacts(self, shift: np.ndarray) -> None:
        self._feet.visible = self.contacts
        if self.contacts:
            feet = self._env.simulator.state.foot_pos.cpu().numpy() + shift[:, None]
            size = _CONTACT_SCALE * self._env.robot.foot_radius
            touching = self._env.feet.contact.cpu().numpy()
            self._feet.batched_positions = feet.reshape(-1, 3)
            self._feet.batched_scales = np.where(touching, size, _HIDDEN).ravel()


def _share(seconds: float, time_constant: float) -> float:
    """Share of the distance that a first-order lag covers."""
    return 1.0 - math.exp(-seconds / time_constant)
