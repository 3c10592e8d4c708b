"""The command line of training. The heavy imports wait until the arguments are known to be good."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from legged_ppo.cli.parser import EXIT_INTERRUPTED, OneLineParser, run_command, telling_sizes

if TYPE_CHECKING:
    import torch

    from legged_ppo.config.schema import Config
    from legged_ppo.interface import Environment
    from legged_ppo.runs.run_directory import RunDirectory
    from legged_ppo.training.trainer import Trainer


def make_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="train_phase1.py",
        description="Train a recurrent locomotion policy by massively parallel PPO.",
        epilog="examples:\n"
        "  python train_phase1.py --config configs/phase1_quickstart.yaml\n"
        "  python train_phase1.py --config configs/phase1_quickstart.yaml robot=a1 ppo.learning_rate=1e-4\n"
        "  python train_phase1.py --resume latest\n"
        "  python train_phase1.py --config configs/phase1_quickstart.yaml terrain=course "
        "--init-from logs/checkpoints/phase1_best.pth",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--config", metavar="PATH", help="recipe, a YAML file; of a resumed run its own by default"
    )
    parser.add_argument(
        "--device", default="auto", help="auto, cpu or cuda:N (default: %(default)s)"
    )
    parser.add_argument(
        "--resume", metavar="PATH|latest", help="go on from a checkpoint, or from the newest run's"
    )
    parser.add_argument(
        "--init-from", metavar="PATH", help="start a new run from the policy of a checkpoint"
    )
    parser.add_argument(
        "--print-config", action="store_true", help="print the resolved config and exit"
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="change the recipe: ppo.gamma=0.98, robot=a1 (a group), +preset=debug (add a group)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, train, report; returns the exit code."""
    return run_command(make_parser(), _run, argv)


def _run(arguments: argparse.Namespace) -> int:
    from legged_ppo.config.loading import config_to_yaml

    config = _config_of(arguments)
    if arguments.print_config:
        print(config_to_yaml(config), end="")
        return 0
    from legged_ppo.runtime import distributed
    from legged_ppo.runtime.device import find_device

    device = find_device(arguments.device, physics=not config.gym.id)
    with distributed.process_group():
        if arguments.resume:
            return _resume(config, arguments.resume, device)
        return _start(config, arguments.config, arguments.init_from, device)


def _config_of(arguments: argparse.Namespace) -> Config:
    """The recipe with the overrides; of a resumed run without a recipe what its checkpoint holds.

    Raises:
        ConfigError: there is no recipe, or it or an override is wrong.
    """
    from legged_ppo.config.loading import load_config
    from legged_ppo.config.overrides import apply_overrides
    from legged_ppo.config.schema import TrainingConfig
    from legged_ppo.errors import ConfigError
    from legged_ppo.runs import checkpoint as checkpoints
    from legged_ppo.runs.run_directory import find_checkpoint

    if arguments.resume and arguments.init_from:
        raise ConfigError("--init-from", arguments.init_from, "left out with --resume")
    if arguments.config:
        return load_config(arguments.config, arguments.overrides)
    if not arguments.resume:
        raise ConfigError("--config", None, "a recipe such as configs/phase1_quickstart.yaml")
    given = dict(override.partition("=")[::2] for override in arguments.overrides)
    log_dir = given.get("training.log_dir", TrainingConfig().log_dir)
    path = find_checkpoint(arguments.resume, log_dir)
    saved = checkpoints.checkpoint_config(checkpoints.load_checkpoint(path), path)
    return apply_overrides(saved, arguments.overrides)


def _start(config: Config, path: str, init_from: str | None, device: torch.device) -> int:
    from legged_ppo.runs.checkpoint import load_weights
    from legged_ppo.runs.run_directory import RunDirectory
    from legged_ppo.training.trainer import Trainer

    # The environment comes first: a robot that cannot be built leaves nothing on disk.
    env = _make_env(config, device)
    weights = load_weights(init_from, config, env) if init_from else None
    run = _on_main(lambda: RunDirectory.create(config, Path(path).stem))
    with telling_sizes(lambda: sizes(config, env)):
        return _run_trainer(Trainer(config, env, run, weights=weights), config)


def _resume(config: Config, resume: str, device: torch.device) -> int:
    from legged_ppo.runs import checkpoint as checkpoints
    from legged_ppo.runs.run_directory import RunDirectory, find_checkpoint
    from legged_ppo.runtime import distributed
    from legged_ppo.training.trainer import Trainer

    path = find_checkpoint(resume, config.training.log_dir)
    saved = checkpoints.load_checkpoint(path)
    checkpoints.check_compatible(saved, config, path)
    counters = saved["counters"]
    if counters["env_steps"] >= config.training.total_timesteps:
        print(
            f"{path}: this run is complete ({counters['env_steps']:,} steps); raise "
            "training.total_timesteps to train on"
        )
        return 0
    changes = checkpoints.differences(saved, config, path)
    env = _make_env(config, device)

    def reopen() -> RunDirectory:
        run = RunDirectory.of_checkpoint(path)
        if run is None:
            return RunDirectory.create(config, path.stem)
        run.reopen(counters["iteration"])
        if changes:
            run.replace_config(config, counters["env_steps"])
        return run

    with telling_sizes(lambda: sizes(config, env)):
        trainer = Trainer(config, env, _on_main(reopen), saved)
        if distributed.is_main():
            print(f"resuming {path} at {counters['env_steps']:,} steps")
            for key, (before, now) in changes.items():
                print(f"  {key}: {before} until now, {now} from here on")
        return _run_trainer(trainer, config)


def _make_env(config: Config, device: torch.device) -> Environment:
    """This rank's share of the robots.

    Raises:
        ConfigError: what `make_env` raises; robots that cannot be shared out evenly.
    """
    from legged_ppo.errors import ConfigError
    from legged_ppo.runtime import distributed
    from legged_ppo.training.task import make_training_env

    robots, ranks = config.training.num_envs, distributed.world_size()
    if robots % ranks:
        raise ConfigError("training.num_envs", robots, f"a multiple of the {ranks} processes")
    seed = distributed.seed_of_rank(config.training.seed)
    with telling_sizes(lambda: sizes(config)):
        return make_training_env(config, robots // ranks, seed, device)


def sizes(config: Config, env: Environment | None = None) -> str:
    """The sizes that take memory: those of the recipe, and what the physics planned for its buffers."""
    ppo = config.ppo
    line = (
        f"it was to hold training.num_envs={config.training.num_envs} "
        f"ppo.rollout_length={ppo.rollout_length} ppo.gradient_accumulation={ppo.gradient_accumulation}"
    )
    simulator = getattr(env, "simulator", None)
    capacity = getattr(simulator, "capacity", None)
    if env is None or simulator is None or capacity is None:
        return line
    from legged_ppo.sim.warp.memory import predicted_bytes

    planned = " ".join(f"sim.{name}={size}" for name, size in asdict(capacity).items())
    gigabytes = predicted_bytes(simulator.model, capacity, env.num_envs) / 2**30
    return (
        f"{line} and the physics of {env.num_envs} robots, planned at {gigabytes:.2f} GB: {planned}"
    )


def _on_main(make: Callable[[], RunDirectory]) -> RunDirectory:
    """The run folder that the first rank makes; the others only know where it is."""
    from legged_ppo.runs.run_directory import RunDirectory
    from legged_ppo.runtime import distributed

    root = make().root if distributed.is_main() else None
    return RunDirectory(distributed.from_main(root) or Path())


def _run_trainer(trainer: Trainer, config: Config) -> int:
    from legged_ppo.runtime import distributed
    from legged_ppo.runtime.precision import advice

    run = trainer.run
    if distributed.is_main():
        print(f"run: {run.root}", flush=True)
        if line := advice(config.ppo.precision, trainer.env.device):
            print(line, flush=True)
    if not trainer.train():
        if distributed.is_main():
            print(f"stopped; go on with: --resume {run.checkpoints / 'phase1_latest.pth'}")
        return EXIT_INTERRUPTED
    if config.training.report and distributed.is_main():
        from legged_ppo.reports.run_report import write_report
        from legged_ppo.runs.run_directory import BEST

        training, best = config.training, run.checkpoints / BEST
        for line in write_report(run.root, best, training.report_episodes, training.seed):
            print(line)
    return 0
