"""The comparison of both colliders of height fields: this project's is the nearer to MuJoCo C."""

from __future__ import annotations

from pathlib import Path

import field_contacts
import numpy as np
import pytest
from physics_engines import column

from legged_ppo.config.loading import load_config
from legged_ppo.robots.spec import load_robot

CONFIG = str(Path(__file__).resolve().parents[2] / "configs" / "phase1_fast.yaml")


@pytest.mark.parametrize("name", ["rough", "stepping_stones"])
def test_velocities_of_walking_robots_are_mujoco_cs_to_float32(name: str) -> None:
    config = load_config(CONFIG)
    terrain = column(config.terrain, name)
    apart, rows = field_contacts.differences(load_robot(config.robot), terrain, config, 20)
    for substeps, ours, theirs in zip(field_contacts.SUBSTEPS, *apart.values(), strict=True):
        assert np.median(ours) < 2e-4, substeps  # m/s, rad/s
        assert np.quantile(ours, 0.8) < 0.1 * np.quantile(theirs, 0.8), substeps
    assert all(used.max() >= 16 for used in rows.values())  # four feet
