"""Kernels are counted as a GPU would launch them, and a control step keeps to a budget."""

from __future__ import annotations

from pathlib import Path

import kernels
import torch

from legged_ppo.env.locomotion import LocomotionEnv

CONFIG = str(Path(__file__).resolve().parents[2] / "configs" / "phase1_fast.yaml")
MOST_PER_STEP, MOST_PER_MINIBATCH = 145, 220
"""As of docs/benchmarks.md, with a margin; a change that needs more should be worth it."""


def test_views_and_allocations_launch_nothing_and_composites_their_parts() -> None:
    x = torch.ones(4, 3)
    with kernels.Launches(["part"]) as mode:
        x[1:].t().unsqueeze(0).expand(2, 3, 3)
        torch.empty(3).view(1, 3)
        assert not mode.found
        x.add_(1.0)
        torch.nn.functional.linear(x, x)
    assert dict(mode.found) == {(("part",), "add_"): 1, (("part",), "mm"): 1}


def test_a_step_and_a_minibatch_keep_to_their_budgets(tmp_path: Path) -> None:
    with kernels.as_on_gpu():
        trainer = kernels.make_trainer(CONFIG, ["+preset=gpu"], str(tmp_path))
        found = kernels.torch_launches(trainer)
        assert isinstance(trainer.env, LocomotionEnv)
        graphs = kernels.warp_launches(trainer.env.simulator)
    step = found["step"]
    assert 0 < step["all"] <= MOST_PER_STEP
    assert found["minibatch"]["all"] <= MOST_PER_MINIBATCH
    _, within_step = step["parts"]["env.step"]
    _, within_reset = step["parts"]["env.reset"]
    assert within_reset < within_step < step["all"]
    assert graphs["substeps"] > 4 * 50 and graphs["restart"] > 20
