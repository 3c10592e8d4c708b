"""Whole runs through the command line: resume, interruption, and what bad input does (nothing)."""

import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import mujoco
import pytest
import torch

from legged_ppo.algorithms.ppo import PPO
from legged_ppo.cli.train import main
from legged_ppo.config.loading import load_config
from legged_ppo.reports import run_report
from legged_ppo.runs.checkpoint import load_checkpoint, read_policy, save_checkpoint
from legged_ppo.sim.warp.memory import Capacity
from legged_ppo.training.run import sizes

ROOT = Path(__file__).resolve().parents[2]
RECIPE = str(ROOT / "configs" / "phase1_quickstart.yaml")
NUM_ENVS, LENGTH = 24, 24
ITERATIONS, SAVED_EVERY = 8, 4
"""Of the finished run, whose checkpoints are those after 4 and 8 iterations."""
TIMINGS = ("wall_time_s", "Perf/")


def overrides(log_dir: Path, iterations: int, *more: str) -> list[str]:
    return [
        f"training.num_envs={NUM_ENVS}",
        f"ppo.rollout_length={LENGTH}",
        f"ppo.bptt_length={LENGTH // 2}",
        f"training.total_timesteps={iterations * NUM_ENVS * LENGTH}",
        f"training.log_dir={log_dir}",
        f"training.checkpoint_freq={SAVED_EVERY * NUM_ENVS * LENGTH}",
        "training.evaluation_freq=100_000_000",
        "training.evaluation_episodes=2",
        "task.episode_length_s=0.6",
        # Ground with levels, and rules under which short episodes move robots between them.
        "terrain=course",
        "terrain.curriculum.rule=success",
        "terrain.curriculum.distance=0",
        "training.report=false",
        "training.run_name=run",
        *more,
    ]


def train(*arguments: str) -> int:
    return main(["--config", RECIPE, *arguments])


def rows(log_dir: Path) -> list[dict[str, Any]]:
    parsed = [json.loads(line) for line in (log_dir / "run" / "metrics.jsonl").open()]
    return [{k: v for k, v in r.items() if not k.startswith(TIMINGS)} for r in parsed]


def files(folder: Path) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log folder of a run in one go."""
    log_dir = tmp_path_factory.mktemp("finished")
    assert train(*overrides(log_dir, ITERATIONS)) == 0
    return log_dir


def test_a_killed_and_resumed_run_equals_one_that_was_not(finished: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "train_phase1.py"), "--config", RECIPE]
    process = subprocess.Popen(
        [*command, *overrides(tmp_path, ITERATIONS)], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    metrics, deadline = tmp_path / "run" / "metrics.jsonl", time.monotonic() + 120
    while not metrics.is_file() or len(metrics.read_text().splitlines()) <= SAVED_EVERY:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "run" / "checkpoints" / "phase1_final.pth").exists()

    assert train("--resume", "latest", *overrides(tmp_path, ITERATIONS)) == 0
    assert rows(tmp_path) == rows(finished)
    final = [
        torch.load(d / "run" / "checkpoints" / "phase1_final.pth", weights_only=True)
        for d in (tmp_path, finished)
    ]
    for part in ("policy", "average"):
        for name, value in final[0][part].items():
            assert torch.equal(value, final[1][part][name]), name
    reports = [(d / "run" / "curriculum.json").read_text() for d in (tmp_path, finished)]
    assert reports[0] == reports[1]
    assert sum(sum(row[2:]) for row in json.loads(reports[0])["robots"]) > 0, "nobody was promoted"


def test_a_run_leaves_what_the_documentation_promises(finished: Path) -> None:
    run = finished / "run"
    names = {p.name for p in (run / "checkpoints").iterdir()}
    steps = ITERATIONS * NUM_ENVS * LENGTH
    assert {"phase1_latest.pth", "phase1_best.pth", "phase1_final.pth"} <= names
    assert f"phase1_step_{steps}.pth" in names
    summary = json.loads((run / "summary.json").read_text())
    assert summary["env_steps"] == steps and summary["final"]["Train/mean_episode_length"] > 0
    assert "Eval/success_rate" in summary["final"] and "+00:00" in summary["finished"]
    assert (finished / "checkpoints").resolve() == (run / "checkpoints").resolve()
    assert list(run.glob("events.out.tfevents.*"))
    assert (run / "plots" / "curriculum.png").stat().st_size > 5000
    last = rows(finished)[-1]
    wanted = (
        "Train/mean_reward Train/mean_episode_length Loss/value Loss/surrogate Loss/entropy "
        "Loss/learning_rate Policy/mean_std Policy/approx_kl Policy/clip_fraction "
        "Policy/explained_variance Track/lin_vel_error Track/yaw_rate_error "
        "Sim/nonfinite_resets Episode/rew_tracking_lin_vel"
    )
    assert set(wanted.split()) <= set(last)


def test_evaluations_judge_the_average_of_the_last_weights(tmp_path: Path) -> None:
    step = f"training.checkpoint_freq={NUM_ENVS * LENGTH}"
    assert train(*overrides(tmp_path, 4, step, "training.average_decay=0.75")) == 0
    folder = tmp_path / "run" / "checkpoints"
    saved = [
        torch.load(folder / f"phase1_step_{i * NUM_ENVS * LENGTH}.pth", weights_only=True)
        for i in (1, 2, 3, 4)
    ]
    weights = [each["policy"]["value.weight"] for each in saved]
    expected = weights[0]
    for later in weights[1:]:
        expected = 0.75 * expected + 0.25 * later
    best = read_policy(folder / "phase1_best.pth")[0]
    torch.testing.assert_close(best.value.weight, expected)
    assert not torch.equal(best.value.weight, weights[-1])
    # The normaliser is the last one: its statistics are averages themselves.
    assert torch.equal(best.normalizer.mean, saved[-1]["policy"]["normalizer.mean"])  # type: ignore[union-attr]


def test_schedules_follow_the_progress_of_the_run(tmp_path: Path) -> None:
    linear = ("ppo.schedule=linear", "ppo.final_lr_fraction=0.0")
    assert train(*overrides(tmp_path, 4, *linear)) == 0
    rates = [row["Loss/learning_rate"] for row in rows(tmp_path)]
    assert rates == pytest.approx([rates[0] * share for share in (1.0, 0.75, 0.5, 0.25)])


def test_old_step_checkpoints_are_deleted(tmp_path: Path) -> None:
    more = (f"training.checkpoint_freq={NUM_ENVS * LENGTH}", "training.keep_checkpoints=2")
    assert train(*overrides(tmp_path, 5, *more)) == 0
    steps = sorted(p.name for p in (tmp_path / "run" / "checkpoints").glob("phase1_step_*"))
    assert steps == [f"phase1_step_{i * NUM_ENVS * LENGTH}.pth" for i in (4, 5)]


def test_a_run_that_goes_on_from_an_earlier_checkpoint_keeps_what_it_writes(tmp_path: Path) -> None:
    more = (f"training.checkpoint_freq={NUM_ENVS * LENGTH}", "training.keep_checkpoints=3")
    assert train(*overrides(tmp_path, 4, *more)) == 0
    folder = tmp_path / "run" / "checkpoints"
    early = folder / f"phase1_step_{2 * NUM_ENVS * LENGTH}.pth"
    again = [f"training.total_timesteps={3 * NUM_ENVS * LENGTH}", "training.keep_checkpoints=1"]
    assert train("--resume", str(early), *overrides(tmp_path, 4, *more), *again) == 0
    steps = [p.name for p in folder.glob("phase1_step_*")]
    assert steps == [f"phase1_step_{3 * NUM_ENVS * LENGTH}.pth"]


def test_a_moved_checkpoint_gets_a_best_of_its_own(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_report, "record", lambda *_, **__: "0 s")  # the slow part
    moved = tmp_path / "elsewhere.pth"
    saved = load_checkpoint(finished / "run" / "checkpoints" / "phase1_latest.pth")
    saved["counters"]["best_score"] = 100.0  # nothing will beat it
    save_checkpoint(moved, {k: v for k, v in saved.items() if k not in ("format", "versions")})
    more = ["training.run_name=a/b", "training.report=true", "training.report_episodes=2"]
    assert train("--resume", str(moved), *overrides(tmp_path, ITERATIONS + 1), *more) == 0
    assert (tmp_path / "a_b" / "checkpoints" / "phase1_best.pth").is_file()
    assert (tmp_path / "checkpoints").resolve() == (tmp_path / "a_b" / "checkpoints").resolve()


def test_resume_of_a_finished_run_says_so(finished: Path, capsys: pytest.CaptureFixture) -> None:
    before = files(finished)
    assert train("--resume", "latest", *overrides(finished, ITERATIONS)) == 0
    assert "complete" in capsys.readouterr().out
    assert files(finished) == before


def test_a_resume_without_a_recipe_goes_on_under_the_runs_own(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    shutil.copytree(finished / "run", tmp_path / "run")
    step = SAVED_EVERY * NUM_ENVS * LENGTH
    (tmp_path / "run" / "checkpoints" / f"phase1_step_{2 * step}.pth").unlink()
    checkpoint = tmp_path / "run" / "checkpoints" / f"phase1_step_{step}.pth"
    assert main(["--resume", str(checkpoint)]) == 0
    assert rows(tmp_path) == rows(finished) and "until now" not in capsys.readouterr().out
    assert not list((tmp_path / "run").glob("config_until_*"))
    # What changes is told and written down.
    assert main(["--resume", str(checkpoint), "ppo.gamma=0.5"]) == 0
    assert "ppo.gamma: 0.99 until now, 0.5 from here on" in capsys.readouterr().out
    assert rows(tmp_path)[:SAVED_EVERY] == rows(finished)[:SAVED_EVERY]
    assert rows(tmp_path)[SAVED_EVERY:] != rows(finished)[SAVED_EVERY:]
    configs = [tmp_path / "run" / name for name in (f"config_until_{step}.yaml", "config.yaml")]
    assert [load_config(path).ppo.gamma for path in configs] == [0.99, 0.5]
    assert main([]) == 2 and "--config" in capsys.readouterr().err


def test_a_new_run_can_start_from_another_ones_policy(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    best = finished / "run" / "checkpoints" / "phase1_best.pth"
    still = ["ppo.learning_rate=1e-12", "ppo.schedule=constant", "training.average_decay=0"]
    # Another robot, on other ground and in another number.
    others = ["terrain=flat", "terrain.curriculum.rule=none", "robot.kp=25", "training.num_envs=12"]
    run = overrides(tmp_path, 1, *still, *others)
    assert train("--init-from", str(best), *run) == 0
    first, started = (
        read_policy(path)[0].state_dict()
        for path in (best, tmp_path / "run" / "checkpoints" / "phase1_final.pth")
    )
    weights = [name for name in first if "normalizer" not in name and "statistics" not in name]
    for name in weights:
        torch.testing.assert_close(started[name].float(), first[name].float(), atol=1e-6, rtol=1e-3)
    wider = overrides(tmp_path / "wider", 1, "policy.gru_hidden=18")
    assert train("--init-from", str(best), *wider) == 2
    assert "--init-from" in capsys.readouterr().err and not (tmp_path / "wider").exists()
    assert train("--init-from", str(best), "--resume", "latest", *run) == 2


def test_the_first_interrupt_saves_and_exits_130(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "train_phase1.py"), "--config", RECIPE]
    process = subprocess.Popen(
        [*command, *overrides(tmp_path, 10_000)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    metrics, deadline = tmp_path / "run" / "metrics.jsonl", time.monotonic() + 120
    while not metrics.is_file() or len(metrics.read_text().splitlines()) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in output
    saved = torch.load(tmp_path / "run" / "checkpoints" / "phase1_latest.pth", weights_only=True)
    assert saved["counters"]["iteration"] == len(rows(tmp_path))


class Malicious:
    """Unpickling this would run code."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


def test_bad_checkpoints_are_refused_and_change_nothing(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    good = finished / "run" / "checkpoints" / "phase1_final.pth"
    marker = tmp_path / "code_ran"
    truncated, foreign = tmp_path / "truncated.pth", tmp_path / "foreign.pth"
    malicious, legacy = tmp_path / "malicious.pth", tmp_path / "legacy.pth"
    older = tmp_path / "older.pth"
    torch.save(torch.load(good) | {"format": "legged_ppo checkpoint 1"}, older)
    truncated.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    torch.save({"model": torch.zeros(3)}, foreign)
    torch.save({"format": Malicious(marker)}, malicious)
    legacy.write_bytes(pickle.dumps(Malicious(marker)))
    before = files(finished)
    for path in (tmp_path / "missing.pth", truncated, foreign, malicious, legacy, older):
        arguments = overrides(finished, 40)
        assert train("--resume", str(path), *arguments) == 2, path
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and path.name in error
    assert not marker.exists()
    assert files(finished) == before


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("policy.gru_hidden=32", "policy.gru_hidden"),
        ("robot=a1", "robot."),
        ("training.num_envs=12", "training.num_envs"),
        ("task.rewards.base_height=-1", "task.rewards"),
        ("task.observations.scandots.latency_s=[0.02,0.04]", "scandots.latency_s"),
        ("task.stuck_after_s=2", "task.stuck_after_s"),
        ("task.observations.depth.enabled=true", "observations.depth.enabled"),
        ("task.randomization.latency_s=[0,0.02]", "randomization.latency_s"),
    ],
)
def test_a_checkpoint_of_another_kind_is_refused(
    finished: Path, capsys: pytest.CaptureFixture, override: str, key: str
) -> None:
    before = files(finished)
    assert train("--resume", "latest", *overrides(finished, 40), override) == 2
    assert key in capsys.readouterr().err
    assert files(finished) == before


def test_a_device_that_does_not_exist_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for device in ("cuda:99", "tpu"):
        assert train("--device", device, *overrides(tmp_path, 1)) == 2
        assert device in capsys.readouterr().err
    assert not files(tmp_path)


def test_an_mjcf_that_does_not_load_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    mjcf = tmp_path / "robot.xml"
    mjcf.write_text("<mujoco><worldbody><body></worldbody></mujoco>")
    assert train(*overrides(tmp_path / "logs", 1), f"robot.mjcf={mjcf}") == 2
    error = capsys.readouterr().err
    assert "robot.mjcf" in error and error.count("\n") == 1
    assert not (tmp_path / "logs").exists()


def test_a_log_folder_that_cannot_be_written_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    assert train(*overrides(file / "logs", 1)) == 2
    assert "training.log_dir" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_ends_the_run_with_the_last_checkpoint_intact(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from legged_ppo.runs import checkpoint

    target = tmp_path / "phase1_latest.pth"
    target.write_bytes((finished / "run" / "checkpoints" / "phase1_final.pth").read_bytes())
    before = target.read_bytes()
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    temporary.symlink_to("/dev/full")
    with pytest.raises(OSError, match="cannot write"):
        checkpoint.save_checkpoint(target, {"x": torch.zeros(100_000)})
    assert target.read_bytes() == before
    assert not temporary.is_symlink()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("Failed to allocate 123456 bytes on device 'cuda:0'"),
    ],
    ids=["torch", "cublas", "warp"],
)
def test_out_of_memory_ends_the_run_with_its_sizes_and_the_last_checkpoint_intact(
    error: Exception,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    folder = tmp_path / "run" / "checkpoints"
    before: dict[Path, bytes] = {}
    update = PPO.update

    def update_or_fail(*args: Any) -> Any:
        before.update({path: path.read_bytes() for path in folder.glob("*.pth")})
        if before:
            raise error
        return update(*args)

    monkeypatch.setattr(PPO, "update", update_or_fail)
    step = f"training.checkpoint_freq={NUM_ENVS * LENGTH}"
    assert train(*overrides(tmp_path, 4, step)) == 1
    first, sizes, advice = capsys.readouterr().err.splitlines()
    assert first == f"error: out of memory: {str(error).splitlines()[0]}"
    assert f"training.num_envs={NUM_ENVS} ppo.rollout_length={LENGTH}" in sizes
    assert advice.startswith("lower training.num_envs") and "sim.contacts" in advice
    assert folder / "phase1_latest.pth" in before
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_out_of_memory_tells_what_the_physics_planned() -> None:
    model = mujoco.MjModel.from_xml_string(
        "<mujoco><worldbody><body><freejoint/><geom size='1'/></body></worldbody></mujoco>"
    )
    simulator = SimpleNamespace(capacity=Capacity(8, 58, 4), model=model)
    env = SimpleNamespace(simulator=simulator, num_envs=300_000)
    line = sizes(load_config(RECIPE, []), cast(Any, env))
    assert "sim.contacts=8 sim.constraints=58 sim.convex_pairs=4" in line
    planned = re.search(r"300000 robots, planned at ([0-9.]+) GB", line)
    assert planned is not None and float(planned[1]) > 0.1
