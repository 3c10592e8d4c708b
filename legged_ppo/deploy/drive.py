"""The real-time loop: one robot under the keys of a terminal, a gamepad or one command."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import numpy as np

from legged_ppo.deploy.gamepad import STICKS, Gamepad
from legged_ppo.deploy.keyboard import KEYS, Driver, single_keys, waiting_keys
from legged_ppo.deploy.pictures import Video, Window
from legged_ppo.deploy.walker import Walker
from legged_ppo.errors import UsageError

_STATUS_SECONDS = 0.5
"""s of simulated time between status lines"""


def drive(
    walker: Walker,
    *,
    command: np.ndarray | None = None,
    seconds: float | None = None,
    seed: int = 0,
    real_time: bool = True,
    video: Path | None = None,
    view: bool = False,
    gamepad: bool = False,
) -> None:
    """Let the robot walk on the first tile; after a fall it starts again.

    Args:
        command: [3] at the start; None stands. Keys of a terminal change it.
        seconds: None ends with the key x, the gamepad's back button or the window.
        seed: of the gait clock's start.
        gamepad: its sticks give the command instead of keys.

    Raises:
        UsageError: nothing would end the run, no gamepad is there, or a video or window is not possible here.
    """
    data, robot = walker.policy.metadata, walker.policy.metadata.robot
    ranges = [data.commands[name] for name in ("lin_vel_x", "lin_vel_y", "yaw_rate")]
    low, high = np.array(ranges, dtype=float).T
    driver = Driver(low, high)
    pad = Gamepad(low, high) if gamepad else None
    with contextlib.ExitStack() as stack:
        keys = stack.enter_context(single_keys()) if pad is None else False
        if seconds is None and not (keys or view or pad):
            raise UsageError("no terminal whose keys could end the run", "give --seconds S")
        shown: list[Video | Window] = []
        scene = walker.simulation.scene
        if video:
            shown.append(stack.enter_context(Video(video, scene, robot.base_body, walker.dt)))
        if view:
            shown.append(stack.enter_context(Window(scene, robot.base_body)))
        if keys:
            print(KEYS)
        if pad:
            print(f"{pad.name}: {STICKS}")
        start = np.zeros(3) if command is None else command
        walked = _loop(walker, start, seconds, seed, real_time, driver, keys, pad, shown)
    print(walked)
    if video:
        print(f"video: {video}")


def _loop(
    walker: Walker,
    command: np.ndarray,
    seconds: float | None,
    seed: int,
    real_time: bool,
    driver: Driver,
    keys: bool,
    pad: Gamepad | None,
    shown: list[Video | Window],
) -> str:
    """The control loop; returns a line about it."""
    random, tile = np.random.default_rng(seed), walker.simulation.tile
    walker.restart(tile, random, command)
    start = walker.simulation.walked
    step, falls, path, late = 0, 0, 0.0, 0
    due = time.perf_counter()
    while seconds is None or step * walker.dt < seconds - 1e-9:
        for key in waiting_keys() if keys else "":
            driver.press(key, walker.commands, walker.yaw)
        if pad:
            pad.steer(walker.commands)
            driver.quits = pad.quits
        before = walker.simulation.walked
        walker.act()
        step += 1
        path += float(np.linalg.norm(walker.simulation.walked - before))
        walker.commands.step(walker.yaw)
        if (keys or pad) and step % round(_STATUS_SECONDS / walker.dt) == 0:
            print(_status(walker), end="\r", flush=True)
        if not all([each.show(walker.simulation.data) for each in shown]) or driver.quits:
            break
        if walker.fell:
            falls += 1
            print(f"fell after {step * walker.dt:.1f} s; it starts again")
            walker.restart(tile, random, command)
        due += walker.dt
        if real_time:
            late += time.perf_counter() > due
            time.sleep(max(due - time.perf_counter(), 0.0))
    line = f"{step * walker.dt:.1f} s, {path:.2f} m walked, {falls} falls"
    if falls == 0:
        distance = float(np.linalg.norm(walker.simulation.walked - start))
        line += f", {distance:.2f} m from the start"
    return line + (f", {late} of {step} steps late" if late else "")


def _status(walker: Walker) -> str:
    forward, lateral, turn = walker.commands.command
    actual, rate = walker.simulation.velocity, walker.sensors.angular_velocity[2]
    return (
        f"command {forward:+.1f} {lateral:+.1f} m/s {turn:+.1f} rad/s, "
        f"robot {actual[0]:+.2f} {actual[1]:+.2f} m/s {rate:+.2f} rad/s  "
    )
