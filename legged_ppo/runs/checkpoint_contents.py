"""The schema of a checkpoint: what a file must hold before anything is built from it.

`weights_only=True` keeps a pickle from running code, but a file that unpickles may still hold anything.
A network of a million layers would hang, and an optimizer state of another shape is read out of bounds.
"""

from __future__ import annotations

import random
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

from legged_ppo.algorithms.optimizer import decayed_and_others
from legged_ppo.config.loading import to_config
from legged_ppo.config.schema import Config
from legged_ppo.config.validation import validate
from legged_ppo.interface import Environment
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.models.trunks import SCANDOTS

_COUNTERS = {
    "iteration": int,
    "env_steps": int,
    "train_wall_time_s": float,
    "best_score": float,
    "next_checkpoint": int,
    "next_evaluation": int,
}
_MOMENTS = ("exp_avg", "exp_avg_sq")
_LARGEST = 2**53
"""Bound of a counter: larger integers overflow float64, in which progress is computed."""


_MOST_VALUES, _LONGEST_TEXT = 5_000, 100_000
"""Bounds of a stored config; the largest recipe has some 400 values."""

MODEL_BYTES, MODEL_FILES = 64 * 2**20, 1000
"""Bounds of a stored robot model."""


class ContentError(ValueError):
    """The checkpoint does not hold what a checkpoint must; the message says which part and why."""


def check_archive(path: Path) -> None:
    """Compare the file with the CRC-32 that its zip archive stores, which torch does not.

    Raises:
        ContentError: a byte of a member differs, or the file is not an archive as torch writes it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                # torch reads a member with a folder's attribute as nothing, and inflates without bound.
                if member.external_attr or member.compress_type != zipfile.ZIP_STORED:
                    raise ContentError("this file is damaged or not an archive of torch")
            bad = archive.testzip()
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, ValueError) as error:
        if isinstance(error, ContentError):
            raise
        raise ContentError("this file is damaged or of another kind") from None
    if bad is not None:
        raise ContentError(f"this file is damaged ({bad} fails its CRC-32)")


def check_contents(payload: dict[str, Any]) -> None:
    """The parts that every checkpoint has: a valid config and a policy of its sizes, and counters.

    Raises:
        ContentError: a part is missing, or has another type or size.
    """
    for name, kind in {
        "config": dict,
        "obs_dims": dict,
        "num_actions": int,
        "policy": dict,
        "counters": dict,
    }.items():
        _check_type(name, payload.get(name), kind)
    _check_counters(payload["counters"])
    config = stored_config(payload["config"])
    policy = _policy_shapes(payload, config)
    _check_tensors("policy", payload["policy"], policy.state_dict())
    if payload.get("robot_model") is not None:
        _check_robot_model(payload["robot_model"])
    if "ppo" in payload:  # a run can go on from it
        _check_optimizer(payload["ppo"], policy, payload["obs_dims"].get(SCANDOTS))
        _check_progress(payload)


def stored_config(values: Any) -> Config:
    """The configuration in a checkpoint, typed and validated.

    Raises:
        ContentError: a key or value that the schema or a range does not allow.
    """
    _check_size(values)
    try:
        config = to_config(values)
        validate(config)
    except Exception as error:  # whatever values of any type do to the checks
        reason = " ".join(str(error).split())[:200]
        raise ContentError(f"its config is not valid here ({reason})") from None
    return config


def check_state(checkpoint: dict[str, Any], env: Environment, config: Config, ranks: int) -> None:
    """Check the state of each rank's robots, where a run on `ranks` processes restores it exactly.

    Raises:
        ContentError: it is not the state of environments like `env`.
    """
    saved = checkpoint["ranks"]
    if checkpoint["device"] != env.device.type or len(saved) != ranks:
        return  # such a resume begins new episodes
    rows = env.num_envs * (2 if config.ppo.mirrored_copies else 1)
    wanted = env.state_dict() if env.fixed_state else {}
    for i, rank in enumerate(saved):
        if wanted and rank["env"]:
            _check_structure(f"ranks[{i}].env", rank["env"], wanted)
        _check_collector(f"ranks[{i}].collector", rank["collector"], rows, checkpoint["obs_dims"])


def _check_size(values: Any) -> None:
    """Bound the nodes of a nested config, whose merging takes about a millisecond each."""
    left, count = [values], 0
    while left:
        value = left.pop()
        count += 1
        if count > _MOST_VALUES or (isinstance(value, str) and len(value) > _LONGEST_TEXT):
            raise ContentError("its config is far larger than any of this program")
        if isinstance(value, dict):
            left.extend(value.values())
        elif isinstance(value, (list, tuple)):
            left.extend(value[: _MOST_VALUES + 1])


def _policy_shapes(payload: dict[str, Any], config: Config) -> ActorCritic:
    """The network of the config, without memory behind its tensors."""
    tensors, sizes, policy = payload["policy"], payload["obs_dims"], config.policy
    for name, size in sizes.items():
        parts = size if isinstance(size, (list, tuple)) else (size,)
        if not (isinstance(name, str) and all(type(part) is int and part >= 0 for part in parts)):
            raise ContentError(f"obs_dims holds {name!r}: {size!r}"[:200])
    layers = [policy.gru_layers, *(len(v) for v in vars(policy).values() if isinstance(v, list))]
    if max(layers) > len(tensors):
        raise ContentError(
            f"its config has {max(layers)} layers, its policy {len(tensors)} tensors"
        )
    try:
        with torch.device("meta"):
            return ActorCritic(sizes, payload["num_actions"], policy)
    except Exception as error:  # whatever such sizes do to torch's modules
        reason = str(error).partition("\n")[0][:100]
        raise ContentError(f"no network has its obs_dims and num_actions ({reason})") from None


def _check_type(name: str, value: Any, kind: type) -> None:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ContentError(f"{name} is of type {type(value).__name__}, needed {kind.__name__}")


def _check_tensors(name: str, found: dict[Any, Any], wanted: dict[str, torch.Tensor]) -> None:
    if found.keys() != wanted.keys():
        odd = sorted(map(str, found.keys() ^ wanted.keys()))
        raise ContentError(
            f"{name} has other tensors than its config says ({', '.join(odd)[:200]})"
        )
    for key, tensor in wanted.items():
        _check_tensor(f"{name}.{key}", found[key], tuple(tensor.shape), tensor.dtype)


def _check_tensor(name: str, found: Any, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    if not isinstance(found, torch.Tensor):
        raise ContentError(f"{name} is of type {type(found).__name__}, needed a tensor")
    dense = found.layout is torch.strided and found.device.type == "cpu"
    if not dense or tuple(found.shape) != shape or found.dtype != dtype:
        kind = "" if dense else " (not dense)"
        have = f"{tuple(found.shape)} {found.dtype}{kind}"
        raise ContentError(f"{name} is {have}, needed {shape} {dtype}")


def _check_counters(counters: dict[Any, Any]) -> None:
    for name, value in counters.items():
        if name not in _COUNTERS:
            raise ContentError(f"counters has an unknown key {name!r}")
        _check_type(f"counters.{name}", value, _COUNTERS[name])
    for name in ("iteration", "env_steps"):
        if name not in counters:
            raise ContentError(f"counters has no {name}")
    for name, value in counters.items():
        if name != "best_score" and not 0 <= value <= _LARGEST:
            raise ContentError(f"counters.{name} is {value}, needed 0 to {_LARGEST}"[:200])


def _check_optimizer(ppo: Any, policy: ActorCritic, scandots: Any) -> None:
    """Both moments have their parameter's shape and type: the fused kernel reads them unchecked."""
    _check_type("ppo", ppo, dict)
    rate, optimizer = ppo.get("learning_rate"), ppo.get("optimizer")
    _check_type("ppo.learning_rate", rate, float)
    _check_type("ppo.optimizer", optimizer, dict)
    state = optimizer.get("state")
    _check_type("ppo.optimizer.state", state, dict)
    weights, others = decayed_and_others(policy.parameters())
    parameters = [*weights, *others, *_decoder_of(ppo, policy, scandots)]
    for key, moments in state.items():
        name = f"ppo.optimizer.state[{key!r}]"
        if type(key) is not int or not 0 <= key < len(parameters):
            raise ContentError(f"{name} is of no parameter")
        _check_type(name, moments, dict)
        if moments.keys() != {"step", *_MOMENTS}:
            raise ContentError(f"{name} holds {sorted(map(str, moments))}"[:200])
        for moment in _MOMENTS:
            parameter = parameters[key]
            shape = tuple(parameter.shape)
            _check_tensor(f"{name}.{moment}", moments[moment], shape, parameter.dtype)
            if not moments[moment].is_contiguous():
                raise ContentError(f"{name}.{moment} is not contiguous")
        _check_tensor(f"{name}.step", moments["step"], (), torch.float32)


def _decoder_of(ppo: dict[str, Any], policy: ActorCritic, scandots: Any) -> list[torch.Tensor]:
    """Weight and bias of the layer from features to scandots of a distillation; empty where there is none."""
    decoder = ppo.get("decoder") or {}
    _check_type("ppo.decoder", decoder, dict)
    if not decoder:
        return []
    rows = scandots if type(scandots) is int else 0
    wanted = {"weight": torch.zeros(rows, policy.trunk.actor_width), "bias": torch.zeros(rows)}
    _check_tensors("ppo.decoder", decoder, wanted)
    return list(wanted.values())


def _check_progress(payload: dict[str, Any]) -> None:
    """What a resume reads beside policy and optimizer."""
    for name, kind in {"ranks": list, "episodes": list, "health": dict, "device": str}.items():
        _check_type(name, payload.get(name), kind)
    if missing := _COUNTERS.keys() - payload["counters"].keys():
        raise ContentError(f"counters has no {', '.join(sorted(missing))}")
    if any(type(streak) is not int for streak in payload["health"].values()):
        raise ContentError("health holds other values than integers")
    widths = set()
    for row in payload["episodes"]:
        if type(row) is not list or any(type(value) not in (int, float) for value in row):
            raise ContentError("episodes holds other rows than lists of numbers")
        widths.add(len(row))
    if len(widths) > 1:
        raise ContentError("episodes holds rows of several lengths")
    if not payload["ranks"]:
        raise ContentError("ranks is empty")
    for i, rank in enumerate(payload["ranks"]):
        _check_type(f"ranks[{i}]", rank, dict)
        for part in ("env", "collector", "rng"):
            _check_type(f"ranks[{i}].{part}", rank.get(part), dict)
        _check_generators(f"ranks[{i}]", rank)
    average = payload.get("average")
    if average is not None:
        _check_average(average, payload["policy"])


def _check_average(average: Any, policy: dict[str, torch.Tensor]) -> None:
    """The average has the policy's tensors and a count."""
    _check_type("average", average, dict)
    wanted = {f"module.{name}": tensor for name, tensor in policy.items()}
    _check_tensors("average", average, wanted | {"n_averaged": torch.zeros((), dtype=torch.long)})


def _check_robot_model(model: Any) -> None:
    """Files of bytes, within the bounds, whose names stay inside a folder."""
    _check_type("robot_model", model, dict)
    files = model.get("files")
    _check_type("robot_model.files", files, dict)
    if len(files) > MODEL_FILES or not isinstance(model.get("main"), str):
        raise ContentError(f"robot_model names no main file, or has over {MODEL_FILES} files")
    if model["main"] not in files:
        raise ContentError("robot_model lacks its main file")
    for name, content in files.items():
        parts = PurePosixPath(name).parts if isinstance(name, str) else ()
        if not parts or parts[0] == "/" or ".." in parts or not name.isprintable():
            raise ContentError(f"robot_model has a file named {name!r}"[:200])
        shape = (content.numel(),) if isinstance(content, torch.Tensor) else ()
        _check_tensor(f"robot_model.{name}"[:200], content, shape, torch.uint8)
        if not content.is_contiguous():
            raise ContentError(f"robot_model.{name} is not contiguous"[:200])
    if (size := sum(content.numel() for content in files.values())) > MODEL_BYTES:
        raise ContentError(f"robot_model has {size} bytes, at most {MODEL_BYTES} are allowed")


def _check_generators(name: str, rank: dict[str, Any]) -> None:
    """Try the states of the CPU's generators on new ones."""
    rng = rank["rng"]
    trials: list[Callable[[], Any]] = [
        lambda: random.Random().setstate(
            (rng["python"][0], tuple(rng["python"][1]), rng["python"][2])
        ),
        lambda: np.random.RandomState().set_state(
            (rng["numpy"][0], rng["numpy"][1].numpy(), *rng["numpy"][2:])
        ),
        lambda: torch.Generator().set_state(rng["torch"]),
    ]
    try:
        for trial in trials:
            trial()
        if rank["generator"].dtype != torch.uint8:
            raise TypeError("the generator's state is not of bytes")
    except Exception:  # whatever such values do to the three libraries
        raise ContentError(f"{name} holds a generator's state that is not one") from None


def _check_structure(name: str, found: Any, wanted: Any) -> None:
    """`found` has the keys, types and tensor shapes of `wanted`."""
    if isinstance(wanted, torch.Tensor):
        _check_tensor(name, found, tuple(wanted.shape), wanted.dtype)
        return
    if type(found) is not type(wanted):
        raise ContentError(
            f"{name} is of type {type(found).__name__}, needed {type(wanted).__name__}"
        )
    if isinstance(wanted, dict):
        if found.keys() != wanted.keys():
            odd = ", ".join(sorted(map(str, found.keys() ^ wanted.keys())))
            raise ContentError(f"{name} has other keys than this environment ({odd[:200]})")
        for key, value in wanted.items():
            _check_structure(f"{name}.{key}", found[key], value)
    elif isinstance(wanted, (list, tuple)) and len(found) != len(wanted):
        raise ContentError(f"{name} has {len(found)} values, needed {len(wanted)}")


def _check_collector(
    name: str, found: dict[str, Any], rows: int, obs_dims: dict[str, int | tuple[int, ...]]
) -> None:
    """The last observations [N, width], recurrent state [layers, N, hidden] (of Phase 2 the teacher's too) and
    episode starts [N]."""
    if found.keys() - {"teacher_state"} != {"obs", "state", "starts"}:
        raise ContentError(f"{name} holds {sorted(map(str, found))}"[:200])
    _check_type(f"{name}.obs", found["obs"], dict)
    for group, width in obs_dims.items():
        shape = (rows, *(width if isinstance(width, (list, tuple)) else (width,)))
        tensor = found["obs"].get(group)
        if not isinstance(tensor, torch.Tensor) or tuple(tensor.shape) != shape:
            raise ContentError(f"{name}.obs.{group} is no tensor of shape {shape}")
    for key in found.keys() & {"state", "teacher_state"}:
        state = found[key]
        if not isinstance(state, torch.Tensor) or state.dim() != 3 or state.shape[1] != rows:
            raise ContentError(f"{name}.{key} is no tensor of shape (layers, {rows}, hidden)")
    _check_tensor(f"{name}.starts", found["starts"], (rows,), torch.bool)
