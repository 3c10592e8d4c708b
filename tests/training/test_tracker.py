"""Runs in wandb, offline, and in trackio; and trackers that fail, hang or are not reached.

Nothing is replaced: wandb's own process writes the files that its own reader reads. What needs an account
(runs online, `wandb sync`, downloads) is not tested.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import wandb
from PIL import Image

from legged_ppo.config.loading import load_config
from legged_ppo.config.schema import Config
from legged_ppo.errors import ConfigError, UsageError
from legged_ppo.runs.checkpoint import load_checkpoint
from legged_ppo.runs.run_directory import TO_RESUME, RunDirectory, find_checkpoint
from legged_ppo.training import tracker
from legged_ppo.training.logger import MetricLogger
from legged_ppo.training.run import train
from legged_ppo.training.tracker import Tracker, check_tracker

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    "training.num_envs=2",
    "ppo.rollout_length=32",
    "ppo.num_epochs=1",
    "training.checkpoint_freq=64",
    "training.evaluation_episodes=1",
    "training.report=false",
    "training.total_timesteps=128",
    "training.run_name=tiny",
]


def recipe(log_dir: Path, *overrides: str) -> Config:
    """CartPole in 4 iterations of 64 steps."""
    path = ROOT / "configs" / "gym" / "cartpole_ppo.yaml"
    return load_config(path, [*TINY, f"training.log_dir={log_dir}", *overrides])


def offline() -> Config:
    config = Config()
    config.training.wandb = "offline"
    return config


def records(root: Path) -> list[list[dict[str, Any]]]:
    """What wandb wrote, by its own reader: the records of each offline session of a run, oldest first."""
    found = []
    for file in sorted(root.glob("wandb/offline-run-*/*.wandb")):
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", file]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found.append([json.loads(line) for line in text.splitlines()])
    return found


def service() -> int:
    """The process id of wandb's service, a child of this process."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        name, _, rest = stat.read_text().rpartition(")")
        state, parent = rest.split()[:2]
        if name.endswith("(wandb-core") and state != "Z" and int(parent) == os.getpid():
            return int(stat.parent.name)
    raise AssertionError("wandb's service does not run")


def started(root: Path, config: Config) -> Tracker:
    """A tracker whose run has begun."""
    found = Tracker(root, config)
    assert found._calls is not None and found._calls.wait(60)
    return found


def test_a_run_and_its_resume_are_one_run_of_wandb_with_everything(tmp_path: Path) -> None:
    config = recipe(tmp_path, "training.wandb=offline", "training.tracker_checkpoints=all")
    root = train(config, device="cpu")
    config.training.total_timesteps = 256
    train(config, device="cpu", resume="latest")
    first, second = records(root)
    runs = [next(r["run"] for r in each if r["type"] == "run") for each in (first, second)]
    assert runs[0]["run_id"] == runs[1]["run_id"] and runs[0]["run_id"].startswith("tiny-")
    assert all(run["resume"] for run in runs), "wandb sync appends the second"
    configs = [r["config"]["update"] for r in first if r["type"] == "config"]
    assert configs[-1]["gym"]["id"] == "CartPole-v1"
    steps = [
        [r["history"]["step"]["num"] for r in each if r["type"] == "history"]
        for each in (first, second)
    ]
    assert steps == [[64, 128], [192, 256]]
    last = [r["history"]["item"] for r in second if r["type"] == "history"][-1]
    row = json.loads((root / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["Eval/mean_return"] == row["Eval/mean_return"]
    kept = [r["artifact"] for r in first if r["type"] == "artifact"]
    names = {each["name"].removeprefix(runs[0]["run_id"]) for each in kept}
    assert names == {"-best", "-latest"}
    assert {alias for each in kept for alias in each["aliases"]} >= {"step-64", "step-128"}


def test_pictures_and_the_report_reach_wandb(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "plot.png")
    tracker_ = started(tmp_path, offline())
    out = MetricLogger(tmp_path, offline(), 0, tracker_)
    out.write_image("Curriculum/solve_rate", tmp_path / "plot.png", 96)
    out.close()
    plots = {"Plots/curves": tmp_path / "plot.png"}
    tracker_.log_report(["episodes", "return"], [["4", "91.5"]], plots, tmp_path / "none.mp4", 192)
    tracker_.finish()
    assert wandb.run is None
    (media,) = tmp_path.glob("wandb/offline-run-*/files/media")
    names = [path.name.split("_")[0] for path in media.rglob("*") if path.is_file()]
    assert sorted(names) == ["Evaluation", "curves", "solve"]
    (table,) = media.rglob("Evaluation*")
    assert json.loads(table.read_text())["data"] == [["4", "91.5"]]


def test_a_run_that_the_caller_has_opened_is_used_and_stays_open(tmp_path: Path) -> None:
    own = wandb.init(mode="offline", dir=str(tmp_path), project="mine", settings={"silent": True})
    found = started(tmp_path, offline())
    found.log({"Loss/value": 0.5}, 96)
    found.finish()
    assert wandb.run is own
    own.finish()
    (session,) = records(tmp_path)
    assert any("Loss/value" in r["history"]["item"] for r in session if r["type"] == "history")


def test_auto_leaves_wandb_off_without_an_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for config in (Config(), offline()):
        config.training.tracker = "wandb" if config.training.wandb == "auto" else "none"
        Tracker(tmp_path, config).finish()
    assert not (tmp_path / "wandb").exists()


def test_an_account_without_a_network_records_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens
    monkeypatch.setattr(tracker, "_INIT_TIMEOUT_S", 2)
    wandb.teardown()
    with caplog.at_level(logging.INFO, "legged_ppo"):
        found = started(tmp_path, Config())
        found.log({"Loss/value": 0.5}, 96)
        found.finish()
    wandb.teardown()
    assert "wandb is offline from here on" in caplog.text
    assert f"wandb sync {tmp_path / 'wandb'}" in caplog.text
    assert any(r["type"] == "history" for r in records(tmp_path)[-1])


@pytest.mark.parametrize("wound", [signal.SIGKILL, signal.SIGSTOP], ids=["dies", "hangs"])
def test_a_service_that_dies_or_hangs_does_not_end_the_run(
    wound: signal.Signals,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(tracker, "PATIENCE_S", 1.0)
    config = offline()
    found = started(tmp_path, config)
    out = MetricLogger(tmp_path, config, 0, found)
    os.kill(service(), wound)
    for i in range(1, 200):
        out.write({"iteration": i, "env_steps": 96 * i, "Loss/value": 0.5}, 96 * i)
    out.close()
    found.finish()
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 199
    assert "the training continues" in caplog.text or "does not answer" in caplog.text


def test_the_process_ends_when_the_service_hangs(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from test_tracker import offline, service, started
from legged_ppo.training import tracker
tracker.PATIENCE_S = 1.0
found = started(Path(sys.argv[1]), offline())
os.kill(service(), signal.SIGSTOP)
found.log({"Loss/value": 0.5}, 96)
found.finish()
print("trained")
"""
    search = os.pathsep.join([str(Path(__file__).parent), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": search}
    environment.pop("WANDB_SERVICE", None)  # a service of this process
    command = [sys.executable, "-c", code, str(tmp_path)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0 and "trained" in result.stdout
    assert "Traceback" not in result.stderr


def test_the_code_of_the_killed_service_is_not_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """wandb's teardown exits with it where the service had taken its last message before it was stopped."""
    wandb.teardown()  # of the tests before, so that nothing is killed here
    asked = []

    def teardown() -> None:
        asked.append("teardown")
        sys.exit(-signal.SIGKILL)

    monkeypatch.setattr(wandb, "teardown", teardown)
    tracker._end_wandb_service(wandb)
    assert asked == ["teardown"]


def test_trackio_has_the_same_and_its_policy_plays(
    tmp_path: Path, run_python: Callable[..., str]
) -> None:
    pytest.importorskip("trackio")
    run_python(TRACKIO_RUN, tmp_path)
    root = tmp_path / "tiny"
    run_id = (root / "wandb_id.txt").read_text()
    database = sqlite3.connect(tmp_path / "trackio" / "legged_ppo.db")
    rows = database.execute("SELECT run_name, step, metrics FROM metrics ORDER BY id").fetchall()
    assert {name for name, _, _ in rows} == {run_id}, "one run, resumed"
    assert [step for _, step, _ in rows] == [64, 128, 192, 256]
    assert "Eval/mean_return" in json.loads(rows[-1][2])


TRACKIO_RUN = """
import sys
from pathlib import Path
from test_tracker import recipe
from legged_ppo.evaluation.trained_policy import load_policy
from legged_ppo.runs.run_directory import TO_RESUME, find_checkpoint
from legged_ppo.training.run import train
logs = Path(sys.argv[1])
config = recipe(logs, "training.tracker=trackio", "training.tracker_checkpoints=all")
root = train(config, device="cpu")
config.training.total_timesteps = 256
train(config, device="cpu", resume="latest")
name = f"trackio:legged_ppo/{(root / 'wandb_id.txt').read_text()}"
policy = load_policy(name, log_dir=str(logs))
assert policy.path.name == "phase1_best.pth" and policy.env_steps in (64, 128, 192, 256)
assert find_checkpoint(name, str(logs), "--resume", TO_RESUME).name == "phase1_latest.pth"

"""


@pytest.fixture
def run_python() -> Callable[..., str]:
    """Runs code in a process of its own, whose trackio has its files in the given folder; returns the output."""

    def run(code: str, folder: Path) -> str:
        search = os.pathsep.join([str(Path(__file__).parent), str(ROOT)])
        places = {"PYTHONPATH": search, "TRACKIO_DIR": str(folder / "trackio")}
        command = [sys.executable, "-c", code, str(folder)]
        result = subprocess.run(
            command, env=os.environ | places, capture_output=True, text=True, timeout=300
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    return run


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wandb:project/run", "expected wandb:entity/project/run"),
        ("wandb:a/b/../c", "expected wandb:entity/project/run"),
        ("trackio:run", "expected trackio:project/run"),
        ("wandb:nobody/none/run", "a run of wandb with the artifact run-latest"),
    ],
)
def test_a_run_that_a_tracker_does_not_give_is_one_line(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(ConfigError) as caught:
        find_checkpoint(name, str(tmp_path), "--resume", TO_RESUME)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_tracker_that_is_not_installed_is_refused_before_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = Config()
    config.training.tracker = "trackio"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs trackio; install it: pip install"):
        check_tracker(config)


def test_a_best_checkpoint_is_kept_alone_and_once(tmp_path: Path) -> None:
    root = train(recipe(tmp_path, "training.wandb=disabled"), device="cpu")
    found = started(root, offline())
    run = RunDirectory(root)
    for step in (64, 128):
        found.log_checkpoints(run, step)
    found.finish()
    (session,) = records(root)
    (kept,) = [r["artifact"] for r in session if r["type"] == "artifact"]
    assert kept["aliases"] == ["step-64", "latest"] or "step-64" in kept["aliases"]
    assert "ppo" in load_checkpoint(run.best)
