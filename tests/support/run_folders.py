"""Folders of runs as a training leaves them, without the training."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from legged_ppo.config.loading import config_to_yaml
from legged_ppo.config.schema import Config
from legged_ppo.evaluation.motion import joint_histograms

FEET = ["FL", "FR", "RL", "RR"]
TERMS = ("tracking_lin_vel", "torques")


def make_run(root: Path, config: Config, iterations: int = 100, offset: float = 0.0) -> Path:
    """A run that was killed: config, smooth curves, `offset` above those of others, and curriculum."""
    (root / "checkpoints").mkdir(parents=True)
    (root / "config.yaml").write_text(f"# version: 0.1.0\n{config_to_yaml(config)}")
    rows = [_row(i, i / iterations, offset) for i in range(1, iterations + 1)]
    (root / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    curriculum = {"types": ["flat", "gaps"], "solve_rate": [[1.0, None], [0.8, 0.2]]}
    (root / "curriculum.json").write_text(json.dumps(curriculum))
    return root


def finish_run(root: Path, success: float = 0.9) -> Path:
    """Add what the end of a training writes, for the last row."""
    last = json.loads((root / "metrics.jsonl").read_text().splitlines()[-1])
    summary = {
        "env_steps": last["env_steps"],
        "provenance": {"version": "0.1.0", "command": "train"},
    }
    (root / "summary.json").write_text(json.dumps(summary))
    (root / "evaluation.json").write_text(json.dumps(evaluation(success)))
    (root / "videos").mkdir()
    (root / "videos" / "best.mp4").write_bytes(b"video")
    return root


def evaluation(success: float) -> dict[str, Any]:
    """Figures of an evaluation on two terrain types, with gait and motion."""
    flat = {"all": _figures(1.0), "levels": {"0": _figures(1.0)}, "features": {"0": ""}}
    gaps = {
        "all": _figures(success),
        "levels": {"0": _figures(0.25), "1": _figures(success)},
        "features": {"0": "5 cm", "1": "20 cm"},
    }
    walking = {
        "fall_rate": 0.0,
        "stride_hz": 2.0,
        "trot_index": 0.97,
        "velocity_m_s": 0.5,
        "duty": 0.6,
        "saturated_torque": 0.2,
    }
    torque = np.random.default_rng(0).normal(0.0, 8.0, (4000, 12))
    return {
        "overall": _figures(success),
        "terrain": {"flat": flat, "gaps": gaps},
        "gait": {"0.5": walking},
        "standing": {"fall_rate": 0.0, "landings_per_s": 0.0},
        "motion": {
            "footfalls": {"dt": 0.02, "feet": FEET, "contact": {"0.5": ["1" * 15 + "0" * 10] * 4}},
            "joints": [f"{leg}_{part}_joint" for leg in FEET for part in ("hip", "thigh", "calf")],
            "torque": joint_histograms(torque, np.full(12, 23.7)),
            "velocity": joint_histograms(torque, np.full(12, np.inf)),
        },
    }


def _row(iteration: int, share: float, offset: float) -> dict[str, float]:
    return {
        "iteration": iteration,
        "env_steps": 12288 * iteration,
        "wall_time_s": 2.0 * iteration,
        "Train/mean_reward": 20 * share + offset,
        "Policy/approx_kl": 0.2 if 40 < iteration < 50 else 0.01,
        "Policy/clip_fraction": 0.2,
        "Policy/explained_variance": 0.9,
        "Policy/mean_std": 0.5,
        "Curriculum/level_flat": 0.0,
        "Curriculum/level_gaps": 3 * share,
        "Loss/entropy": 10.0,
        **{f"Episode/rew_{term}": math.sin(share) + i for i, term in enumerate(TERMS)},
        **({"Eval/success_rate": 0.8 * share} if iteration % 10 == 0 else {}),
    }


def _figures(success: float) -> dict[str, Any]:
    names = {
        "displacement": ("displacement_m", 5.0),
        "time_to_fall": ("time_to_fall_s", 18.0),
        "lin_vel_error": ("lin_vel_error", 0.1),
        "yaw_rate_error": ("yaw_rate_error", 0.12),
        "cost_of_transport": ("cost_of_transport", 0.6),
    }
    found: dict[str, Any] = {"episodes": 32, "success_rate": success}
    found["success_ci95"] = [max(success - 0.05, 0.0), min(success + 0.05, 1.0)]
    for stem, (name, value) in names.items():
        found |= {name: value, f"{stem}_ci95": [0.9 * value, 1.1 * value]}
    return found
