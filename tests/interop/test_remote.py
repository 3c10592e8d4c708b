"""Environments in other interpreters: real processes, their failures, and a training end to end."""

from __future__ import annotations

import functools
import gc
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from legged_ppo import evaluate, load_config, load_policy, train
from legged_ppo.errors import WorkerError
from legged_ppo.interop.remote import worker
from legged_ppo.interop.remote.client import RemoteVecEnv
from legged_ppo.interop.vec_env import FromRslRl

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
CART_POLES = f"{EXAMPLES / 'cart_poles.py'}:CartPoles"
RECIPE = EXAMPLES / "remote_cart_poles.yaml"
SIZE = {"num_envs": 16, "seed": 3}
QUICK = ["training.report=false", "training.evaluation_freq=10_000_000", "training.run_name=run"]


@functools.cache
def interpreters() -> dict[str, tuple[str, bool]]:
    """Path of each other Python from 3.7 on, by version, and whether it has numpy: pyenv's, and those that
    WORKER_PYTHONS names."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    named = filter(None, os.environ.get("WORKER_PYTHONS", "").split(os.pathsep))
    found = {}
    probe = (
        "import sys, importlib.util as u; "
        "print(*sys.version_info[:2], u.find_spec('numpy') is not None)"
    )
    for path in [*map(str, root.glob("versions/*/bin/python3")), *named]:
        result = subprocess.run([path, "-c", probe], capture_output=True, text=True)
        words = result.stdout.split()
        if result.returncode == 0 and (int(words[0]), int(words[1])) >= (3, 7):
            found[f"{words[0]}.{words[1]}"] = (path, words[2] == "True")
    found.pop("{}.{}".format(*sys.version_info), None)
    return found


def in_process(**arguments: Any) -> Any:
    spec = importlib.util.spec_from_file_location("cart_poles_here", EXAMPLES / "cart_poles.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CartPoles(**arguments)


Outcome = list[torch.Tensor]


def trajectory(vec_env: Any, steps: int = 250) -> tuple[list[Outcome], dict[str, torch.Tensor]]:
    """Everything that a trainer receives under fixed actions, and the metrics."""
    torch.manual_seed(5)
    env = FromRslRl(vec_env)
    seen = [[env.reset()["policy"]]]
    for _ in range(steps):
        result = env.step(torch.randn(env.num_envs, env.num_actions))
        parts = [result.reward, result.terminated, result.truncated, result.info["episode"]]
        seen.append([result.obs["policy"], *parts])
    metrics = env.metrics()
    env.close()
    return seen, metrics


def test_another_process_gives_the_trainer_the_same_numbers_bit_for_bit() -> None:
    here, logged = trajectory(in_process(**SIZE))
    there, reported = trajectory(RemoteVecEnv(CART_POLES, SIZE))
    for mine, other in zip(here, there, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine, other, strict=True))
    assert {k: float(v) for k, v in logged.items()} == pytest.approx(
        {k: float(v) for k, v in reported.items()}
    )
    assert list(reported) == ["Episode/rew_upright"]
    terminated = sum(int(outcome[2].sum()) for outcome in there[1:])
    truncated = sum(int(outcome[3].sum()) for outcome in there[1:])
    assert terminated > 20 and truncated > 0


def test_another_version_of_python_gives_the_same_episodes() -> None:
    others = {version: path for version, (path, numpy) in interpreters().items() if numpy}
    if not others:
        pytest.skip("no other Python with numpy; WORKER_PYTHONS may name some")
    here, _ = trajectory(in_process(**SIZE))
    for version, path in others.items():
        vec_env = RemoteVecEnv(CART_POLES, SIZE, path)
        assert vec_env.python.startswith(f"{version}.")
        there, _ = trajectory(vec_env)
        for mine, other in zip(here, there, strict=True):
            for a, b in zip(mine, other, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def test_another_version_of_python_without_numpy_says_so() -> None:
    others = {version: path for version, (path, numpy) in interpreters().items() if not numpy}
    if not others:
        pytest.skip("no other Python without numpy")
    for path in others.values():
        with pytest.raises(WorkerError, match="raised ImportError: this interpreter has no numpy"):
            RemoteVecEnv(CART_POLES, SIZE, path)


GROUPS = """
import torch

class Groups:
    '''Mappings of groups, as rsl_rl's of version 3 and later; float64 and non-contiguous on purpose.'''
    num_envs, num_actions, device, max_episode_length = 3, 2, "cpu", 7

    def __init__(self, offset=0.0):
        self.total = torch.full((2, 3), offset, dtype=torch.float64)

    def get_observations(self):
        return {"policy": self.total.T, "critic": 10.0 * self.total[:1].T, "unused": self.total.T}

    def step(self, actions):
        assert torch.is_tensor(actions) and actions.shape == (3, 2) and not torch.is_grad_enabled()
        self.total += actions.T
        dones = torch.tensor([1, 1, 0])
        extras = {"time_outs": torch.tensor([False, True, True]), "log": {"/x": self.total.mean(), "y": 2}}
        return self.get_observations(), self.total[0], dones, extras
"""


@pytest.mark.parametrize("remote", [False, True])
def test_groups_of_tensors_ends_and_logs_arrive(remote: bool, tmp_path: Path) -> None:
    (tmp_path / "groups.py").write_text(GROUPS)
    if remote:
        vec_env: Any = RemoteVecEnv(f"{tmp_path / 'groups.py'}:Groups", {"offset": 0.5})
    else:
        space: dict[str, Any] = {}
        exec(GROUPS, space)
        vec_env = space["Groups"](0.5)
    env = FromRslRl(vec_env, {"policy": "proprioception", "critic": "privileged"})
    assert env.obs_dims == {"proprioception": 2, "privileged": 1} and env.max_episode_steps == 7
    first = env.reset()
    actions = torch.arange(6.0).view(3, 2)
    with torch.no_grad():
        result = env.step(actions)
    assert torch.equal(result.obs["proprioception"], 0.5 + actions)
    assert torch.equal(result.obs["privileged"], 5.0 + 10.0 * actions[:, :1])
    assert torch.equal(first["proprioception"], torch.full((3, 2), 0.5)), "a copy"
    assert result.obs["privileged"].dtype == result.reward.dtype == torch.float32
    assert result.terminated.tolist() == [True, False, False]
    assert result.truncated.tolist() == [False, True, False], "a time limit of an ended episode"
    assert {k: float(v) for k, v in env.metrics().items()} == {"Env/x": 3.0, "Env/y": 2.0}
    env.close()


TROUBLE = """
import os, signal, sys, time
from cart_poles import CartPoles

class Trouble(CartPoles):
    def __init__(self, kind, **arguments):
        super().__init__(**arguments)
        self.kind, self.steps = kind, 0
        if kind == "start":
            raise ValueError("no such\\nrobot")

    def step(self, actions):
        self.steps += 1
        if self.steps == 3:  # reset makes one
            print("PhysX: bad things", file=sys.stderr, flush=True)
            {"step": lambda: {}["hip"], "exit": lambda: sys.exit("closed"), "code": lambda: os._exit(3),
             "kill": lambda: os.kill(os.getpid(), signal.SIGKILL), "hang": lambda: time.sleep(600),
             "children": lambda: os.system("sleep 600 & echo $! > child; sleep 600"),
             "none": lambda: None}[self.kind]()
        return super().step(actions)
"""
Trouble = Callable[..., RemoteVecEnv]


@pytest.fixture
def trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trouble:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trouble.py").write_text(TROUBLE)

    def make(kind: str, **options: Any) -> RemoteVecEnv:
        variables = {"PYTHONPATH": str(EXAMPLES)}
        arguments = {"kind": kind, **SIZE}
        return RemoteVecEnv("trouble:Trouble", arguments, variables=variables, **options)

    return make


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("step", r"raised KeyError: 'hip' \(.*trouble.py:16\)$"),
        ("exit", r"raised SystemExit: closed \(.*trouble.py:16\)$"),
        ("code", r"ended with exit code 3; it said: PhysX: bad things$"),
        ("kill", r"ended with signal SIGKILL; it said: PhysX: bad things$"),
        ("hang", r"gave no answer within 0.5 s and was killed; it said: PhysX: bad things$"),
    ],
)
def test_a_step_that_fails_is_reported_in_one_line_and_leaves_no_process(
    kind: str, told: str, trouble: Trouble
) -> None:
    env = trouble(kind, step_s=0.5 if kind == "hang" else 60.0)
    actions = torch.zeros(16, 1)
    env.step(actions)
    with pytest.raises(WorkerError, match=told) as caught:
        env.step(actions)
    assert "\n" not in str(caught.value) and sys.executable in str(caught.value)
    assert env._process.returncode is not None, "reaped"
    with pytest.raises(WorkerError, match="has ended"):
        env.step(actions)
    env.close()


def test_what_cannot_start_is_reported_in_one_line(
    trouble: Trouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WorkerError, match=r"raised ValueError: no such robot \(.*trouble.py:10\)"):
        trouble("start")
    with pytest.raises(WorkerError, match="raised ModuleNotFoundError: No module named 'isaacgym'"):
        RemoteVecEnv("isaacgym:make", SIZE)
    with pytest.raises(WorkerError, match="has no attribute 'Cart'"):
        RemoteVecEnv(f"{EXAMPLES / 'cart_poles.py'}:Cart", SIZE)
    with pytest.raises(WorkerError, match="cannot be started: No such file"):
        RemoteVecEnv(CART_POLES, SIZE, tmp_path / "python3.8")
    with pytest.raises(WorkerError, match="ended with exit code 7; it said: no licence"):
        RemoteVecEnv(CART_POLES, SIZE, ["/bin/sh", "-c", "echo no licence; exit 7"])
    with pytest.raises(WorkerError, match=r"gave no answer within 0\.2 s"):
        RemoteVecEnv(CART_POLES, SIZE, ["/bin/sh", "-c", "sleep 60"], start_s=0.2)
    monkeypatch.setattr(worker, "PROTOCOL", 2)
    with pytest.raises(WorkerError, match="speaks protocol 1, not 2"):
        RemoteVecEnv(CART_POLES, SIZE)


def test_the_output_of_the_worker_can_be_kept(trouble: Trouble, tmp_path: Path) -> None:
    env = trouble("none", log=tmp_path / "isaac.log")
    for _ in range(2):
        env.step(torch.zeros(16, 1))
    env.close()
    assert (tmp_path / "isaac.log").read_text() == "PhysX: bad things\n"


def gone(pid: int, limit_s: float = 10.0) -> bool:
    """Whether the process ends in time; a zombie has ended."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_closing_leaves_no_process_and_no_descriptor() -> None:
    gc.collect()
    before = sorted(Path("/proc/self/fd").iterdir())
    for close in (True, False):
        env = RemoteVecEnv(CART_POLES, SIZE)
        env.step(torch.zeros(16, 1))
        process = env._process
        shared = Path(f"/proc/{process.pid}/maps").read_text()
        assert "memfd:legged_ppo (deleted)" in shared, "a file without a name"
        if close:
            env.close()
        del env
        gc.collect()
        assert process.returncode is not None
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_what_the_worker_started_ends_with_it(trouble: Trouble, tmp_path: Path) -> None:
    env = trouble("children", step_s=2.0)
    env.step(torch.zeros(16, 1))
    with pytest.raises(WorkerError, match="gave no answer"):
        env.step(torch.zeros(16, 1))
    assert gone(int((tmp_path / "child").read_text()))


@pytest.mark.parametrize("during", ["a step", "a pause"])
def test_a_worker_ends_with_its_trainer(trouble: Trouble, tmp_path: Path, during: str) -> None:
    script = f"""
import torch, time
from legged_ppo.interop.remote.client import RemoteVecEnv
env = RemoteVecEnv("trouble:Trouble", {dict(kind="hang", **SIZE)},
    variables={{"PYTHONPATH": {str(EXAMPLES)!r}}})
print(env._process.pid, flush=True)
for _ in range(2):
    {"env.step(torch.zeros(16, 1))" if during == "a step" else "time.sleep(60)"}
"""
    trainer = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    pid = int(trainer.stdout.readline())
    time.sleep(0.5)
    assert Path(f"/proc/{pid}").exists()
    trainer.kill()
    trainer.wait()
    trainer.stdout.close()
    assert gone(pid)


def test_a_recipe_learns_in_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over five seeds the first episodes lasted 17 to 20 steps, and those of the evaluation 165 to 200."""
    monkeypatch.chdir(tmp_path)
    run = train(load_config(str(RECIPE), ["training.report=false"]), device="cpu")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    assert rows[0]["Train/mean_episode_length"] < 40
    policy = load_policy(run, ["extensions=[remote_cart_poles]"])
    assert evaluate(policy, episodes=32)["overall"]["mean_length"] > 120


def workers_of(pid: int) -> list[int]:
    """Processes of `worker.py` that the process has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [
        int(each) for each in children if "worker.py" in Path(f"/proc/{each}/cmdline").read_text()
    ]


def test_a_killed_worker_ends_the_command_in_one_line_and_the_run_is_resumed(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-m", "legged_ppo.cli.main", "train", "--device", "cpu"]
    variables = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{EXAMPLES}"}
    long = [*QUICK, "training.checkpoint_freq=4096", "training.total_timesteps=20_000_000"]
    training = subprocess.Popen(
        [*command, "--config", str(RECIPE), *long],
        cwd=tmp_path,
        env=variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    latest = tmp_path / "logs/run/checkpoints/phase1_latest.pth"
    end = time.monotonic() + 120
    while not latest.exists() and time.monotonic() < end:
        time.sleep(0.1)
    (pid,) = workers_of(training.pid)
    os.kill(pid, signal.SIGKILL)
    _, errors = training.communicate(timeout=60)
    (line,) = errors.splitlines()
    assert training.returncode == 1
    assert re.fullmatch(r"error: the environment's worker \(.*\) ended with signal SIGKILL", line)
    assert "SIGKILL" in (tmp_path / "logs/run/failure.txt").read_text()
    done = torch.load(latest, weights_only=False)["counters"]["env_steps"]
    more = ["--resume", "latest", "extensions=[remote_cart_poles]"]
    more += [f"training.total_timesteps={done + 4096}"]
    result = subprocess.run(
        [*command, *more], cwd=tmp_path, env=variables, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in (tmp_path / "logs/run/metrics.jsonl").open()]
    assert rows[-1]["env_steps"] >= done + 4096 and np.isfinite(rows[-1]["Loss/value"])
