"""Depth images against MuJoCo's rays, on every terrain type, and compiled code against tensors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from depth_camera import agreement, near_edges, turned

from legged_ppo.config.schema import TerrainConfig
from legged_ppo.sensors.depth_rendering import DepthRenderer, TorchMarch, pixel_directions
from legged_ppo.terrain.grid import Terrain, build_terrain
from legged_ppo.terrain.surface import build_surface
from legged_ppo.terrain.types import make_tile_types

TYPES = list(make_tile_types(TerrainConfig()))
LEVELS, FAR, POSES = 3, 2.0, 3
ROWS, COLUMNS = 29, 44
DIRECTIONS = pixel_directions(ROWS, COLUMNS, 87.0)


@pytest.fixture(scope="module")
def terrain() -> Terrain:
    config = TerrainConfig(
        proportions=dict.fromkeys(TYPES, 1.0),
        num_levels=LEVELS,
        fractal_height=[0.02, 0.04],
        roughness=[0.02, 0.12],
    )
    return build_terrain(config)


@pytest.fixture(scope="module")
def renderer(terrain: Terrain) -> DepthRenderer:
    return DepthRenderer(terrain, DIRECTIONS, FAR, torch.device("cpu"))


@pytest.mark.parametrize("name", TYPES)
def test_depths_are_those_of_mj_ray(terrain: Terrain, renderer: DepthRenderer, name: str) -> None:
    median, off, inside = agreement(terrain, renderer, DIRECTIONS, (ROWS, COLUMNS), name, POSES)
    assert 0.0 < median < 1e-3
    assert off < 0.02, "of all pixels, those at edges among them"
    assert inside < 0.01


def test_edges_are_where_depths_leave_a_plane() -> None:
    directions = DIRECTIONS.double().numpy().reshape(3, ROWS, COLUMNS)
    ground = 0.4 / (0.8 - directions[2])  # level ground below a camera that looks down
    assert not near_edges(ground).any()
    step = ground.copy()
    step[:, COLUMNS // 2 :] -= 0.2
    found = near_edges(step)
    columns = np.flatnonzero(found.any(axis=0))
    assert found.all(axis=0)[COLUMNS // 2] and columns.min() >= COLUMNS // 2 - 2
    assert columns.max() <= COLUMNS // 2 + 1


def poses(terrain: Terrain, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Positions [n, 3], rotations [n, 3, 3] and tiles [n] of cameras above all tiles."""
    rng = np.random.default_rng(1)
    tile = torch.arange(count) % (len(TYPES) * LEVELS)
    position = torch.from_numpy(terrain.origins.reshape(-1, 3)).float()[tile]
    position += torch.from_numpy(rng.uniform([-3, -3, 0.3], [3, 3, 0.6], (count, 3))).float()
    angles = rng.uniform([-3, -0.2, -0.3], [3, 0.8, 0.3], (count, 3))
    rotation = np.stack([turned(*each) for each in angles])
    return position, torch.from_numpy(rotation).float(), tile


def test_tensors_and_compiled_code_agree(terrain: Terrain, renderer: DepthRenderer) -> None:
    surface = build_surface(terrain)
    planes, where = torch.from_numpy(surface.planes), poses(terrain, 39)
    compiled = renderer(*where)
    tensors = DepthRenderer(terrain, DIRECTIONS, FAR, torch.device("cpu"))
    tensors._march = TorchMarch(planes, surface.cells, DIRECTIONS, FAR)
    difference = (compiled - tensors(*where)).abs()
    assert (difference > 1e-4).float().mean() < 1e-3, "rounding at edges"
    assert difference.median() < 1e-6


def test_threads_change_no_bit_and_every_camera_is_rendered_alone(
    terrain: Terrain, renderer: DepthRenderer
) -> None:
    where = poses(terrain, 7)
    together = renderer(*where)
    two = DepthRenderer(terrain, DIRECTIONS, FAR, torch.device("cpu"), threads=2)
    assert torch.equal(two(*where), together)
    alone = [renderer(*(part[i : i + 1] for part in where)) for i in range(7)]
    assert torch.equal(torch.cat(alone), together)


def test_a_tile_goes_on_at_its_opposite_edge(terrain: Terrain, renderer: DepthRenderer) -> None:
    position, rotation, tile = poses(terrain, 13)
    shifted = position + torch.tensor([8.0, -8.0, 0.0])
    difference = (renderer(position, rotation, tile) - renderer(shifted, rotation, tile)).abs()
    assert (difference > 1e-3).float().mean() < 1e-3, "rounding at edges"


def test_level_ground_has_the_depths_of_its_geometry(renderer: DepthRenderer) -> None:
    terrain = build_terrain(TerrainConfig(proportions={"flat": 1.0}))
    flat = DepthRenderer(terrain, DIRECTIONS, FAR, torch.device("cpu"))
    rotation = torch.from_numpy(turned(0.3, math.radians(20), 0.0)).float()[None]
    found = flat(torch.tensor([[4.0, 4.0, 0.4]]), rotation, torch.tensor([0]))[0]
    down = -(rotation[0] @ DIRECTIONS)[2]
    expected = torch.where(down > 0, 0.4 / down, FAR).clamp(max=FAR)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    inside = flat(torch.tensor([[4.0, 4.0, -0.1]]), rotation, torch.tensor([0]))
    assert (inside < 1e-3).all(), "a camera in the ground sees it at once"


def test_pixels_are_square_and_span_the_field_of_view() -> None:
    directions = pixel_directions(58, 87, 87.0).view(3, 58, 87)
    left, up = directions[1], directions[2]
    steps = torch.cat([-left.diff(dim=1).flatten(), -up.diff(dim=0).flatten()])
    torch.testing.assert_close(steps, steps[:1].expand_as(steps), atol=1e-6, rtol=0)
    edge = left[0, 0] + steps[0] / 2
    assert math.degrees(2 * math.atan(float(edge))) == pytest.approx(87.0, abs=1e-3)
    torch.testing.assert_close(left, -left.flip(1))
    torch.testing.assert_close(up, -up.flip(0))
