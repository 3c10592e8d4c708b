"""Environments and callbacks of a module outside the package: trained, resumed, evaluated, played, recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import pytest

from legged_ppo import evaluate, load_config, load_policy, train
from legged_ppo.cli import evaluate as evaluate_cli
from legged_ppo.cli import play as play_cli
from legged_ppo.cli import train as train_cli
from legged_ppo.config.schema import Config
from legged_ppo.errors import ConfigError
from legged_ppo.runs.checkpoint import load_checkpoint
from legged_ppo.training.logger import Metrics
from legged_ppo.training.trainer import Trainer
from legged_ppo.viewer import video

Write = Callable[[str, str], Path]

SOURCE = """
import torch
from legged_ppo.interface import Environment, StepResult

class Point(Environment):
    '''A point on a line is pushed and should stay at 0, for 20 steps.'''
    episode_metrics, step_metrics = ["count", "return", "length"], []
    success_return = -100.0

    def __init__(self, config, num_envs, seed, device):
        self.num_envs, self.num_actions, self.device = num_envs, 1, device
        self.obs_dims = {"position": 1}
        self.generator = torch.Generator(device).manual_seed(seed)
        self.x = torch.zeros(3, num_envs, device=device)  # position, age, return

    def reset(self):
        self.x[0] = torch.rand(self.num_envs, generator=self.generator)
        self.x[1:] = 0.0
        return {"position": self.x[0, :, None].clone()}

    def step(self, actions):
        self.x[0] += 0.2 * actions[:, 0].clamp(-1, 1)
        reward = -self.x[0].abs()
        self.x[1:] += torch.stack([torch.ones_like(reward), reward])
        final, ended = {"position": self.x[0, :, None].clone()}, self.x[1] >= 20
        sums = {"episode": (ended * self.x[[1, 2, 1]]).sum(1), "step": torch.zeros(0)}
        sums["episode"][0] = ended.sum()
        self.x *= ~ended
        obs = {"position": self.x[0, :, None].clone()}
        return StepResult(obs, reward, torch.zeros_like(ended), ended, final, sums)

    def state_dict(self):
        return {"x": self.x, "generator": self.generator.get_state()}

    def load_state_dict(self, state):
        self.x.copy_(state["x"])
        self.generator.set_state(state["generator"])

def note_age(trainer, metrics):
    metrics["Point/age"] = float(trainer.env.x[1].mean())

ENVIRONMENTS, CALLBACKS = {"point": Point}, {"note_age": note_age}
"""
RECIPE = """
defaults: [phase1_quickstart, _self_]
extensions: [my_point]
environment: point
ppo: {rollout_length: 16, bptt_length: 16, num_epochs: 1, num_minibatches: 1, sequences_per_minibatch: 0,
  symmetry: none}
policy: {gru_hidden: 8, actor_hidden: [8], critic_hidden: [8], critic_privileged: false}
training:
  {callbacks: [note_age], num_envs: 8, evaluation_episodes: 4, report_episodes: 4, checkpoint_freq: 256,
  total_timesteps: 768, run_name: run, wandb: disabled}
"""


@pytest.fixture
def recipe(write_module: Write, tmp_path: Path) -> str:
    write_module("my_point", SOURCE)
    path = tmp_path / "point.yaml"
    path.write_text(RECIPE)
    return str(path)


def rows(run: Path) -> list[dict[str, Any]]:
    """The metrics of a run without times."""
    found = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in row.items() if "Perf" not in k and "time" not in k} for row in found]


def test_a_resumed_run_of_a_custom_environment_equals_one_that_went_through(recipe: str) -> None:
    config = load_config(recipe, ["training.report=false"])
    run = train(config, device="cpu")
    through, seen = rows(run), []

    def note(trainer: Trainer, metrics: Metrics) -> None:
        seen.append(metrics["Point/age"])

    resumed = train(
        config, device="cpu", resume=run / "checkpoints/phase1_step_512.pth", callbacks=[note]
    )
    assert resumed == run.resolve() and rows(run) == through and len(through) == 6
    ages = [row["Point/age"] for row in through]
    assert ages[4:] == seen, "called after the recipe's callback, once an iteration"


def test_a_recipe_whose_policy_the_environment_cannot_serve_leaves_nothing_on_disk(
    recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for override in (
        "policy.critic_privileged=true",
        "ppo.symmetry=augmentation",
        "policy.distribution=categorical",
    ):
        assert train_cli.main(["--config", recipe, "--device", "cpu", override]) == 2
        assert f"error: {override.partition('=')[0]}: got" in capsys.readouterr().err
    assert not Path("logs").exists()


def test_a_custom_environment_is_reported_evaluated_and_played_by_its_returns(
    recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_cli.main(["--config", recipe, "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "no video: point does not draw itself" in printed and "success" in printed
    with pytest.raises(ConfigError, match=r"extensions=\[my_point\] among the overrides"):
        load_policy("latest")
    policy = load_policy("latest", ["extensions=[my_point]"])
    assert load_checkpoint(policy.path)["robot_model"] is None
    overall = evaluate(policy, episodes=3)["overall"]
    assert overall["mean_length"] == 20.0 and overall["success_rate"] == 1.0
    assert evaluate_cli.main(["--envs", "3", "--json", "a.json", "extensions=[my_point]"]) == 0
    assert json.loads(Path("a.json").read_text())["overall"]["mean_return"] < 0.0
    assert play_cli.main(["--video", "a.mp4", "extensions=[my_point]"]) == 0
    assert "no video: point does not draw itself" in capsys.readouterr().out
    assert evaluate_cli.main(["--terrain", "flat", "extensions=[my_point]"]) == 2
    assert "left out for point: it is for robots" in capsys.readouterr().err


def test_a_policy_is_not_evaluated_on_other_observations_than_it_was_trained_with(
    recipe: str, write_module: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["training.report=false", "training.total_timesteps=128"]
    assert train_cli.main(["--config", recipe, "--device", "cpu", *few]) == 0
    write_module("my_point", SOURCE.replace('{"position": 1}', '{"place": 1}'))
    for command, more in ((evaluate_cli.main, []), (play_cli.main, ["--video", "a.mp4"])):
        assert command([*more, "extensions=[my_point]"]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: size of position of point: got None, expected 1")


def test_a_custom_environment_with_images_is_recorded_at_its_own_speed(
    recipe: str, write_module: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = """
    render_fps = 10.0

    def render(self):
        return torch.full((16, 16, 3), int(self.x[1, 0]), dtype=torch.uint8).numpy()

    def state_dict(self):"""
    write_module("my_point", SOURCE.replace("\n    def state_dict(self):", drawn))
    few = ["training.report=false", "training.total_timesteps=128"]
    assert train_cli.main(["--config", recipe, "--device", "cpu", *few]) == 0
    record = ["--video", "a.mp4", "--gif", "a.gif", "--gif-fps", "5", "--episodes", "2"]
    assert play_cli.main([*record, "extensions=[my_point]"]) == 0
    assert "recorded a mean return of -" in capsys.readouterr().out
    frames = imageio.mimread("a.mp4", memtest=False)
    assert len(frames) == 40 and imageio.get_reader("a.mp4").get_meta_data()["fps"] == 10.0


WALKER = """
from legged_ppo.env.locomotion import LocomotionEnv

class Walker(LocomotionEnv):
    made = []

    def __init__(self, config, *parts):
        super().__init__(config, *parts)
        self.made.append(self.num_envs)

ENVIRONMENTS = {"walker": Walker}
"""


def test_a_subclass_of_the_robots_environment_is_what_evaluation_and_recording_build(
    config: Config,
    write_module: Write,
    make_checkpoint: Callable[..., Path],
    tmp_path: Path,
    backend: str,
) -> None:
    write_module("my_walker", WALKER)
    config.extensions, config.environment = ["my_walker"], "walker"
    config.task.episode_length_s = 0.1
    policy = load_policy(make_checkpoint(tmp_path / "a.pth", config), ["extensions=[my_walker]"])
    import my_walker  # type: ignore[import-not-found]

    my_walker.Walker.made.clear()
    assert "flat" in evaluate(policy, episodes=4)["terrain"]
    video.render_episodes(policy.network, policy.config, [], seconds=0.04)
    assert my_walker.Walker.made == [4, 1]
