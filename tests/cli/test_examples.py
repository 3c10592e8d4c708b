"""Every command that --help and README show works in the folder where the quickstart has been trained."""

from __future__ import annotations

import argparse
import shlex
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from documented_commands import our_commands

from legged_ppo.cli import (
    doctor,
    evaluate,
    export,
    options,
    play,
    report,
    runs,
    sweep,
    train,
    train_phase2,
)
from legged_ppo.cli import terrain as gallery
from legged_ppo.config.loading import load_config
from legged_ppo.config.sweep import read_sweep
from legged_ppo.deploy import run
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.evaluation.students import contestants_of
from legged_ppo.evaluation.tiles import restricted
from legged_ppo.runs.checkpoint import copy_checkpoint, load_weights
from legged_ppo.training.teacher import foundation_of, load_teacher

ROOT = Path(__file__).resolve().parents[2]
PARSERS: dict[str, Callable[[], argparse.ArgumentParser]] = {
    "train_phase1.py": train.make_parser,
    "train_phase2.py": train_phase2.make_parser,
    "play.py": play.make_parser,
    "evaluate.py": evaluate.make_parser,
    "export.py": export.make_parser,
    "legged_ppo.cli.sweep": sweep.make_parser,
    "legged_ppo.deploy.run": run.make_parser,
    "legged_ppo.cli.terrain": gallery.make_parser,
    "legged_ppo.cli.report": report.make_parser,
    "legged_ppo.cli.runs": runs.make_parser,
    "legged_ppo.cli.doctor": doctor.make_parser,
}


HELP = "\n".join(textwrap.indent(make().epilog or "", "  ") for make in PARSERS.values())
EPILOGS = [words for words in our_commands(HELP) if words[0] in PARSERS]
README = [words for words in our_commands((ROOT / "README.md").read_text()) if words[0] in PARSERS]


@pytest.fixture(scope="module")
def quickstart(
    tmp_path_factory: pytest.TempPathFactory, make_checkpoint: Callable[..., Path]
) -> Path:
    """A folder as the quickstart leaves it: recipes, and the checkpoints of a run."""
    folder = tmp_path_factory.mktemp("quickstart")
    (folder / "configs").symlink_to(ROOT / "configs")
    config = load_config(ROOT / "configs" / "phase1_quickstart.yaml")
    for name in ("best", "latest"):
        make_checkpoint(folder / "logs" / "checkpoints" / f"phase1_{name}.pth", config)
    return folder


@pytest.fixture(scope="module")
def phase2(
    quickstart: Path, tmp_path_factory: pytest.TempPathFactory, make_checkpoint: Callable[..., Path]
) -> Path:
    """A folder with a run of Phase 2 whose teacher is the quickstart's."""
    folder = tmp_path_factory.mktemp("phase2")
    run = folder / "logs" / "run"
    teacher = quickstart / "logs" / "checkpoints" / "phase1_best.pth"
    config = load_config("phase2_monolithic", (), foundation_of(teacher, ()))
    for name in ("best", "distilled"):
        make_checkpoint(run / "checkpoints" / f"phase2_{name}.pth", config)
    copy_checkpoint(teacher, run / "teacher.pth")
    (run / "config.yaml").touch()
    (folder / "logs" / "checkpoints").symlink_to(run / "checkpoints")
    return folder


def test_every_parser_has_examples_and_readme_too() -> None:
    assert {words[0] for words in EPILOGS} == set(PARSERS)
    assert len(EPILOGS) >= 10 and len(README) >= 4


@pytest.mark.parametrize("words", [*EPILOGS, *README], ids=shlex.join)
def test_examples_work_after_the_quickstart(
    words: list[str], quickstart: Path, phase2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(phase2 if "--phase2" in words else quickstart)
    arguments = PARSERS[words[0]]().parse_intermixed_args(words[1:])
    if words[0] == "legged_ppo.deploy.run":
        run.check(arguments)
        assert arguments.policy.name == "policy.onnx"  # which the first example of export.py writes
    elif words[0] == "legged_ppo.cli.report":
        assert all(report.folder_of(name, arguments.log_dir).is_dir() for name in arguments.runs)
    elif words[0] == "legged_ppo.cli.sweep":
        assert read_sweep(ROOT / arguments.file).trials > 0
    elif words[0] in ("legged_ppo.cli.runs", "legged_ppo.cli.doctor"):
        assert arguments.log_dir == Path("logs")
    elif getattr(arguments, "phase2", None):
        folder, *others = arguments.phase2
        assert len(contestants_of(folder, others, arguments.overrides)) == 6 + len(others)
    elif getattr(arguments, "teacher", None):
        teacher = Path(arguments.teacher)
        foundation = foundation_of(teacher, arguments.overrides)
        config = load_config(arguments.config, arguments.overrides, foundation)
        load_teacher(teacher, config, make_locomotion_env(config, 1, 0))
    elif words[0] in ("play.py", "evaluate.py", "export.py"):
        for checkpoint in getattr(arguments, "compare", None) or [arguments.checkpoint]:
            arguments.checkpoint = checkpoint
            config = options.load(arguments).config
            config, place = restricted(config, arguments.terrain, arguments.level)
            if place is not None:
                make_locomotion_env(config, 1, 0).terrain.place(*place)
    elif arguments.config:
        config = load_config(arguments.config, arguments.overrides)
        if getattr(arguments, "init_from", None):
            load_weights(arguments.init_from, config, make_locomotion_env(config, 1, 0))


def test_a_type_of_no_column_is_refused_with_the_terrain_that_has_it(
    quickstart: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(quickstart)
    for level in ([], ["--level", "0"]):
        assert evaluate.main(["--envs", "1", "--terrain", "stairs_up", *level]) == 2
        assert "terrain=full" in capsys.readouterr().err
