"""Gymnasium environments on our trainer: actions, ends, returns, and resumes that change nothing."""

import importlib
import importlib.util
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar
from unittest.mock import MagicMock, patch

import gymnasium
import imageio.v2 as imageio
import numpy as np
import pytest
import torch

from legged_ppo.cli import evaluate as evaluate_cli
from legged_ppo.cli import options
from legged_ppo.cli import play as play_cli
from legged_ppo.cli.train import main
from legged_ppo.config.loading import load_config
from legged_ppo.config.schema import Config, GymConfig
from legged_ppo.errors import ConfigError
from legged_ppo.evaluation import returns
from legged_ppo.evaluation.task import task_of
from legged_ppo.evaluation.trained_policy import TrainedPolicy
from legged_ppo.interop.gymnasium import OBSERVATION, GymnasiumEnv
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.runs.checkpoint import read_policy, save_checkpoint
from legged_ppo.viewer import recording
from legged_ppo.viewer.gl_backend import RenderingUnavailable
from legged_ppo.viewer.recording import record_images

ROOT = Path(__file__).resolve().parents[2]
RECIPE = str(ROOT / "configs" / "gym" / "cartpole_novel_gru.yaml")


def make(name: str, num_envs: int = 3, **settings: Any) -> GymnasiumEnv:
    return GymnasiumEnv(GymConfig(id=name, **settings), num_envs, seed=7, gamma=0.99)


def pushes(env: GymnasiumEnv, choice: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor([choice] * env.num_envs), 2).float()


def test_an_end_shows_the_true_last_observation_and_the_return() -> None:
    env = make("CartPole-v1")
    env.reset()
    length, ended = 0, torch.zeros(3, dtype=torch.bool)
    while not ended.any():
        result = env.step(pushes(env, 1))
        length, ended = length + 1, result.terminated
    # Pushed one way the pole falls beyond 12 degrees; the next episode starts upright.
    assert (result.final_obs[OBSERVATION][ended, 2].abs() > 0.2).all()
    assert (result.obs[OBSERVATION][ended].abs() < 0.06).all()
    assert torch.equal(result.final_obs[OBSERVATION][~ended], result.obs[OBSERVATION][~ended])
    count = int(ended.sum())
    assert result.info["episode"].tolist() == [count, count * length, count * length, count]


def test_a_time_limit_truncates() -> None:
    env = make("Pendulum-v1", kwargs={"max_episode_steps": 5}, success_return=1.0)
    env.reset()
    for _ in range(5):
        result = env.step(torch.zeros(3, 1))
    assert result.truncated.all() and not result.terminated.any()
    assert result.info["episode"][3] == 0
    assert not torch.equal(result.final_obs[OBSERVATION], result.obs[OBSERVATION])


def test_box_actions_are_scaled_to_the_bounds_and_clipped() -> None:
    env = make("Pendulum-v1", num_envs=4)
    env.reset()
    env.step(torch.tensor([[-9.0], [-0.5], [0.25], [1.0]]))
    torques = [each.unwrapped.last_u for each in env.copies.envs]  # type: ignore[attr-defined]
    assert torques == pytest.approx([-2.0, -1.0, 0.5, 2.0])


def test_hidden_entries_are_not_observed() -> None:
    whole, part = make("CartPole-v1"), make("CartPole-v1", observe=[0, 2])
    assert part.obs_dims == {OBSERVATION: 2}
    assert torch.equal(whole.reset()[OBSERVATION][:, [0, 2]], part.reset()[OBSERVATION])


def test_scaled_rewards_leave_returns_as_they_are() -> None:
    plain, scaled = make("Pendulum-v1"), make("Pendulum-v1", normalize_reward=True)
    totals = []
    for env in (plain, scaled):
        env.reset()
        for _ in range(200):
            result = env.step(torch.full((3, 1), 0.3))
        totals.append(result.info["episode"])
    assert plain.step(torch.zeros(3, 1)).reward.abs().mean() > 1.0
    assert scaled.step(torch.zeros(3, 1)).reward.abs().mean() < 1.0
    torch.testing.assert_close(totals[1], totals[0], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "processes"),
    [
        ("CartPole-v1", False),
        ("CartPole-v1", True),
        ("Pendulum-v1", False),
        ("BipedalWalker-v3", True),
        ("LunarLander-v3", False),
        ("Hopper-v5", False),
        ("CarRacing-v3", False),
    ],
)
def test_a_saved_state_goes_on_as_if_nothing_had_happened(name: str, processes: bool) -> None:
    settings = {"normalize_reward": True, "processes": processes}
    one, other = make(name, **settings), make(name, **settings)
    g = torch.Generator().manual_seed(0)
    half = 3 if name == "CarRacing-v3" else 35  # through the ends of several episodes of CartPole
    actions = torch.rand(2 * half, 3, one.num_actions, generator=g)
    one.reset()
    for action in actions[:half]:
        one.step(action)
    other.reset()
    other.load_state_dict(one.state_dict())
    for action in actions[half:]:
        a, b = one.step(action), other.step(action)
        assert all(torch.equal(a.obs[key], b.obs[key]) for key in one.obs_dims)
        assert torch.equal(a.reward, b.reward) and torch.equal(a.terminated, b.terminated)
        assert torch.equal(a.info["episode"], b.info["episode"])
    one.close()
    other.close()


class Haunted(gymnasium.Env[np.ndarray, np.int64]):
    """What it shows depends on how many episodes there were before."""

    observation_space = gymnasium.spaces.Box(0.0, 100.0, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    episodes = 0

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        self.episodes += 1
        return np.full(1, self.episodes, np.float32), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return np.full(1, self.episodes, np.float32), 0.0, True, False, {}


def test_an_environment_that_cannot_be_replayed_causes_a_warning() -> None:
    if "Haunted-v0" not in gymnasium.registry:
        gymnasium.register("Haunted-v0", Haunted)
    one, other = make("Haunted-v0"), make("Haunted-v0")
    one.reset()
    for _ in range(3):
        one.step(pushes(one, 0))
    with pytest.warns(UserWarning, match="more than seeds and actions"):
        other.load_state_dict(one.state_dict())
    config = load_config(RECIPE, ["gym.id=Haunted-v0", "gym.observe=[]"])
    policy = ActorCritic(one.obs_dims, one.num_actions, config.policy)
    with pytest.raises(RenderingUnavailable, match="Haunted-v0"):
        record_images(policy, task_of(config), [], episodes=1)


def test_the_scale_of_rewards_outlives_another_number_of_processes() -> None:
    one = make("Pendulum-v1", normalize_reward=True)
    other = make("Pendulum-v1", normalize_reward=True)
    one.reset()
    for _ in range(50):
        one.step(torch.ones(3, 1))
    other.load_levels([one.state_dict()])
    other.reset()
    step = other.step(torch.ones(3, 1))
    assert step.reward.abs().max() < 0.2  # of a scale of tens, and not of 1


def overrides(log_dir: Path, iterations: int) -> list[str]:
    return [
        f"training.total_timesteps={iterations * 8 * 64}",
        f"training.log_dir={log_dir}",
        "training.checkpoint_freq=1024",
        "training.evaluation_freq=100_000_000",
        "training.evaluation_episodes=3",
        "training.report_episodes=3",
        "training.run_name=run",
        "training.num_envs=8",
        "ppo.rollout_length=64",
        "ppo.num_epochs=1",
        "ppo.schedule=constant",
    ]


@pytest.mark.parametrize("recipe", ["cartpole_novel_gru", "lunarlander_ppo", "lunarlander_a2c"])
def test_a_resumed_run_equals_one_that_went_through(recipe: str, tmp_path: Path) -> None:
    path = str(ROOT / "configs" / "gym" / f"{recipe}.yaml")
    for name, parts in (("through", [6]), ("parted", [4, 6])):
        for i, iterations in enumerate(parts):
            resume = ["--resume", "latest"] if i else []
            more = [] if path == RECIPE else ["training.report=false"]
            command = ["--config", path, *resume, *overrides(tmp_path / name, iterations), *more]
            assert main(command) == 0
    runs = [tmp_path / name / "run" for name in ("through", "parted")]
    rows = [json.loads((run / "metrics.jsonl").read_text().splitlines()[-1]) for run in runs]
    for row in rows:
        for key in [k for k in row if k.startswith(("Perf/", "wall_time_s", "Eval/"))]:
            del row[key]
    assert rows[0] == rows[1] and rows[0]["iteration"] == 6
    finals = [read_policy(run / "checkpoints" / "phase1_final.pth")[0] for run in runs]
    for a, b in zip(*(policy.state_dict().values() for policy in finals), strict=True):
        assert torch.equal(a, b)
    if path == RECIPE:
        overall = json.loads((runs[0] / "evaluation.json").read_text())["overall"]
        assert overall["episodes"] == 3
        assert overall["mean_return"] == pytest.approx(overall["mean_length"])
        assert (runs[0] / "plots" / "learning_curves.png").stat().st_size > 10_000


def test_an_episode_is_recorded_as_the_environment_draws_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--config", RECIPE, *overrides(tmp_path, 1)]) == 0  # a run of one iteration
    arguments = ["--checkpoint", str(tmp_path / "run" / "checkpoints" / "phase1_best.pth")]
    video = tmp_path / "run.mp4"
    assert play_cli.main([*arguments, "--video", str(video)]) == 0
    if importlib.util.find_spec("pygame") is None:
        assert "pygame" in capsys.readouterr().out and not video.exists()
    else:
        frames = imageio.mimread(video, memtest=False)
        assert 8 <= len(frames) <= 500 and frames[0].shape == (400, 600, 3)
        assert frames[0].std() > 5.0
    for refused in (["--command", "1,0,0"], ["--terrain", "flat"]):
        assert play_cli.main([*arguments, *refused]) == 2
    assert evaluate_cli.main([*arguments, "--protocol", "agarwal"]) == 2
    assert "for robots" in capsys.readouterr().err


def test_evaluation_counts_whole_episodes_of_the_policy_it_is_given() -> None:
    config = load_config(RECIPE, ["gym.success_return=60"])
    env = task_of(config).make_env(2, seed=1)
    torch.manual_seed(0)
    policy = ActorCritic(env.obs_dims, env.num_actions, config.policy)
    first = task_of(config).evaluate(policy, 7, seed=3, stochastic=True)["overall"]
    assert first == task_of(config).evaluate(policy, 7, seed=3, stochastic=True)["overall"]
    # Random pushes last some 20 steps.
    assert 10 < first["mean_return"] < 45 and first["success_rate"] < 0.5
    half = 1.96 * first["std_return"] / 6**0.5
    assert first["return_ci95"] == pytest.approx(
        [first["mean_return"] - half, first["mean_return"] + half], rel=1e-4
    )
    assert first["length_ci95"] == first["return_ci95"]  # CartPole pays 1 a step
    torch.nn.init.zeros_(policy.head.logits.weight)
    with torch.no_grad():
        policy.head.logits.bias.copy_(torch.tensor([0.0, 9.0]))
    always_right = task_of(config).evaluate(policy, 7, seed=3)["overall"]
    assert 8 <= always_right["min_return"] <= always_right["max_return"] <= 11


class Endless(gymnasium.Env[np.ndarray, np.int64]):
    """Draws itself, pays 1 a step, and ends only by action 1."""

    metadata: ClassVar = {"render_modes": ["rgb_array"], "render_fps": 50}  # type: ignore[misc]
    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (4,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        return np.zeros(4, np.float32), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return np.zeros(4, np.float32), 1.0, bool(action), False, {}

    def render(self) -> Any:
        return np.zeros((16, 16, 3), np.uint8)


@pytest.fixture
def endless() -> tuple[ActorCritic, Config]:
    """A policy that never does what would end the episode."""
    if "Endless-v0" not in gymnasium.registry:
        gymnasium.register("Endless-v0", Endless)
    config = load_config(RECIPE, ["gym.id=Endless-v0", "gym.observe=[]"])
    env = task_of(config).make_env(1, seed=1)
    policy = ActorCritic(env.obs_dims, env.num_actions, config.policy)
    torch.nn.init.zeros_(policy.head.logits.weight)
    with torch.no_grad():
        policy.head.logits.bias.copy_(torch.tensor([9.0, 0.0]))
    return policy, config


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """An untrained policy for CartPole."""
    config = load_config(RECIPE)
    env = task_of(config).make_env(1, seed=1)
    torch.manual_seed(0)
    policy = ActorCritic(env.obs_dims, env.num_actions, config.policy)
    payload = {
        "config": asdict(config),
        "obs_dims": env.obs_dims,
        "num_actions": env.num_actions,
        "policy": policy.state_dict(),
        "counters": {"iteration": 1, "env_steps": 512},
    }
    save_checkpoint(tmp_path / "cartpole.pth", payload)
    return tmp_path / "cartpole.pth"


def test_an_evaluation_takes_another_return_as_success(checkpoint: Path, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    arguments = ["--checkpoint", str(checkpoint), "--envs", "3", "--json", str(file)]
    for wanted, rate in ((1, 1.0), (10_000, 0.0)):
        assert evaluate_cli.main([*arguments, f"gym.success_return={wanted}"]) == 0
        assert json.loads(file.read_text())["overall"]["success_rate"] == rate


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task.max_tilt=0.5", "a key of gym"),
        ("terrain=flat", "a group with keys of gym"),
        ("gym.observe=[0]", "as the policy of"),
        ("gym.id=CartPole-v0", "as the policy of"),
        ("gym.processes=true", "as the policy of"),
        ("gym.succes_return=1", "did you mean 'gym.success_return'"),
    ],
)
@pytest.mark.parametrize("cli", [evaluate_cli, play_cli])
def test_overrides_that_nothing_would_read_are_refused(
    cli: ModuleType,
    checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
    override: str,
    message: str,
) -> None:
    assert cli.main(["--checkpoint", str(checkpoint), override]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error


def test_episodes_that_never_end_are_cut_with_a_warning(
    endless: tuple[ActorCritic, Config],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    policy, config = endless
    monkeypatch.setattr(returns, "_MAX_STEPS", 40)
    figures = task_of(config).evaluate(policy, 2, seed=0)["overall"]
    assert figures["unfinished"] == 2 and figures["max_return"] == 40.0
    assert record_images(policy, task_of(config), [], episodes=1) == 40.0
    lines = [record.message for record in caplog.records if record.levelname == "WARNING"]
    caplog.clear()
    assert len(lines) == 2 and all("had not ended after 40 steps" in line for line in lines)
    config.gym.kwargs["max_episode_steps"] = 60  # the environment's own limit counts
    figures = task_of(config).evaluate(policy, 2, seed=0)["overall"]
    assert figures["unfinished"] == 0 and figures["max_return"] == 60.0
    assert not caplog.records


class Undrawable(gymnasium.Env):
    """A copy of an environment that takes a render_mode and has no `render`."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,))
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        return np.zeros(2, dtype=np.float32), {}

    def step(self, action: object) -> tuple:
        return np.zeros(2, dtype=np.float32), 1.0, True, False, {}


def test_an_environment_without_render_has_no_video_and_keeps_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(
        gymnasium.registry,
        "Undrawable-v0",
        gymnasium.envs.registration.EnvSpec("Undrawable-v0", entry_point=Undrawable),
    )
    recipe = str(ROOT / "configs" / "gym" / "pendulum.yaml")
    short = ["training.num_envs=2", "ppo.rollout_length=8", "ppo.bptt_length=8"]
    run = ["training.total_timesteps=16", "training.run_name=run", f"training.log_dir={tmp_path}"]
    few = ["training.evaluation_episodes=2", "training.report_episodes=2"]
    arguments = ["gym.id=Undrawable-v0", "gym.observe=[]", *short, *run, *few]
    assert main(["--config", recipe, *arguments]) == 0
    printed = capsys.readouterr().out
    assert "video        no video: render() of Undrawable-v0" in printed
    assert "Evaluation" in printed and "play.py --checkpoint" in printed
    assert printed.index("evaluating") < printed.index("recording") < printed.index("Evaluation")


@pytest.mark.parametrize(("gif_fps", "frames"), [(None, 60), (20, 24), (100, 120)])
def test_a_gif_has_the_frames_asked_for_and_plays_in_real_time(
    endless: tuple[ActorCritic, Config], tmp_path: Path, gif_fps: int | None, frames: int
) -> None:
    policy, config = endless
    config.gym.kwargs["max_episode_steps"] = 60  # at 50 steps a second
    gif, video = tmp_path / "walk.gif", tmp_path / "walk.mp4"
    written: dict[Path, int] = {gif: 0, video: 0}

    @contextmanager
    def count(path: Path, fps: int) -> Iterator[Any]:
        assert fps == (gif_fps if gif_fps and path == gif else 50)
        stream = MagicMock()
        yield stream
        written[path] = stream.append_data.call_count

    with patch.object(recording, "open_stream", count):
        record_images(policy, task_of(config), [video, gif], episodes=1, gif_fps=gif_fps)
    assert written == {gif: frames, video: 60}


def test_play_hands_the_rate_of_a_gif_on(
    endless: tuple[ActorCritic, Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = MagicMock(return_value=0.0)
    monkeypatch.setattr(recording, "record_images", asked)
    loaded = TrainedPolicy(*endless, env_steps=0, path=Path("x"))
    monkeypatch.setattr(options, "load", lambda _: loaded)
    assert play_cli.main(["--gif", str(tmp_path / "walk.gif"), "--gif-fps", "7"]) == 0
    assert asked.call_args.kwargs["gif_fps"] == 7


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("gym.id=CartPol-v1", "gym.id"),
        ("gym.observe=[0,4]", "gym.observe"),
        ("gym.id=FrozenLake-v1", "gym.id"),
        ("policy.distribution=gaussian", "policy.distribution"),
        ("+gym.kwargs.colour=red", "gym.id"),
    ],
)
def test_what_cannot_be_trained_is_refused(override: str, key: str) -> None:
    config = load_config(RECIPE, [override])
    with pytest.raises(ConfigError) as error:
        task_of(config).make_env(2, seed=1)
    assert error.value.key == key


def test_every_recipe_names_an_environment_and_composes() -> None:
    for path in sorted((ROOT / "configs" / "gym").glob("*.yaml")):
        config = load_config(path)
        module, _, name = config.gym.id.rpartition(":")
        if module:
            importlib.import_module(module)
        assert name in gymnasium.registry
        assert np.isfinite(config.gym.success_return)


def test_pygame_is_silent_on_machines_without_screen_and_sound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ("PYGAME_HIDE_SUPPORT_PROMPT", "SDL_VIDEODRIVER", "SDL_AUDIODRIVER")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SDL_AUDIODRIVER", "disk")
    make("CartPole-v1", 1)
    assert [os.environ[name] for name in names] == ["1", "dummy", "disk"]
