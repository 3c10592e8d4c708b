"""Which checkpoint `phase1_best.pth` is: the one that was judged best, whatever came after it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from legged_ppo.config.loading import load_config
from legged_ppo.config.schema import Config
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.evaluation.task import PolicyScore
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.runs.checkpoint import load_checkpoint
from legged_ppo.runs.run_directory import RunDirectory
from legged_ppo.training.trainer import Trainer

RECIPE = Path(__file__).resolve().parents[2] / "configs" / "phase1_quickstart.yaml"
NUM_ENVS, LENGTH = 4, 8
STEP = NUM_ENVS * LENGTH


class FakeScorer:
    """Gives these scores, one after another."""

    def __init__(self, *scores: float) -> None:
        self.scores = list(scores)

    def __call__(
        self, policy: ActorCritic, config: Config, episodes: int, seed: int
    ) -> PolicyScore:
        return PolicyScore(self.scores.pop(0), {})


def small_run(folder: Path, iterations: int) -> Config:
    """A recipe that evaluates after every iteration; a run's first one is not judged."""
    return load_config(
        RECIPE,
        [
            f"training.num_envs={NUM_ENVS}",
            f"ppo.rollout_length={LENGTH}",
            f"ppo.bptt_length={LENGTH}",
            f"training.total_timesteps={iterations * STEP}",
            f"training.evaluation_freq={STEP}",
            f"training.checkpoint_freq={STEP}",
            f"training.log_dir={folder}",
            "training.run_name=run",
            "terrain=flat",
        ],
    )


@pytest.mark.parametrize(
    ("scores", "best"),
    [((0.9, 0.5, 0.1), 2), ((0.2, 0.9, 0.5), 3), ((-3.0, -2.0, -1.0), 4)],
)
def test_a_later_and_worse_policy_leaves_the_best_one_in_place(
    tmp_path: Path, scores: tuple[float, ...], best: int
) -> None:
    config = small_run(tmp_path, iterations=4)
    run, scorer = RunDirectory.create(config, "recipe"), FakeScorer(*scores)
    env = make_locomotion_env(config, NUM_ENVS, config.training.seed)
    assert Trainer(config, env, run, scorer=scorer).train()
    assert not scorer.scores, "scored once in each of iterations 2, 3 and 4"
    saved = load_checkpoint(run.checkpoints / "phase1_best.pth")
    assert saved["counters"]["env_steps"] == best * STEP
    assert saved["counters"]["best_score"] == max(scores)
    latest = load_checkpoint(run.checkpoints / "phase1_latest.pth")
    assert latest["counters"]["env_steps"] == 4 * STEP
    summary = json.loads((run.root / "summary.json").read_text())
    assert summary["best_score"] == max(scores)
