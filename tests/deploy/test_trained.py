"""A trained policy, named by LEGGED_PPO_CHECKPOINT: it walks outside of torch as evaluate.py says, and in a page.

Not part of `make test`, which has no trained policy:

    LEGGED_PPO_CHECKPOINT=latest pytest tests/deploy/test_trained.py
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
from browser import browser, find_browser, served

from legged_ppo.deploy import episodes
from legged_ppo.deploy.export import export_policy
from legged_ppo.deploy.policy_file import OnnxPolicy
from legged_ppo.deploy.simulation import Simulation
from legged_ppo.deploy.walker import Walker
from legged_ppo.deploy.web_page import write_page
from legged_ppo.errors import UsageError
from legged_ppo.evaluation.trained_policy import TrainedPolicy, evaluate, load_policy
from legged_ppo.runtime.intervals import wilson_interval

_CHECKPOINT = os.environ.get("LEGGED_PPO_CHECKPOINT")
pytestmark = pytest.mark.skipif(not _CHECKPOINT, reason="LEGGED_PPO_CHECKPOINT is not set")

_NOMINAL = [
    f"task.randomization.{name}=[]"
    for name in ("friction", "added_mass", "com_shift", "kp_scale", "kd_scale", "motor_strength")
]


@pytest.fixture(scope="module")
def trained() -> TrainedPolicy:
    return load_policy(str(_CHECKPOINT), _NOMINAL)


def test_success_over_64_episodes_is_that_of_evaluate(
    trained: TrainedPolicy, tmp_path: Path
) -> None:
    path = tmp_path / "policy.onnx"
    export_policy(trained.network, trained.config, path)
    policy = OnnxPolicy(path)
    walker = Walker(policy, Simulation(policy.metadata, path.with_suffix(".xml"), "p"), "p")
    found = episodes.run_episodes(walker, 64, seed=0)
    wanted = evaluate(trained, episodes=64)["overall"]
    low, high = wilson_interval(sum(each.success for each in found), 64)
    assert low <= wanted["success_ci95"][1] and high >= wanted["success_ci95"][0]
    error = sum(e.lin_vel_error for e in found) / sum(e.steps for e in found)
    assert error == pytest.approx(wanted["lin_vel_error"], rel=0.25)


def test_the_robot_in_the_page_walks_while_a_key_is_held(
    trained: TrainedPolicy, tmp_path: Path
) -> None:
    if (program := find_browser()) is None:
        pytest.skip("no Chromium here: make apt-browser")
    try:
        write_page(trained.network, trained.config, tmp_path / "page")
    except UsageError as error:
        pytest.skip(str(error))
    with served(tmp_path / "page") as address, browser(program) as tab:
        tab.open(address)
        tab.wait_for("window.leggedPPO && leggedPPO.steps > 50")
        walked = "leggedPPO.robot.walked"
        standing = tab.run(walked)
        tab.key("w", down=True)
        tab.wait_for("leggedPPO.steps > 250")
        moved = tab.run(walked)
        tab.key("w", down=False)
        assert tab.run("leggedPPO.falls") == 0 and tab.errors == []
    assert math.dist((0.0, 0.0), standing) < 0.3
    assert moved[0] - standing[0] > 1.5
