"""Whole runs of Phase 2 through the command line: resume, evaluation, and teachers that are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from legged_ppo.cli import evaluate, export
from legged_ppo.cli.train_phase2 import main
from legged_ppo.config.loading import CONFIG_DIR, load_config
from legged_ppo.config.schema import Config
from legged_ppo.deploy import run as runner
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.models.equivariance import Equivariance
from legged_ppo.models.gru import GRU
from legged_ppo.runs.checkpoint import checkpoint_config, load_checkpoint, save_checkpoint
from legged_ppo.runs.run_directory import RunDirectory
from legged_ppo.training.distiller import Distiller
from legged_ppo.training.run import train
from legged_ppo.training.teacher import foundation_of, load_teacher

RECIPE = str(CONFIG_DIR / "phase2_monolithic.yaml")
NUM_ENVS, LENGTH = 12, 8
ITERATION = NUM_ENVS * LENGTH
DISTILLED, ITERATIONS = 4, 8
TIMINGS = ("wall_time_s", "Perf/")
MakeCheckpoint = Callable[[Path, Config], Path]


def overrides(log_dir: Path, *more: str) -> list[str]:
    return [
        f"training.num_envs={NUM_ENVS}",
        f"ppo.rollout_length={LENGTH}",
        f"ppo.bptt_length={LENGTH // 2}",
        f"distillation.steps={DISTILLED * ITERATION}",
        f"distillation.critic_warmup={2 * ITERATION}",
        f"training.total_timesteps={ITERATIONS * ITERATION}",
        f"training.log_dir={log_dir}",
        f"training.checkpoint_freq={ITERATION}",
        "training.evaluation_freq=100_000_000",
        "training.evaluation_episodes=2",
        "training.report=false",
        "training.run_name=run",
        "task.observations.depth.rows=5",
        "task.observations.depth.columns=7",
        "sim.threads=1",
        *more,
    ]


def rows(log_dir: Path) -> list[dict[str, Any]]:
    parsed = [json.loads(line) for line in (log_dir / "run" / "metrics.jsonl").open()]
    return [{k: v for k, v in r.items() if not k.startswith(TIMINGS)} for r in parsed]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory, make_checkpoint: MakeCheckpoint) -> Path:
    """A policy of the quickstart's recipe with a small network and short episodes."""
    return make_checkpoint(tmp_path_factory.mktemp("teacher") / "teacher.pth", teacher_config())


def teacher_config(*more: str) -> Config:
    small = ["policy.gru_hidden=16", "policy.actor_hidden=[8]", "policy.critic_hidden=[8]"]
    ground = ["terrain=course", "terrain.curriculum.rule=success", "terrain.curriculum.distance=0"]
    episodes = ["task.episode_length_s=0.2"]
    return load_config(CONFIG_DIR / "phase1_quickstart.yaml", [*small, *ground, *episodes, *more])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, teacher: Path) -> Path:
    """The log folder of a run in one go."""
    log_dir = tmp_path_factory.mktemp("finished")
    assert main(["--config", RECIPE, "--teacher", str(teacher), *overrides(log_dir)]) == 0
    return log_dir


def test_a_run_distils_and_then_fine_tunes(finished: Path, teacher: Path) -> None:
    names = {path.name for path in (finished / "run" / "checkpoints").iterdir()}
    steps = ITERATIONS * ITERATION
    kinds = ("latest", "best", "final", "distilled", f"step_{steps}")
    assert {f"phase2_{kind}.pth" for kind in kinds} <= names
    assert not [name for name in names if name.startswith("phase1")]
    assert (finished / "run" / "teacher.pth").read_bytes() == teacher.read_bytes()
    log = rows(finished)
    distilling, tuning = log[:DISTILLED], log[DISTILLED:]
    assert all("Loss/action" in row and "Loss/value" not in row for row in distilling)
    assert all(row["Loss/reconstruction"] > 0 for row in distilling)
    assert all("Loss/value" in row and "Loss/action" not in row for row in tuning)
    assert [row["Distillation/teacher_share"] for row in distilling] == [1.0, 0.0, 0.0, 0.0]
    rates = [row["Loss/learning_rate"] for row in log]
    assert rates[0] == pytest.approx(1e-3) and rates[DISTILLED] == pytest.approx(2e-4)
    summary = json.loads((finished / "run" / "summary.json").read_text())
    assert summary["env_steps"] == steps and "Eval/success_rate" in summary["final"]


def weights_of(log_dir: Path, iteration: int) -> dict[str, torch.Tensor]:
    path = log_dir / "run" / "checkpoints" / f"phase2_step_{iteration * ITERATION}.pth"
    weights: dict[str, torch.Tensor] = load_checkpoint(path)["policy"]
    return weights


def test_the_actor_rests_while_the_critic_warms_up(finished: Path) -> None:
    distilled = load_checkpoint(finished / "run" / "checkpoints" / "phase2_distilled.pth")["policy"]
    first, warm, tuned = (weights_of(finished, DISTILLED + i) for i in (1, 2, 3))
    critic = ("critic", "value", "trunk.scandots_encoder", "normalizer")
    for name, weight in distilled.items():
        if not name.startswith(critic):
            assert torch.equal(weight, first[name]) and torch.equal(weight, warm[name]), name
            assert not torch.equal(weight, tuned[name]), name
    assert not torch.equal(distilled["value.weight"], first["value.weight"])


def test_the_student_of_an_equivariant_teacher_commutes_with_the_mirror(finished: Path) -> None:
    for name in ("distilled", "final"):
        saved = load_checkpoint(finished / "run" / "checkpoints" / f"phase2_{name}.pth")
        config = checkpoint_config(saved, finished)
        assert config.ppo.symmetry == "equivariant"
        env = make_locomotion_env(config, 2, 0)
        policy = ActorCritic(env.obs_dims, env.num_actions, config.policy)
        policy.load_state_dict(saved["policy"])
        before = [p.detach().clone() for p in policy.parameters()]
        Equivariance(policy, env.symmetry).project()
        for parameter, expected in zip(policy.parameters(), before, strict=True):
            torch.testing.assert_close(parameter.detach(), expected, rtol=1e-4, atol=1e-6)


def test_what_a_student_takes_over_commutes_to_the_last_bit(teacher: Path, tmp_path: Path) -> None:
    config = load_config(
        RECIPE, overrides(tmp_path), foundation=foundation_of(teacher, overrides(tmp_path))
    )
    env = make_locomotion_env(config, NUM_ENVS, 0)
    assert env.symmetry is not None
    loaded = load_teacher(teacher, config, env)
    for weight in loaded.policy.parameters():
        weight.mul_(1.0 + 1e-6 * torch.rand_like(weight))  # rounding errors
    distiller = Distiller(config, env, RunDirectory.create(config, "run"), loaded, scorer=None)
    for _ in range(2):
        found = distiller.policy.reflections(env.symmetry)
        for parameter, reflect in zip(found.parameters, found.reflections, strict=True):
            flat = parameter.detach().flatten()
            assert torch.equal(reflect(flat), flat)
        grus = [m for m in distiller.policy.modules() if isinstance(m, GRU)]
        assert grus and all(gru.commutes for gru in grus)
        distiller._finish_distillation()


def test_a_teacher_that_does_not_commute_has_no_equivariant_student(
    teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    saved = {k: v for k, v in load_checkpoint(teacher).items() if k not in ("format", "versions")}
    saved["policy"]["trunk.gru.bias_hh_l0"][0] += 0.1
    lopsided = tmp_path / "lopsided.pth"
    save_checkpoint(lopsided, saved)
    arguments = ["--config", RECIPE, "--teacher", str(lopsided), *overrides(tmp_path / "logs")]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "ppo.symmetry" in error and "does not commute" in error and error.count("\n") == 1
    assert not (tmp_path / "logs").exists()
    assert main([*arguments, "ppo.symmetry=none", "distillation.reconstruction_coef=0"]) == 0


@pytest.mark.parametrize("killed_after", [2, DISTILLED, DISTILLED + 1, DISTILLED + 3])
def test_a_killed_and_resumed_run_equals_one_that_was_not(
    killed_after: int,
    finished: Path,
    teacher: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    iterate = Distiller.iterate

    def iterate_or_die(self: Distiller) -> dict[str, float]:
        if self.counters.iteration == killed_after:
            raise RuntimeError("killed")
        return iterate(self)

    arguments = ["--config", RECIPE, *overrides(tmp_path)]
    with monkeypatch.context() as patch:
        patch.setattr(Distiller, "iterate", iterate_or_die)
        assert main([*arguments, "--teacher", str(teacher)]) == 1
    assert len(rows(tmp_path)) == killed_after
    again = arguments if killed_after == 2 else overrides(tmp_path)
    assert main(["--resume", str(tmp_path / "run"), *again]) == 0
    assert rows(tmp_path) == rows(finished)
    for name, weight in weights_of(tmp_path, ITERATIONS).items():
        assert torch.equal(weight, weights_of(finished, ITERATIONS)[name]), name


def test_a_moved_checkpoint_needs_its_teacher_again(
    finished: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    moved = tmp_path / "moved.pth"
    moved.write_bytes((finished / "run" / "checkpoints" / "phase2_latest.pth").read_bytes())
    logs = overrides(tmp_path / "logs", f"training.total_timesteps={(ITERATIONS + 1) * ITERATION}")
    assert main(["--resume", str(moved), *logs]) == 2
    assert "--teacher" in capsys.readouterr().err and not (tmp_path / "logs").exists()
    assert main(["--resume", str(moved), "--teacher", str(teacher), *logs]) == 0
    assert (tmp_path / "logs" / "run" / "teacher.pth").is_file()


def test_a_student_is_evaluated_like_any_policy_and_beside_its_teacher(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = str(finished / "run")
    assert evaluate.main(["--checkpoint", run, "--envs", "2"]) == 0
    assert "phase2_best.pth" in capsys.readouterr().out
    file = tmp_path / "students.json"
    arguments = ["--phase2", run, "--envs", "14", "--json", str(file)]
    assert evaluate.main([*arguments, "task.episode_length_s=0.1"]) == 0
    figures = json.loads(file.read_text())
    names = ["teacher", "distilled", "student", "depth blanked", "depth of another"]
    assert list(figures) == [*names, "depth 0.3 s late"]
    assert figures["teacher"]["relative_success"]["overall"]["ratio"] in (1.0, None)
    fingerprints = {each["terrain_fingerprint"] for each in figures.values()}
    assert len(fingerprints) == 1
    assert "stairs" in capsys.readouterr().out
    assert (
        evaluate.main(["--checkpoint", run, "--envs", "2", "task.observations.depth.rows=6"]) == 2
    )
    assert "task.observations.depth.rows" in capsys.readouterr().err


def test_only_a_run_of_phase_2_has_a_teacher_to_be_compared_with(
    teacher: Path, capsys: pytest.CaptureFixture
) -> None:
    assert evaluate.main(["--phase2", str(teacher)]) == 2
    assert "--phase2" in capsys.readouterr().err


def test_robots_begin_at_the_levels_that_the_teachers_had_reached(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = teacher_config()
    env = make_locomotion_env(config, 40, 0)
    env.terrain_level.copy_(3 + env.terrain_type % 4)
    saved = {k: v for k, v in load_checkpoint(teacher).items() if k not in ("format", "versions")}
    path = tmp_path / "reached.pth"
    save_checkpoint(path, saved | {"ranks": [{"env": env.state_dict()}]})
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    init = Distiller.__init__

    def watch(self: Distiller, config: Config, env: Any, *rest: Any, **more: Any) -> None:
        seen.append((env.terrain_type.clone(), env.terrain_level.clone()))
        init(self, config, env, *rest, **more)

    monkeypatch.setattr(Distiller, "__init__", watch)
    short = overrides(tmp_path / "logs", f"training.total_timesteps={ITERATION}")
    assert main(["--config", RECIPE, "--teacher", str(path), *short]) == 0
    assert main(["--config", RECIPE, "--teacher", str(path), *short, "terrain.seed=2"]) == 0
    (types, levels), (_, others) = seen
    assert len(types) == NUM_ENVS and torch.equal(levels, 3 + types % 4)
    assert not torch.equal(others, levels), "levels of other ground mean nothing"


def test_robots_of_a_teacher_whose_levels_are_not_known_begin_on_all(teacher: Path) -> None:
    assert foundation_of(teacher, ()).terrain.max_initial_level == 9


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("robot.action_scale=0.4", "robot.action_scale"),
        ("robot.kp=33", "robot.kp"),
        ("task.gait.frequency=1.5", "task.gait.frequency"),
        ("task.observations.joint_vel_scale=0.1", "joint_vel_scale"),
        ("sim.decimation=2", "sim.dt * sim.decimation"),
        ("task.observations.scandots.x=[0.1,0.2]", "scandots"),
        ("+robot=a1", "robot."),
        ("ppo.symmetry=augmentation", "ppo.symmetry"),
        ("task.observations.depth.columns=8", "task.observations.depth.columns"),
        ("policy.adaptation=true", "policy.adaptation"),
        ("task.observations.depth.far=0", "task.observations.depth.far"),
    ],
)
def test_a_teacher_of_another_kind_is_refused_and_nothing_is_written(
    override: str, key: str, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = ["--config", RECIPE, "--teacher", str(teacher), *overrides(tmp_path / "logs")]
    assert main([*arguments, override]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and key in error
    assert not (tmp_path / "logs").exists()


def test_a_teacher_that_is_missing_or_no_checkpoint_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    other = tmp_path / "other.pth"
    torch.save({"model": torch.zeros(3)}, other)
    for teacher in ([], ["--teacher", str(tmp_path / "none.pth")], ["--teacher", str(other)]):
        assert main(["--config", RECIPE, *teacher, *overrides(tmp_path / "logs")]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and ("--teacher" in error or "other.pth" in error)
    assert not (tmp_path / "logs").exists()


def test_an_rma_student_adapts_in_place_of_knowing(
    tmp_path: Path, make_checkpoint: MakeCheckpoint
) -> None:
    rma = ["policy.architecture=rma", "policy.critic_memory=shared", "policy.actor_skip=false"]
    config = teacher_config(*rma, "ppo.symmetry=none", "policy.extrinsics_hidden=[8]")
    teacher = make_checkpoint(tmp_path / "teacher.pth", config)
    more = [f"training.total_timesteps={2 * ITERATION}", f"distillation.steps={2 * ITERATION}"]
    run = train(
        load_phase2("phase2_rma", teacher, [*overrides(tmp_path / "logs", *more)]), teacher=teacher
    )
    saved = load_checkpoint(run / "checkpoints" / "phase2_final.pth")
    student, before = saved["policy"], load_checkpoint(teacher)["policy"]
    assert not [name for name in student if "extrinsics" in name or name.startswith("trunk.gru")]
    assert any(name.startswith("trunk.adaptation_gru") for name in student)
    assert all(
        torch.equal(student[k], before[k]) for k in before if k.startswith(("actor", "head"))
    )


def load_phase2(recipe: str, teacher: Path, changes: list[str]) -> Config:
    foundation = foundation_of(teacher, changes)
    config = load_config(CONFIG_DIR / f"{recipe}.yaml", changes, foundation)
    assert asdict(config.robot) == asdict(foundation.robot)
    return config


def test_a_group_replaces_the_teachers_section_and_the_recipe_lies_above(
    teacher: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = ["--config", RECIPE, "--teacher", str(teacher), "--print-config"]
    for group in ("terrain=flat", "+terrain=flat"):
        assert main([*arguments, group, "+preset=debug"]) == 0
        printed = yaml.safe_load(capsys.readouterr().out)
        assert printed["terrain"]["proportions"] == {"flat": 1.0}
        assert printed["task"]["observations"]["depth"]["enabled"] is True
        assert (
            printed["policy"]["gru_hidden"] == 16 and printed["task"]["gait"]["frequency"] == 2.75
        )


def test_a_student_is_exported_and_walks_in_plain_mujoco(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    path = tmp_path / "student.onnx"
    where = ["--terrain", "stairs_up", "--level", "1"]
    assert export.main(["--checkpoint", str(finished / "run"), "--output", str(path), *where]) == 0
    assert runner.main([str(path), "--seconds", "0.4", "--fast", "--command", "0.4,0,0"]) == 0
    assert "m walked" in capsys.readouterr().out
