"""NaN and Inf in one robot's world, observations, action or reward, in a gradient or in a parameter."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from legged_ppo.config.schema import Config
from legged_ppo.interface import StepResult
from legged_ppo.runs.checkpoint import load_checkpoint
from legged_ppo.training.trainer import Trainer
from tests.faults import runs
from tests.faults.children import Job, run_child
from tests.faults.kills import leg
from tests.faults.measure import Measure

VALUES = (math.nan, math.inf, -math.inf)
PLACES = ("world", "observations", "action", "reward", "gradient", "parameter", "statistics")
_ROBOT, _ITERATION = 1, runs.INTERVAL + 2
"""Which robot is hit, and in which iteration: not after a checkpoint is due, which would hold it."""
_COUNTED = ("Sim/nonfinite_resets", "Sim/nonfinite_samples", "Loss/skipped_steps")
"""Metrics, one of which must report it."""
_DEMAND = (
    "reported as a metric, the other robots train on, weights stay finite; a parameter ends the run with one "
    "line, before it is saved, and the resume ends bit for bit like a run without it"
)


class Injection:
    """A callback that damages one place during the iteration that follows `_ITERATION - 1`."""

    def __init__(self, place: str, value: float) -> None:
        self.place, self.value = place, value

    def __call__(self, trainer: Trainer, _: Any) -> None:
        """Called after every iteration."""
        if trainer.counters.iteration == _ITERATION - 1:
            getattr(self, f"_in_{self.place}")(trainer)

    def _in_world(self, trainer: Trainer) -> None:
        """A coordinate of the robot's state in the engine."""
        simulator = trainer.env.simulator  # type: ignore[attr-defined]
        state = simulator.state_dict()
        state["rows"][_ROBOT, 9] = self.value
        simulator.load_state_dict(state)

    def _in_action(self, trainer: Trainer) -> None:
        def before(actions: torch.Tensor) -> torch.Tensor:
            actions = actions.clone()
            actions[_ROBOT, 0] = self.value
            return actions

        _once(trainer, before=before)

    def _in_reward(self, trainer: Trainer) -> None:
        def after(result: StepResult) -> StepResult:
            reward = result.reward.clone()
            reward[_ROBOT] = self.value
            return replace(result, reward=reward)

        _once(trainer, after=after)

    def _in_observations(self, trainer: Trainer) -> None:
        def after(result: StepResult) -> StepResult:
            obs = {name: group.clone() for name, group in result.obs.items()}
            for group in obs.values():
                group[_ROBOT, 0] = self.value
            return replace(result, obs=obs)

        _once(trainer, after=after)

    def _in_gradient(self, trainer: Trainer) -> None:
        """The next backward pass yields it; those after it do not."""
        parameter = next(trainer.policy.parameters())

        def hook(gradient: torch.Tensor) -> torch.Tensor:
            handle.remove()
            return torch.full_like(gradient, self.value)

        handle = parameter.register_hook(hook)

    def _in_parameter(self, trainer: Trainer) -> None:
        next(trainer.policy.parameters()).data.flatten()[0] = self.value

    def _in_statistics(self, trainer: Trainer) -> None:
        trainer.policy.state_dict()["normalizer.mean"].flatten()[0] = self.value


def _once(
    trainer: Trainer,
    before: Callable[[torch.Tensor], torch.Tensor] = lambda actions: actions,
    after: Callable[[StepResult], StepResult] = lambda result: result,
) -> None:
    """Change what goes into and comes out of the environment's next step."""
    env, original = trainer.env, trainer.env.step

    def step(actions: torch.Tensor) -> StepResult:
        env.step = original  # type: ignore[method-assign]
        return after(original(before(actions)))

    env.step = step  # type: ignore[method-assign]


def damaged_leg(config: Config, place: str, value: float) -> int:
    """A run in which one number is damaged."""
    return runs.run(config, callbacks=[Injection(place, value)])


def nonfinite_numbers(subject: str, folder: Path, stride: int = 1) -> Measure:
    """Every value in every place, or each `stride`-th pair of them."""
    measure = Measure(f"NaN, Inf and -Inf in numbers ({subject})", _DEMAND)
    whole = folder / "reference"
    reference = runs.recipe(subject, whole)
    assert run_child(Job(leg, {"config": reference, "resume": False})).code == 0
    expected = runs.result(whole)
    for place, value in list(itertools.product(PLACES, VALUES))[::stride]:
        name = f"{subject}, {value} in {place}"
        log_dir = folder / f"{place}_{value}"
        config = runs.recipe(subject, log_dir)
        arguments = {"config": config, "place": place, "value": value}
        ended = run_child(Job(damaged_leg, arguments))
        stops = place in ("parameter", "statistics")
        measure.count("stopped with one line" if ended.code == 1 else "trained on")
        wanted = 1 if stops else 0
        measure.require(ended.code == wanted, f"{name}: {ended.code}: {ended.output[-400:]}")
        measure.require("Traceback" not in ended.output, f"{name}: {ended.output[-400:]}")
        _check_weights(log_dir, measure, name)
        if stops:
            measure.require("error: training diverged" in ended.output, f"{name}: {ended.output}")
            again = run_child(Job(leg, {"config": config, "resume": True}))
            measure.require(again.code == 0, f"{name}, resumed: {again.output[-400:]}")
            for line in expected.differences(runs.result(log_dir)):
                measure.require(False, f"{name}, resumed: {line}")
        else:
            row = _row(log_dir, _ITERATION)
            reported = any((row.get(metric) or 0) > 0 for metric in _COUNTED)
            measure.require(reported, f"{name}: no metric reports it")
    return measure


def _row(log_dir: Path, iteration: int) -> dict[str, Any]:
    rows = map(json.loads, (log_dir / "run" / "metrics.jsonl").read_text().splitlines())
    return next(row for row in rows if row["iteration"] == iteration)


def _check_weights(log_dir: Path, measure: Measure, name: str) -> None:
    """Every checkpoint on disk holds finite weights."""
    for path in runs.checkpoints(log_dir):
        weights = load_checkpoint(path)["policy"].values()
        finite = all(bool(torch.isfinite(weight).all()) for weight in weights)
        measure.require(finite, f"{name}: {path.name} is not finite")
