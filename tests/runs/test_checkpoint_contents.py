"""Damaged checkpoints, and whole files with contents that no run has written, are refused in one line."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from legged_ppo.algorithms.ppo import PPO
from legged_ppo.config.schema import Config
from legged_ppo.errors import ConfigError
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.models.gru import GRU
from legged_ppo.runs.checkpoint import (
    check_compatible,
    checkpoint_config,
    global_rng_state,
    load_checkpoint,
    read_policy,
    save_checkpoint,
)

OBS_DIMS = {"proprioception": 5, "commands": 3, "scandots": 4, "privileged": 2}
NUM_ACTIONS, NUM_ENVS = 3, 2
Payload = dict[str, Any]


@pytest.fixture(scope="module")
def payload() -> Payload:
    """All that a resumable checkpoint holds, after one optimizer step of a small network."""
    config = Config()
    config.policy.gru_hidden, config.training.num_envs = 4, NUM_ENVS
    config.policy.scandots_hidden, config.policy.scandots_latent = [4], 2
    config.policy.actor_hidden = config.policy.critic_hidden = [4]
    policy = ActorCritic(OBS_DIMS, NUM_ACTIONS, config.policy)
    generator = torch.Generator().manual_seed(0)
    ppo = PPO(policy, config.ppo, generator)
    for parameter in ppo.parameters:
        parameter.grad = torch.ones_like(parameter)
    ppo.optimizer.step()
    rank = {
        "env": {},
        "collector": {},
        "generator": generator.get_state(),
        "rng": global_rng_state(torch.device("cpu")),
    }
    counters = {"iteration": 3, "env_steps": 144, "train_wall_time_s": 1.5, "best_score": 0.5}
    return {
        "config": asdict(config),
        "obs_dims": OBS_DIMS,
        "num_actions": NUM_ACTIONS,
        "policy": policy.state_dict(),
        "average": None,
        "ppo": ppo.state_dict(),
        "ranks": [rank],
        "counters": counters | {"next_checkpoint": 200, "next_evaluation": 200},
        "episodes": [[1.0, 2.0], [0.0, 0.0]],
        "health": {},
        "device": "cpu",
        "robot_model": {"main": "x.xml", "files": {"x.xml": torch.zeros(9, dtype=torch.uint8)}},
    }


@pytest.fixture(scope="module")
def intact(payload: Payload, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("intact") / "phase1_latest.pth"
    save_checkpoint(path, payload)
    return path


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("before", [True, False, None])
def test_a_run_goes_on_and_is_evaluated_with_or_without_the_grus_kernels(
    payload: Payload, tmp_path: Path, before: bool | None
) -> None:
    """None: a checkpoint from before there were any."""
    saved = copy.deepcopy(payload) | {"robot_model": None}
    assert saved["config"]["training"].pop("fused_gru") is True
    if before is not None:
        saved["config"]["training"]["fused_gru"] = before
    path = tmp_path / "run.pth"
    save_checkpoint(path, saved)
    policy, config, _ = read_policy(path)
    wanted = before is not False
    assert config.training.fused_gru is wanted
    assert [m.fused for m in policy.modules() if isinstance(m, GRU)] == [wanted]
    for now in (True, False):
        resumed = checkpoint_config(load_checkpoint(path), path)
        resumed.training.fused_gru = now
        check_compatible(load_checkpoint(path), resumed, path)


def test_a_flipped_byte_is_refused_or_changes_nothing(intact: Path, tmp_path: Path) -> None:
    content, expected = intact.read_bytes(), load_checkpoint(intact)
    path, refused = tmp_path / "flipped.pth", 0
    directory = content.index(b"PK\x01\x02")
    offsets = [
        *range(7, directory, directory // 40),
        *range(directory + 3, len(content), (len(content) - directory) // 40),
    ]
    for offset in offsets:
        flipped = bytearray(content)
        flipped[offset] ^= 0x10
        path.write_bytes(flipped)
        try:
            assert same(load_checkpoint(path), expected), offset
        except ConfigError as error:
            refused += 1
            assert "\n" not in str(error) and path.name in str(error)
    assert refused > 30


def test_every_byte_of_a_weight_is_protected(
    intact: Path, payload: Payload, tmp_path: Path
) -> None:
    weight = payload["policy"]["value.weight"]
    raw, content = weight.numpy().tobytes(), intact.read_bytes()
    begin, path = content.index(raw), tmp_path / "flipped.pth"
    for offset in range(begin, begin + len(raw)):
        flipped = bytearray(content)
        flipped[offset] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(ConfigError, match="CRC-32"):
            load_checkpoint(path)


def test_a_member_that_torch_would_read_as_a_folder_is_refused(
    intact: Path, tmp_path: Path
) -> None:
    content, path = bytearray(intact.read_bytes()), tmp_path / "folder.pth"
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 38] = 0x10  # of the external attributes
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="damaged"):
        load_checkpoint(path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_truncated_file_is_refused(intact: Path, tmp_path: Path, share: float) -> None:
    path, content = tmp_path / "short.pth", intact.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ConfigError, match="damaged"):
        load_checkpoint(path)


def at(*keys: Any) -> Callable[[Payload, Any], None]:
    """Sets the value under these keys."""

    def change(payload: Payload, value: Any) -> None:
        for key in keys[:-1]:
            payload = payload[key]
        payload[keys[-1]] = value

    return change


BYTES = torch.zeros(1, dtype=torch.uint8)
STATE = ("ppo", "optimizer", "state")
MALFORMED: list[tuple[Callable[[Payload, Any], None], Any, str]] = [
    (at("config"), None, "config"),
    (at("config", "policy", "gru_layers"), 1_000_000, "policy.gru_layers"),
    (at("config", "policy", "actor_hidden"), [4] * 1000, "at most 16 lay"),
    (at("config", "policy", "actor_hidden"), [4] * 10**6, "larger"),
    (at("config", "policy", "gru_hidden"), 10**9, "policy.gru_hidden"),
    (at("config", "policy", "gru_hidden"), 10**30, "policy.gru_hidden"),
    (at("config", "policy", "gru_hidden"), "wide", "gru_hidden"),
    (at("config", "policy", "activation"), "exec", "activation"),
    (at("config", "policy", "unknown"), 1, "unknown"),
    (at("config", "ppo", "gamma"), -1.0, "gamma"),
    (at("config", "training", "num_envs"), "many", "num_envs"),
    (at("obs_dims"), [5], "obs_dims"),
    (at("obs_dims", "commands"), -3, "obs_dims"),
    (at("obs_dims", "commands"), 2.5, "obs_dims"),
    (at("obs_dims", "commands"), 10**15, "policy."),
    (at("num_actions"), "three", "num_actions"),
    (at("num_actions"), -1, "num_actions"),
    (at("num_actions"), 4, "policy."),
    (at("policy"), [], "policy"),
    (at("policy", "value.weight"), "text", "value.weight"),
    (at("policy", "value.weight"), torch.zeros(1, 5), "value.weight"),
    (at("policy", "value.weight"), torch.zeros(1, 4, dtype=torch.float64), "value.weight"),
    (at("policy", "value.weight"), torch.zeros(1, 4).to_sparse(), "value.weight"),
    (at("policy", "more"), torch.zeros(1), "more"),
    (at("counters"), {}, "counters"),
    (at("counters", "iteration"), -1, "iteration"),
    (at("counters", "iteration"), 10**400, "iteration"),
    (at("counters", "env_steps"), "144", "env_steps"),
    (at("counters", "train_wall_time_s"), None, "train_wall_time_s"),
    (at("counters", "unknown"), 1, "unknown"),
    (at("ppo"), None, "ppo"),
    (at("ppo"), {}, "ppo.learning_rate"),
    (at("ppo", "learning_rate"), "fast", "learning_rate"),
    (at(*STATE), None, "state"),
    (at(*STATE, 99), {}, "no parameter"),
    (at(*STATE, 0), {}, "state[0]"),
    (at(*STATE, 0, "exp_avg"), torch.zeros(1), "exp_avg"),
    (at(*STATE, 0, "exp_avg_sq"), None, "exp_avg_sq"),
    (at(*STATE, 0, "step"), torch.zeros(3), "step"),
    (at(*STATE, 0, "step"), torch.zeros((), dtype=torch.int64), "step"),
    (at("average"), {}, "average"),
    (at("ranks"), [], "ranks"),
    (at("ranks"), [3], "ranks[0]"),
    (at("ranks", 0, "rng", "torch"), torch.zeros(3, dtype=torch.uint8), "generator"),
    (at("ranks", 0, "rng", "numpy"), ("MT19937",), "generator"),
    (at("ranks", 0, "rng", "python"), (3, (1, 2), None), "generator"),
    (at("ranks", 0, "generator"), None, "generator"),
    (at("episodes"), [[1.0], [1.0, 2.0]], "episodes"),
    (at("episodes"), [["one"]], "episodes"),
    (at("health"), {"kl": "ill"}, "health"),
    (at("robot_model"), [], "robot_model"),
    (at("robot_model", "files"), None, "robot_model.files"),
    (at("robot_model", "main"), ["x.xml"], "robot_model"),
    (at("robot_model", "main"), "y.xml", "main file"),
    (at("robot_model", "files", "../x"), BYTES, "../x"),
    (at("robot_model", "files", "/x"), BYTES, "/x"),
    (at("robot_model", "files", "."), BYTES, "'.'"),
    (at("robot_model", "files", "a\n"), BYTES, "named"),
    (at("robot_model", "files", 3), BYTES, "named 3"),
    (at("robot_model", "files", "x.xml"), b"<mujoco/>", "x.xml"),
    (at("robot_model", "files", "x.xml"), torch.zeros(3), "x.xml"),
    (at("robot_model", "files", "x.xml"), torch.zeros(2, 2, dtype=torch.uint8), "x.xml"),
    (at("robot_model", "files", "x.xml"), BYTES.expand(2**40), "contiguous"),
    (at("robot_model", "files"), {"x.xml": BYTES, **{str(i): BYTES for i in range(1001)}}, "1000"),
    (at("device"), None, "device"),
]


@pytest.mark.parametrize(
    ("change", "value", "named"), MALFORMED, ids=[f"{i}-{m[2]}" for i, m in enumerate(MALFORMED)]
)
def test_malformed_content_is_refused_in_one_line(
    payload: Payload,
    tmp_path: Path,
    change: Callable[[Payload, Any], None],
    value: Any,
    named: str,
) -> None:
    malformed, path = copy.deepcopy(payload), tmp_path / "malformed.pth"
    change(malformed, value)
    save_checkpoint(path, malformed)
    with pytest.raises(ConfigError) as raised:
        load_checkpoint(path)
    line = str(raised.value)
    assert named in line and path.name in line and "\n" not in line and len(line) < 1000


@pytest.mark.parametrize("moment", ["exp_avg", "exp_avg_sq"])
def test_a_moment_of_another_type_or_layout_is_refused(
    payload: Payload, tmp_path: Path, moment: str
) -> None:
    shape = payload["ppo"]["optimizer"]["state"][0][moment].shape
    for value in (torch.zeros(shape, dtype=torch.float64), torch.zeros(1).expand(shape)):
        malformed, path = copy.deepcopy(payload), tmp_path / "malformed.pth"
        malformed["ppo"]["optimizer"]["state"][0][moment] = value
        save_checkpoint(path, malformed)
        with pytest.raises(ConfigError, match=moment):
            load_checkpoint(path)
