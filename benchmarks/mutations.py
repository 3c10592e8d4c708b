"""Mutation test: change one line of the learner, the task or the terrain, and see that a test fails.

    python benchmarks/mutations.py [--only TEXT] [--json FILE]

Each mutation is applied to a temporary copy of the tree, in which the named tests run; the first failure counts
as caught. Exit code 1 where more than two survive.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_COPIED = ("legged_ppo", "tests", "configs", "pyproject.toml", "train_phase1.py")
_TIME_LIMIT_S = 300
_MAY_SURVIVE = 2


@dataclass(frozen=True)
class Mutation:
    """One textual change, and the tests that are expected to notice it."""

    file: str
    """below legged_ppo/"""
    old: str
    """occurs exactly once in the file"""
    new: str
    tests: str
    """files below tests/, separated by blanks"""

    @property
    def name(self) -> str:
        return f"{self.file}: {self.old.strip()} -> {self.new.strip()}"


_ALGORITHMS = [
    Mutation(
        "algorithms/gae.py",
        "torch.where(truncated, final_values, following)",
        "following",
        "algorithms/test_gae.py",
    ),
    Mutation(
        "algorithms/gae.py",
        "torch.where(terminated, 0.0, following)",
        "following",
        "algorithms/test_gae.py",
    ),
    Mutation(
        "algorithms/gae.py",
        "(~(terminated | truncated))",
        "(~terminated)",
        "algorithms/test_gae.py",
    ),
    Mutation("algorithms/gae.py", "gamma * gae_lambda *", "gae_lambda *", "algorithms/test_gae.py"),
    Mutation(
        "algorithms/losses.py", "torch.minimum(", "torch.maximum(", "algorithms/test_losses.py"
    ),
    Mutation(
        "algorithms/losses.py",
        "1.0 + clip_range)",
        "1.0 + 2 * clip_range)",
        "algorithms/test_losses.py",
    ),
    Mutation(
        "algorithms/losses.py",
        "torch.maximum(value_loss, squared)",
        "torch.minimum(value_loss, squared)",
        "algorithms/test_losses.py",
    ),
    Mutation(
        "algorithms/losses.py",
        "near.where(within, 0.0)",
        "near",
        "algorithms/test_losses.py",
    ),
    Mutation(
        "algorithms/losses.py",
        "gain.where(gain == smaller, 0.0)",
        "gain",
        "algorithms/test_losses.py",
    ),
    Mutation(
        "algorithms/losses.py",
        "value_loss - entropy_coef * entropy\n",
        "value_loss + entropy_coef * entropy\n",
        "algorithms/test_losses.py",
    ),
    Mutation(
        "algorithms/rollout_buffer.py",
        "order // learned * self.num_envs + order % learned",
        "order",
        "algorithms/test_rollout_buffer.py env/test_symmetry.py",
    ),
    Mutation(
        "algorithms/rollout_buffer.py",
        "yield order[first::count]",
        "yield order[first::count][: total // count]",
        "algorithms/test_rollout_buffer.py",
    ),
    Mutation(
        "algorithms/rollout_buffer.py",
        "chunk, env = chunk_ids // self.num_envs, chunk_ids % self.num_envs",
        "env, chunk = chunk_ids // self.num_chunks, chunk_ids % self.num_chunks",
        "algorithms/test_rollout_buffer.py",
    ),
    Mutation(
        "algorithms/schedules.py",
        "kl > 2.0 * desired_kl",
        "kl > 4.0 * desired_kl",
        "algorithms/test_schedules.py",
    ),
    Mutation(
        "algorithms/schedules.py",
        "0.5 * (1.0 + math.cos",
        "(1.0 + math.cos",
        "algorithms/test_schedules.py",
    ),
    Mutation(
        "algorithms/collector.py",
        "seen, starts = result.obs, result.terminated | result.truncated",
        "seen, starts = result.obs, result.terminated",
        "algorithms/test_collector.py",
    ),
    Mutation(
        "algorithms/collector.py",
        "starts = torch.zeros(state.shape[1], dtype=torch.bool, device=state.device)",
        "starts = torch.ones(state.shape[1], dtype=torch.bool, device=state.device)",
        "algorithms/test_collector.py",
    ),
    Mutation(
        "algorithms/ppo.py",
        "(total * share).backward()",
        "total.backward()",
        "algorithms/test_ppo.py",
    ),
]
_MODELS = [
    Mutation(
        "models/halves.py",
        "parity * sign[second] * (first != second)",
        "parity * (first != second)",
        "models/test_equivariance.py",
    ),
    Mutation(
        "models/halved_network.py",
        "factor * reflection.sign[mirrored]",
        "factor",
        "models/test_equivariance.py",
    ),
    Mutation(
        "models/halved_network.py",
        "if parameter.requires_grad else None",
        "",
        "models/test_equivariance.py",
    ),
    Mutation(
        "models/gru_operators.py",
        "d_state = dh.mul_(z[t]).addmm_(products, rolled).mul_(keep[t])",
        "d_state = dh.mul_(z[t]).addmm_(products, rolled)",
        "models/test_gru.py",
    ),
    Mutation("models/gru_operators.py", "h = state * keep[t]", "h = state", "models/test_gru.py"),
    Mutation(
        "models/gru_operators.py",
        "torch.mul(d_hn, (1.0 - r).mul_(recurrent_n), out=d_r)",
        "torch.mul(d_hn, recurrent_n, out=d_r)",
        "models/test_gru.py",
    ),
    Mutation(
        "models/gru_source.py",
        "after * kept[OWN][SLOT]",
        "after",
        "models/test_warp_gru.py",
    ),
    Mutation(
        "models/gru_source.py",
        "fmaf(carried.of[side], kept[OWN][SLOT], in[5])",
        "carried.of[side] + in[5]",
        "models/test_warp_gru.py",
    ),
    Mutation(
        "models/gru_source.py",
        "return part == 0 ? own + other : own - other;",
        "return own + other;",
        "models/test_warp_gru.py",
    ),
    Mutation(
        "models/gru_source.py",
        "group < GROUPS; ++group) sum +=",
        "group < GROUPS - 1; ++group) sum +=",
        "models/test_warp_gru.py",
    ),
    Mutation(  # what another thread writes in this stage
        "models/gru_source.py",
        "const float h = entered[sequence * HIDDEN + own];",
        "const float h = entered[sequence * HIDDEN + own] + 1e-6f * entered[0];",
        "models/test_warp_gru.py",
    ),
    Mutation(
        "models/recurrence.py",
        "if not error <= _TOLERANCE:",
        "if False:",
        "models/test_warp_gru.py",
    ),
    Mutation(
        "models/gru.py",
        "gru.commutes = False",
        "pass",
        "models/test_warp_gru.py",
    ),
    Mutation(
        "models/gru.py",
        "if found.shape != shape or found.device != device:",
        "if False:",
        "models/test_gru.py",
    ),
    Mutation(
        "models/equivariance.py",
        "memory.commutes = True",
        "pass",
        "models/test_warp_gru.py",
    ),
    Mutation(
        "models/normalization.py",
        "batch_var + (1 - weight) * shift.square()",
        "batch_var",
        "models/test_normalization.py",
    ),
    Mutation(
        "models/distributions.py",
        "(-0.5 * scaled.square() - self.log_std - _LOG_SQRT_2PI)",
        "(-0.5 * scaled.square() - _LOG_SQRT_2PI)",
        "models/test_distributions.py",
    ),
    Mutation(
        "models/distributions.py",
        "- math.log(2 * self.bound)).sum(-1).float()",
        ").sum(-1).float()",
        "models/test_distributions.py",
    ),
    Mutation(
        "models/trunks.py",
        "seen, state[self.actor_layers :], starts",
        "seen, state[: self.actor_layers], starts",
        "models/test_actor_critic.py algorithms/test_ppo.py",
    ),
]
_ENV = [
    Mutation(
        "env/locomotion.py",
        "actions = actions.clamp(-clip, clip)",
        "actions = actions.clamp(-2 * clip, 2 * clip)",
        "env/test_locomotion.py",
    ),
    Mutation(
        "env/locomotion.py",
        "(self.episode_length >= self.max_episode_length) & ~terminated",
        "(self.episode_length >= self.max_episode_length)",
        "env/test_locomotion.py",
    ),
    Mutation(
        "env/locomotion.py",
        "torch.cos(self.survey.yaw - self.commands.course)",
        "torch.ones_like(self.survey.yaw)",
        "env/test_locomotion.py",
    ),
    Mutation(
        "env/locomotion.py",
        "reward + config.termination * fell",
        "reward + config.termination",
        "env/test_rewards.py",
    ),
    Mutation(
        "env/extension_groups.py",
        "self._undo(before, ~mask)",
        "pass",
        "env/test_extension_groups.py",
    ),
    Mutation(
        "env/placement.py",
        "torch.where(mask[:, None], self.position, self.start, out=self.start)",
        "pass",
        "env/test_locomotion.py",
    ),
    Mutation(
        "config/extensions.py",
        "if stored and named != stored",
        "if stored and named is None",
        "config/test_extensions.py",
    ),
    Mutation(
        "env/commands.py",
        "< c.min_speed * self._scale",
        "< c.min_speed",
        "env/test_commands.py",
    ),
    Mutation(
        "env/commands.py",
        "wrap_to_pi(yaw - self.course) / _MEMORY",
        "0.0 * yaw",
        "env/test_commands.py env/test_locomotion.py",
    ),
    Mutation("env/commands.py", "choice >= 2 / 3", "choice >= 1 / 3", "env/test_commands.py"),
    Mutation(
        "env/randomization.py",
        "spread[:, None] * place",
        "place",
        "env/test_randomization.py env/test_tiles.py",
    ),
    Mutation(
        "env/rewards.py",
        "* x.landed\n",
        "* x.contact\n",
        "env/test_rewards.py",
    ),
    Mutation(
        "env/rewards.py",
        "(q - high).clamp(min=0.0)",
        "(q - high)",
        "env/test_rewards.py",
    ),
    Mutation(
        "env/rewards.py",
        "(low & x.contact)",
        "low",
        "env/test_rewards.py",
    ),
    Mutation(
        "env/survey.py",
        "* self._placement.holes[tile][:, None]",
        "* 1.0",
        "env/test_survey.py",
    ),
    Mutation(
        "env/survey.py",
        "standing - standing.clamp(max=0.0)",
        "standing - 0.0 * standing",
        "env/test_survey.py",
    ),
    Mutation(
        "sensors/height_scan.py",
        "self.past[newer + 1, robots]",
        "self.past[newer, robots]",
        "sensors/test_height_scan.py",
    ),
]
_TERRAIN = [
    Mutation(
        "terrain/curriculum.py",
        "up &= outcome.farthest >= self.config.distance",
        "up &= outcome.farthest >= 0.0",
        "terrain/test_curriculum.py",
    ),
    Mutation(
        "terrain/curriculum.py",
        "torch.where(ended, moved, self.levels, out=self.levels)",
        "self.levels.copy_(moved)",
        "terrain/test_curriculum.py",
    ),
    Mutation(
        "terrain/height_map.py",
        "near = torch.lerp(z00, z01, fy)",
        "near = torch.lerp(z00, z01, fx)",
        "terrain/test_grid.py",
    ),
    Mutation(
        "terrain/grid.py",
        'np.argsort(counts - exact, kind="stable")',
        'np.argsort(exact - counts, kind="stable")',
        "terrain/test_grid.py",
    ),
    Mutation(
        "terrain/steps.py",
        "floor, (k - steps) * riser)",
        "floor, (k + 1 - steps) * riser)",
        "terrain/test_grid.py",
    ),
]
_TRAINING = [
    Mutation(
        "training/trainer.py",
        "next_value, progress)",
        "next_value, 0.0)",
        "training/test_runs.py training/test_memory_task.py",
    ),
    Mutation(
        "training/trainer.py",
        "if score.score >= best_before:",
        "if score.score <= best_before:",
        "training/test_best_checkpoint.py",
    ),
]
MUTATIONS = [*_ALGORITHMS, *_MODELS, *_ENV, *_TERRAIN, *_TRAINING]


def apply(mutation: Mutation, tree: Path) -> str:
    """Change the file in `tree`; returns its former text.

    Raises:
        ValueError: the old text does not occur exactly once.
    """
    path = tree / "legged_ppo" / mutation.file
    text = path.read_text()
    if text.count(mutation.old) != 1:
        raise ValueError(f"{mutation.name}: found {text.count(mutation.old)} times, expected once")
    path.write_text(text.replace(mutation.old, mutation.new))
    return text


def is_caught(mutation: Mutation, tree: Path) -> bool:
    """Whether one of the mutation's tests fails on the changed copy."""
    before = apply(mutation, tree)
    files = [f"tests/{name}" for name in mutation.tests.split()]  # a missing one is exit code 4
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *files]
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    try:
        run = subprocess.run(
            command,
            cwd=tree,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_TIME_LIMIT_S,
        )
        return run.returncode == 1
    except subprocess.TimeoutExpired:
        return True
    finally:
        (tree / "legged_ppo" / mutation.file).write_text(before)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="mutations whose name contains this text")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the outcomes to this file")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for name in _COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, tree / name)
        for mutation in MUTATIONS:
            if arguments.only in mutation.name:
                caught = is_caught(mutation, tree)
                rows.append(asdict(mutation) | {"caught": caught})
                print(f"{'caught  ' if caught else 'SURVIVED'} {mutation.name}", flush=True)
    survived = sum(not row["caught"] for row in rows)
    print(f"{len(rows) - survived} of {len(rows)} caught")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")
    return int(survived > _MAY_SURVIVE)


if __name__ == "__main__":
    raise SystemExit(main())
