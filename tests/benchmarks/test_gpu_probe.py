"""The probe of a GPU runs all its parts on a CPU, and goes on where one fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gpu_probe
import kernel_shares
import pytest
import torch
import warp as wp
from device_times import Timing
from kernel_shares import Span

from legged_ppo.models.gru_plan import kernels_of
from legged_ppo.runtime.fusion.warp_kernel import make_kernel
from legged_ppo.runtime.fusion.warp_launch import WarpLaunch

CONFIG = str(Path(__file__).resolve().parents[2] / "configs" / "phase1_fast.yaml")
SMALL = ["ppo.rollout_length=2", "ppo.bptt_length=2", "ppo.num_epochs=1", "ppo.num_minibatches=1"]
OPTIONS = ["--config", CONFIG, "--device", "cpu", "--envs", "2", "--terrains", "flat"]
FEW = ["--steps", "1", "--iterations", "1", "--rows", "3", "policy.gru_hidden=16", *SMALL]


def timed_once(work: Callable[[], object], device: torch.device) -> Timing:
    work()
    return Timing(2e-3, 1e-3)


def test_every_part_runs_and_a_failing_one_stops_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_probe, "PRODUCTS", [(2, 3, 4)])
    monkeypatch.setattr(gpu_probe, "SETTLING", 1)
    parts_of_step = gpu_probe.parts_of_step

    def with_a_failing_part(trainer: object) -> dict[str, object]:
        return {"broken": lambda: 1 / 0, **parts_of_step(trainer)}

    monkeypatch.setattr(gpu_probe, "parts_of_step", with_a_failing_part)
    monkeypatch.setattr(gpu_probe, "timed", timed_once)
    assert gpu_probe.main([*OPTIONS, *FEW]) == 1
    shown = capsys.readouterr().out
    assert shown.count("FAILED") == 2 and shown.endswith("\nFAILED: flat 2 broken\n")
    for name in ("physics", "restart", "constants", "env.step", "env.observe", "env.reset"):
        assert f"    {name:12} 2.000 ms (1.000)" in shown
    assert shown.count("iteration 0") == len(gpu_probe.TRAININGS)
    assert "room for 224" in shown and "kernels of an update" in shown and "aten::" in shown


def test_shares_count_overlapping_kernels_once_and_name_their_kinds() -> None:
    found = kernel_shares.shares(
        [
            Span("hfield_box_1a_cuda_kernel_forward", 10.0, 14.0),
            Span("sgemm_128", 12.0, 18.0),
            Span("solve_2b_cuda_kernel_forward", 20.0, 21.0),
            Span("solve_2b_cuda_kernel_forward", 21.0, 23.0),
            Span("elementwise", 23.0, 24.0),
        ]
    )
    assert (found.total, found.busy) == (14.0, 12.0)
    assert found.kinds == [
        ("products", 6.0),
        ("height fields", 4.0),
        ("physics", 3.0),
        ("torch", 1.0),
    ]
    wp.init()
    gru = [make_kernel("", 1, plan.name)[0].key for plan in kernels_of(16, 1)]
    task = WarpLaunch("", 1, set(), 1, torch.device("cpu"), 1)._kernel.key
    kinds = [kernel_shares.kind_of(f"{key}_1a_cuda_kernel_forward") for key in (*gru, task)]
    assert kinds == ["gru", "gru", "gru", "task"]
    assert found.kernels[2] == ("solve_2b_cuda_kernel_forward", 3.0, 2)
    with pytest.raises(ValueError, match="no kernel"):
        kernel_shares.shares([])
