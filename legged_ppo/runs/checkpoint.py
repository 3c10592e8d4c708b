"""Checkpoints: one `.pth` holds all that a run needs to go on, and never code.

Written to a temporary file, flushed, then renamed, so that a crash leaves the old file whole. Read
with `weights_only=True`: a pickle that would run code is refused.
"""

from __future__ import annotations

import pickle
import platform
import random
import shutil
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch

import legged_ppo
from legged_ppo.config.keys import leaves
from legged_ppo.config.schema import Config
from legged_ppo.errors import ConfigError
from legged_ppo.interface import Environment
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.runs.checkpoint_contents import (
    ContentError,
    check_archive,
    check_contents,
    check_state,
    stored_config,
)
from legged_ppo.runs.provenance import provenance
from legged_ppo.runs.robot_model import read_model, same_model, with_stored_model
from legged_ppo.runs.whole_file import replacing

FORMAT = "legged_ppo checkpoint 2"
"""The number changes when older policies cannot be read any more; 1 normalised scandots."""


def save_checkpoint(path: Path, payload: dict[str, Any]) -> None:
    """Write `payload` (tensors and plain containers) to `path`, whole or not at all.

    Raises:
        WriteError: the disk is full or not writable; an older file at `path` is untouched.
    """
    saved = datetime.now(UTC).isoformat(timespec="seconds")
    header = {"format": FORMAT, "versions": _versions(), "provenance": provenance()}
    with replacing(path) as file:
        torch.save(header | {"saved": saved} | payload, file)


def copy_checkpoint(source: Path, target: Path) -> None:
    """Make `target` a copy of the checkpoint `source`, whole or not at all.

    Raises:
        WriteError: the disk is full or not writable; an older file at `target` is untouched.
    """
    with replacing(target) as file, open(source, "rb") as reader:
        shutil.copyfileobj(reader, file)


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        ConfigError: the file is missing, damaged, not a checkpoint of ours, or would run code.
    """
    expected = f"a {FORMAT!r}, as train_phase1.py writes it"
    if not Path(path).is_file():
        raise ConfigError("checkpoint", str(path), f"{expected}: there is no such file")
    try:
        check_archive(Path(path))
        payload = torch.load(path, map_location="cpu", weights_only=True)
        found = payload.get("format") if isinstance(payload, dict) else None
        if found != FORMAT:
            kind = f"a {found!r}"[:80] if found else "of another kind"
            raise ContentError(f"this file is {kind}")
        check_contents(payload)
    except ContentError as error:
        raise ConfigError("checkpoint", str(path), f"{expected}: {error}") from None
    except pickle.UnpicklingError:
        reason = "this file holds other objects than tensors and was not opened"
        raise ConfigError("checkpoint", str(path), f"{expected}: {reason}") from None
    except Exception:  # a pickle of plain values can fail in any way
        reason = "this file is damaged or of another kind"
        raise ConfigError("checkpoint", str(path), f"{expected}: {reason}") from None
    return payload


def to_device(state: Any, device: torch.device) -> Any:
    """`state` with its tensors on `device`; those of bytes are generators' states, which stay."""
    if isinstance(state, torch.Tensor):
        return state if state.dtype == torch.uint8 else state.to(device)
    if isinstance(state, dict):
        return {key: to_device(value, device) for key, value in state.items()}
    if isinstance(state, list):
        return [to_device(value, device) for value in state]
    return state


def checkpoint_config(checkpoint: dict[str, Any], path: str | Path) -> Config:
    """The configuration of the run that wrote the checkpoint.

    Raises:
        ConfigError: a key or value that this version does not allow.
    """
    try:
        return stored_config(checkpoint["config"])
    except ContentError as error:
        expected = f"a checkpoint of this version: {error}"
        raise ConfigError("checkpoint", str(path), expected) from None


def read_policy(path: str | Path) -> tuple[ActorCritic, Config, dict[str, Any]]:
    """Policy, configuration and counters of a checkpoint, ready to act (no gradients).

    The configuration's robot is the one in the checkpoint, whatever its files hold now.
    """
    checkpoint = load_checkpoint(path)
    config = use_stored_model(checkpoint_config(checkpoint, path), checkpoint, path)
    policy = ActorCritic(checkpoint["obs_dims"], checkpoint["num_actions"], config.policy)
    policy.load_state_dict(checkpoint["policy"])
    policy.requires_grad_(False)
    policy.fuse_gru(config.training.fused_gru)
    return policy, config, checkpoint["counters"]


def use_stored_model(config: Config, checkpoint: dict[str, Any], path: str | Path) -> Config:
    """`with_stored_model`, for a checkpoint read from `path`.

    Raises:
        ConfigError: the stored model does not compile.
    """
    try:
        return with_stored_model(config, checkpoint, path)
    except ContentError as error:
        expected = f"a checkpoint with a sound robot: {error}"
        raise ConfigError("checkpoint", str(path), expected) from None


def load_weights(path: str | Path, config: Config, env: Environment) -> dict[str, torch.Tensor]:
    """A checkpoint's policy, statistics of the observations included, for a new run of `config`.

    Raises:
        ConfigError: a bad checkpoint, or a policy of other inputs, outputs or layers.
    """
    checkpoint = load_checkpoint(path)
    weights: dict[str, torch.Tensor] = checkpoint["policy"]
    wanted = ActorCritic(env.obs_dims, env.num_actions, config.policy).state_dict()
    for name in sorted(wanted.keys() | weights.keys()):
        shapes = [tuple(each[name].shape) if name in each else None for each in (weights, wanted)]
        if shapes[0] != shapes[1]:
            expected = f"a policy with this run's inputs and layers ({name}: {shapes[0]}, needed {shapes[1]})"
            raise ConfigError("--init-from", str(path), expected)
    return weights


def differences(
    checkpoint: dict[str, Any], config: Config, path: str | Path
) -> dict[str, tuple[Any, Any]]:
    """The keys in which `config` differs from the one that the checkpoint was written under, with both
    values."""
    before, now = leaves(asdict(checkpoint_config(checkpoint, path))), leaves(asdict(config))
    keys = sorted(before.keys() | now.keys())
    return {k: (before.get(k), now.get(k)) for k in keys if before.get(k) != now.get(k)}


def check_compatible(checkpoint: dict[str, Any], config: Config, path: str | Path) -> None:
    """Refuse to resume a run whose robot, network or number of robots differs from `config`'s, or from a policy
    without the training's state."""
    before = checkpoint_config(checkpoint, path)
    old, new = asdict(before), asdict(config)
    if same_model(read_model(config), checkpoint.get("robot_model")):
        old["robot"]["mjcf"] = new["robot"]["mjcf"]  # the same files in another place
    for section in ("robot", "policy", "terrain", "gym"):
        for key, value in new[section].items():
            if old[section][key] != value:
                raise ConfigError(
                    f"{section}.{key}",
                    value,
                    f"{old[section][key]!r}, as in the checkpoint",
                    source=f"resume {path}",
                )
    saved = _state_shapes(before)
    for key, value in _state_shapes(config).items():
        if saved[key] != value:
            expected = f"{saved[key]!r}, as in the checkpoint"
            raise ConfigError(key, value, expected, source=f"resume {path}")
    for key in ("extensions", "environment"):
        if old[key] != new[key]:
            expected = f"{old[key]!r}, as in the checkpoint"
            raise ConfigError(key, new[key], expected, source=f"resume {path}")
    keys = [
        ("sim", "engine"),
        ("training", "num_envs"),
        ("ppo", "rollout_length"),
        ("ppo", "bptt_length"),
        ("ppo", "symmetry"),
    ]
    for section, key in keys:
        if old[section][key] != new[section][key]:
            raise ConfigError(
                f"{section}.{key}",
                new[section][key],
                f"{old[section][key]}, as in the checkpoint",
                source=f"resume {path}",
            )


def check_environment_state(
    checkpoint: dict[str, Any], env: Environment, config: Config, path: str | Path, ranks: int
) -> None:
    """Refuse to resume on `ranks` processes with a state that `env` cannot take over.

    Raises:
        ConfigError: a part of the state has other keys, types or shapes.
    """
    try:
        check_state(checkpoint, env, config, ranks)
    except ContentError as error:
        expected = f"the state of this run's robots: {error}"
        raise ConfigError("checkpoint", str(path), expected) from None


def _state_shapes(config: Config) -> dict[str, Any]:
    """What the saved state of the robots' environment depends on, beside the sections above."""
    from legged_ppo.env.rewards import active_terms

    task = config.task
    sight, camera = task.observations.scandots, task.observations.depth
    return {
        "task.rewards (terms that count)": list(active_terms(task.rewards)),
        "task.observations.groups": task.observations.groups,
        "task.terminations": task.terminations,
        "task.stuck_after_s (above 0)": task.stuck_after_s > 0.0,
        "task.gait.frequency (above 0)": task.gait.frequency > 0.0,
        "task.observations.scandots.x": sight.x,
        "task.observations.scandots.y": sight.y,
        "task.observations.scandots.latency_s": sight.latency_s,
        "task.observations.depth.enabled": camera.enabled,
        "task.observations.depth.rows": camera.enabled and camera.rows,
        "task.observations.depth.columns": camera.enabled and camera.columns,
        "task.observations.depth.latency_s": camera.enabled and camera.latency_s,
        "task.randomization.latency_s (given)": bool(task.randomization.latency_s),
    }


def global_rng_state(device: torch.device) -> dict[str, Any]:
    """States of Python's, NumPy's and torch's global generators, as plain data; a GPU's where the run
    is on one."""
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    state = {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys)).clone(), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_global_rng_state(state: dict[str, Any], device: torch.device) -> None:
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy(), *rest))
    torch.set_rng_state(state["torch"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)


def _versions() -> dict[str, str]:
    return {
        "legged_ppo": legged_ppo.__version__,
        "torch": str(torch.__version__),
        "mujoco": mujoco.__version__,
        "python": platform.python_version(),
    }
