"""Object code on disk: reused, rebuilt when damaged, dispensable, safe between processes."""

from __future__ import annotations

import logging
import multiprocessing
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from legged_ppo.config.schema import RobotConfig, SimConfig, TerrainConfig
from legged_ppo.robots.spec import load_robot
from legged_ppo.runtime.lanes import object_code
from legged_ppo.runtime.lanes.target import Target, host
from legged_ppo.sim.model import build_model
from legged_ppo.sim.simd import cache
from legged_ppo.sim.simd.plane import plane_contacts
from legged_ppo.sim.simd.readings import Wanted
from legged_ppo.sim.simd.robot import Robot, read_robot
from legged_ppo.terrain.grid import build_terrain

CODE = b"object code"


@pytest.fixture
def robot(robot_config: Callable[[str], RobotConfig]) -> Robot:
    spec = load_robot(robot_config("go2"))
    add_ground = partial(build_terrain(TerrainConfig()).add_to, column=0)
    return read_robot(build_model(spec, add_ground, SimConfig()), 1, [])


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Target]:
    """Targets for which code was compiled; compiling takes no time here."""
    targets: list[Target] = []

    def compile_object(text: str, target: Target) -> bytes:
        targets.append(target)
        return CODE

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cache, "emit", lambda *_: "")
    monkeypatch.setattr(object_code, "compile_object", compile_object)
    monkeypatch.setattr(cache, "Program", lambda code, target: code)
    return targets


def load(
    robot: Robot, lanes: int = 8, target: Target | None = None, max_velocity: float = 100.0
) -> Any:
    wanted = Wanted((0,), (), (), max_velocity, (0.0,) * 8)
    return cache.load_program(robot, wanted, plane_contacts, lanes, target or host())


def test_code_is_compiled_once_for_each_robot_reading_width_and_cpu(
    robot: Robot, compiled: list[Target]
) -> None:
    other = Target("another", host().features, host().triple)
    for _ in range(2):
        assert load(robot) == CODE
        load(robot, lanes=4)
        load(robot, max_velocity=50.0)
        load(robot, target=other)
    assert len(compiled) == 4


def test_a_damaged_file_is_rebuilt(robot: Robot, compiled: list[Target], tmp_path: Path) -> None:
    load(robot)
    (file,) = (tmp_path / "legged_ppo" / "simd").iterdir()
    for damaged in (file.read_bytes()[:-1], b""):
        file.write_bytes(damaged)
        assert load(robot) == CODE
    assert len(compiled) == 3
    load(robot)
    assert len(compiled) == 3


def test_without_a_writable_folder_it_compiles_every_time_and_says_so(
    robot: Robot, compiled: list[Target], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "legged_ppo").write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert load(robot) == CODE
    assert len(compiled) == 2
    assert "XDG_CACHE_HOME" in caplog.text and str(tmp_path) in caplog.text


def _load_in_child(folder: str, robot: Robot, results: multiprocessing.Queue) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", folder)
        results.put(bool(load(robot, lanes=4).control_step))


def test_two_processes_may_compile_at_once(robot: Robot, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    children = [
        context.Process(target=_load_in_child, args=(str(tmp_path), robot, results))
        for _ in range(2)
    ]
    for child in children:
        child.start()
    assert [results.get(timeout=120) for _ in children] == [True, True]
    for child in children:
        child.join()
    (file,) = (tmp_path / "legged_ppo" / "simd").iterdir()
    assert stat.S_ISREG(file.stat().st_mode)
