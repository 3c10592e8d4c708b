"""The depth camera: when frames are taken, how late they arrive, and what noise, holes and mounts do to them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from legged_ppo.config.schema import DepthConfig, TerrainConfig
from legged_ppo.sensors.depth_camera import BasePose, DepthCamera
from legged_ppo.sim.rotations import from_yaw, rotation_matrix
from legged_ppo.terrain.grid import Terrain, build_terrain

DT, SIZE = 0.02, 8.0
EXACT = {"noise": 0.0, "holes": 0.0, "position_error": 0.0, "angle_error_deg": 0.0}


@pytest.fixture(scope="module")
def flat() -> Terrain:
    return build_terrain(TerrainConfig(proportions={"flat": 1.0}, tile_size=SIZE))


def camera(terrain: Terrain, num_envs: int = 3, **settings: Any) -> DepthCamera:
    """Four rows of six pixels that look straight down, from 0.1 m ahead of the base."""
    plain = {"rows": 4, "columns": 6, "horizontal_fov_deg": 40.0, "pitch_deg": 90.0}
    config = DepthConfig(**{**plain, **EXACT, "period_s": [], "latency_s": [], **settings})
    generator = torch.Generator().manual_seed(0)
    return DepthCamera(config, (0.1, 0.0, 0.0), terrain, num_envs, DT, generator)


def above(height: float | torch.Tensor, num_envs: int = 3) -> BasePose:
    position = torch.full((num_envs, 3), SIZE / 2)
    position[:, 2] = height
    return BasePose(
        position=position,
        rotation=rotation_matrix(from_yaw(torch.zeros(num_envs))),
        shift=torch.zeros(num_envs, 2),
        tile=torch.zeros(num_envs, dtype=torch.int64),
    )


def everyone(num_envs: int = 3) -> torch.Tensor:
    return torch.ones(num_envs, dtype=torch.bool)


def depths(found: DepthCamera) -> torch.Tensor:
    """[N] m, which the reading says of the first pixel."""
    near, far = found.config.near, found.config.far
    return (found.reading[:, 0, 0] + 0.5) * (far - near) + near


def test_a_reading_goes_from_near_to_far(flat: Terrain) -> None:
    found = camera(flat, near=0.5, far=1.5)
    assert found.reading.shape == (3, 4, 6)
    for height, expected in ((0.2, -0.5), (0.5, -0.5), (0.75, -0.25), (1.0, 0.0), (1.9, 0.5)):
        found.step(above(height))
        torch.testing.assert_close(found.reading, torch.full((3, 4, 6), expected))


def test_a_frame_stays_for_its_period(flat: Terrain) -> None:
    found = camera(flat, 200, period_s=[0.08, 0.12])
    found.reset(everyone(200), above(0.5, 200))
    seen = []
    for step in range(1, 101):
        found.step(above(0.5 + 0.005 * step, 200))
        seen.append(depths(found))
    changes = (torch.stack(seen).diff(dim=0) > 1e-4).float()
    gaps = [torch.diff(column.nonzero().squeeze(1)) for column in changes.T]
    assert {int(g) for gap in gaps for g in gap} <= {4, 5, 6}
    assert abs(1.0 / (float(changes.mean()) / DT) - 0.1) < 0.003
    assert len({int(column.argmax()) for column in changes.T}) >= 3, "not all at the same time"


def test_a_frame_is_as_old_as_the_robots_delay(flat: Terrain) -> None:
    found = camera(flat, 300, latency_s=[0.01, 0.05])
    found.reset(everyone(300), above(0.5, 300))
    for step in range(1, 8):
        found.step(above(0.5 + 0.1 * step, 300))
    late = (1.2 - depths(found)) / 0.1
    torch.testing.assert_close(late, found.delay, atol=1e-4, rtol=0)
    assert 0.5 <= late.min() < 0.6 and 2.4 < late.max() <= 2.5, "10 to 50 ms in steps of 20"


def test_a_frame_is_as_late_at_an_edge_of_the_tile(flat: Terrain) -> None:
    """On ground with one hurdle, a robot that crosses the edge sees what it would see without the jump."""
    terrain = build_terrain(TerrainConfig(proportions={"hurdles": 1.0}))
    found = camera(terrain, 2, latency_s=[0.03, 0.03])
    found.reset(everyone(2), above(0.6, 2))
    for step in range(6):
        pose = above(0.6, 2)
        pose.position[:, 0] = SIZE - 0.21 + 0.07 * step
        if step >= 3:  # the second robot has jumped
            pose.position[1, 0] -= SIZE
            pose.shift[1, 0] = -SIZE
        found.step(pose)
        torch.testing.assert_close(found.reading[0], found.reading[1], atol=1e-4, rtol=0)


def test_a_reset_shows_the_new_ground_to_the_masked_robots_only(flat: Terrain) -> None:
    settings = {"period_s": [0.1, 0.1], "latency_s": [0.04, 0.04], "position_error": 0.05}
    found = camera(flat, **settings)
    found.reset(everyone(), above(0.5))
    before = {name: value.clone() for name, value in found.state_dict().items()}
    mask = torch.tensor([False, True, False])
    found.reset(mask, above(1.0))
    for name, value in found.state_dict().items():
        robots = 1 if name == "past" else 0
        rows, old = value.movedim(robots, 0), before[name].movedim(robots, 0)
        assert torch.equal(rows[~mask], old[~mask]), name
        if name not in ("time_left", "delay", "mounting"):  # of these, nothing is random here
            assert not torch.equal(rows[mask], old[mask]), name
    assert abs(float(depths(found)[1]) - 1.0) < 0.06, "at once, without a delay"


def test_noise_grows_with_the_square_of_the_depth(flat: Terrain) -> None:
    found = camera(flat, 400, noise=0.02, far=4.0)
    for height in (0.5, 1.0):
        found.step(above(height, 400))
        error = (found.reading + 0.5) * 4.0 - height
        assert float(error.std()) == pytest.approx(0.02 * height**2, rel=0.05)
        assert abs(float(error.mean())) < 1e-3
    found = DepthCamera(
        *(found.config, (0.1, 0.0, 0.0), flat, 5, DT, torch.Generator().manual_seed(0), False)
    )
    found.step(above(1.0, 5))
    torch.testing.assert_close(depths(found), torch.ones(5))


def test_holes_read_as_far(flat: Terrain) -> None:
    found = camera(flat, 400, holes=0.1)
    found.step(above(1.0, 400))
    empty = found.reading == 0.5
    assert float(empty.float().mean()) == pytest.approx(0.1, abs=0.01)
    torch.testing.assert_close(found.reading[~empty], torch.zeros(int((~empty).sum())))


def test_the_mounting_error_is_drawn_for_each_robot_and_episode(flat: Terrain) -> None:
    found = camera(flat, 500, position_error=0.05, angle_error_deg=3.0)
    found.reset(everyone(500), above(1.0, 500))
    moved = found.lens - torch.tensor([0.1, 0.0, 0.0])
    assert 0.045 < moved.abs().max() <= 0.05 and (moved.std(dim=0) > 0.02).all()
    axis = found.mounting[:, :, 0]  # nominally straight down
    off = torch.rad2deg(torch.acos(-axis[:, 2]))
    assert 2.0 < off.max() < 3.0 * math.sqrt(2) + 0.1 and off.mean() > 1.0
    one = torch.eye(3).expand(500, 3, 3)
    torch.testing.assert_close(found.mounting @ found.mounting.transpose(1, 2), one)
    before = found.lens.clone()
    found.step(above(1.0, 500))
    assert torch.equal(found.lens, before), "for the whole episode"


def test_the_camera_sits_ahead_of_the_base_and_looks_down_from_its_axis(flat: Terrain) -> None:
    terrain = build_terrain(TerrainConfig(proportions={"pits": 1.0}, pit_depth=[0.3, 0.3]))
    wall = 1.5  # m from the tile's middle
    found = camera(terrain, 2, pitch_deg=0.0, rows=1, columns=1)
    pose = above(0.15 - 0.3, 2)
    for yaw in (0.0, math.pi / 2, math.pi):
        pose.rotation.copy_(rotation_matrix(from_yaw(torch.tensor([yaw, 0.0]))))
        found.step(pose)
        torch.testing.assert_close(depths(found), torch.full((2,), wall - 0.1), atol=0.02, rtol=0)
    tilted = camera(flat, 2, pitch_deg=30.0, rows=1, columns=1)
    tilted.step(above(0.5, 2))
    torch.testing.assert_close(depths(tilted), torch.full((2,), 1.0), atol=1e-4, rtol=0)


def test_a_saved_camera_goes_on_bit_for_bit(flat: Terrain) -> None:
    settings: dict[str, Any] = {
        "noise": 0.01,
        "holes": 0.05,
        "period_s": [0.04, 0.07],
        "latency_s": [0.0, 0.05],
        "angle_error_deg": 2.0,
    }
    found = camera(flat, **settings)
    found.reset(everyone(), above(0.5))
    for step in range(7):
        found.step(above(0.5 + 0.01 * step))
    state, random = found.state_dict(), found._generator.get_state()
    other = camera(flat, **settings)
    other.load_state_dict(state)
    other._generator.set_state(random)
    for step in range(7, 20):
        for each in (found, other):
            each.step(above(0.5 + 0.01 * step))
        assert torch.equal(found.reading, other.reading)
