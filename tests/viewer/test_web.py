"""The web view without a browser: a client that speaks viser's protocol stands in for one."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from legged_ppo.cli import play
from legged_ppo.config.schema import Config
from legged_ppo.errors import UsageError
from legged_ppo.evaluation.trained_policy import TrainedPolicy, load_policy
from legged_ppo.runs.checkpoint import load_checkpoint, save_checkpoint
from legged_ppo.viewer import web
from legged_ppo.viewer.live import LiveRollout

viser: Any = pytest.importorskip("viser", reason="the web view's extra is not installed")

from web_client import Client, until  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
ROBOTS = 3


def drawn_bases(view: web.WebView) -> np.ndarray:
    """[N, 3] m, of the robots in the scene."""
    (base,) = (
        part for part in view.scene.robots.parts if view.scene.robots.poses.base in part.bodies
    )
    return np.array(base.handle.batched_positions)


def test_the_scene_has_the_robots_where_the_simulation_has_them_and_their_ground(
    view: web.WebView,
) -> None:
    view.run(seconds=0.1)
    view._due = 0.0  # a page that lags leaves out pictures
    view._draw(lag=0.0)
    first = drawn_bases(view)
    state, size = view.live.env.simulator.state, view.live.env.terrain.config.tile_size
    away = first - state.base_pos.numpy()
    assert first.shape == (ROBOTS, 3)
    assert (
        np.abs(away - np.round(away / size) * size).max() < 1e-5
    )  # perhaps on a neighbouring copy
    bodies = sum(len(part.bodies) for part in view.scene.robots.parts)
    assert (bodies, len(view.scene.robots.parts)) == (13, 6), "bodies of one shape share a batch"
    assert view.scene._ground.batched_positions.shape == (9, 3)
    view.run(seconds=0.2)
    assert np.abs(drawn_bases(view) - first).max() > 1e-4, "the robots move"


def test_the_page_is_served_on_this_machine_alone(view: web.WebView) -> None:
    host, port = view.address.removeprefix("http://").split(":")
    assert host == "127.0.0.1"
    (listening,) = (line for line in _listening() if line.endswith(f":{int(port):04X}"))
    assert listening.startswith("0100007F")  # 127.0.0.1


def _listening() -> list[str]:
    """Local addresses, in hexadecimal, at which something listens by TCP."""
    if not Path("/proc/net/tcp").is_file():
        pytest.skip("no /proc/net/tcp here")
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [row[1] for row in rows if row[3] == "0A"]


def test_a_slider_changes_the_command_of_every_robot(view: web.WebView, client: Client) -> None:
    command = view.live.env.commands.command
    client.set(view.panel._sliders[0], 0.4)
    client.set(view.panel._sliders[2], -0.6)
    expected = torch.tensor([0.4, 0.0, -0.6])
    until(view, lambda: torch.allclose(command, expected.expand(ROBOTS, 3)))
    assert view.panel._drawn.value is False


def test_keys_drive_in_steps_and_the_sliders_follow(view: web.WebView, client: Client) -> None:
    for label in ("forward", "forward", "turn left"):
        client.press(label)
    until(view, lambda: view.live.driver.command == (0.2, 0.0, 0.2))
    until(view, lambda: [slider.value for slider in view.panel._sliders] == [0.2, 0.0, 0.2])
    client.press("stop")
    until(view, lambda: bool((view.live.env.commands.command == 0.0).all()))


def test_drawn_commands_come_back(view: web.WebView, client: Client) -> None:
    client.press("stop")
    until(view, lambda: view.live.driver.command == (0.0, 0.0, 0.0))
    client.set(view.panel._drawn, True)
    until(view, lambda: view.live.driver.command is None)
    assert len(view.live.env.commands.command.unique(dim=0)) > 1


def test_terrain_and_level_move_the_robots_and_draw_their_ground(
    view: web.WebView, client: Client
) -> None:
    view.run(seconds=0.1)
    before = view.scene._ground
    client.set(view.panel._level, 0)
    client.set(view.panel._terrain, "flat")
    until(view, lambda: view.live.place_name == ("flat", 0))
    view.run(seconds=0.1)
    assert view.scene._ground is not before
    assert "flat" in view.panel.status.content or view.panel.status.content == ""


def test_pause_holds_the_robots_still_and_reset_begins_anew(
    view: web.WebView, client: Client
) -> None:
    until(view, lambda: int(view.live.env.episode_length.min()) > 5)
    client.press("reset")
    until(view, lambda: int(view.live.env.episode_length.max()) <= 5)  # steps of a turn
    client.set(view.panel._pause, True)
    end = time.monotonic() + 30
    while not view.panel.paused and time.monotonic() < end:
        view.panel.apply()
    length = view.live.env.episode_length.clone()
    _spin(view, 10)
    assert torch.equal(view.live.env.episode_length, length)


def _spin(view: web.WebView, times: int) -> None:
    """Turns of the loop while it is paused, which would not end."""

    class Enough(Exception):  # noqa: N818
        pass

    turns = iter(range(times))
    apply = view.panel.apply

    def counted() -> None:
        if next(turns, None) is None:
            raise Enough
        apply()

    view.panel.apply = counted  # type: ignore[method-assign]
    with pytest.raises(Enough):
        view.run()


def test_a_newer_checkpoint_takes_over_while_the_robots_walk(
    view: web.WebView, checkpoint: Path
) -> None:
    view.run(seconds=0.1)
    assert view.watch.automatic, "phase1_latest.pth is what a training goes on writing"
    newer = load_checkpoint(checkpoint)
    newer["policy"] = {
        name: value + 0.01 if value.is_floating_point() else value
        for name, value in newer["policy"].items()
    }
    newer["counters"]["env_steps"] = 123_456
    lengths = view.live.env.episode_length.clone()
    save_checkpoint(checkpoint, _payload(newer))

    def taken() -> bool:
        weights = view.live._actor.policy.state_dict()
        return all(torch.equal(weights[name], value) for name, value in newer["policy"].items())

    until(view, taken)
    assert "123,456" in view.panel.policy.content
    assert bool((view.live.env.episode_length > lengths).all()), "no robot began anew"


def _payload(checkpoint: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in checkpoint.items() if k not in ("format", "versions", "provenance")}


def test_a_checkpoint_that_does_not_fit_is_refused_and_the_robots_walk_on(
    view: web.WebView, checkpoint: Path, config: Config, make_checkpoint: Callable[..., Path]
) -> None:
    acting = view.live._actor.policy
    checkpoint.write_bytes(b"not a checkpoint")
    until(view, lambda: "not reloaded" in view.panel.policy.content)
    config.task.observations.scandots.x = [0.1, 0.2]
    config.task.observations.scandots.y = [0.0]
    make_checkpoint(checkpoint, config)
    until(view, lambda: "size of scandots" in view.panel.policy.content)
    assert view.live._actor.policy is acting


def test_an_older_checkpoint_is_reloaded_from_the_newest_by_the_button(
    policy: TrainedPolicy, checkpoint: Path
) -> None:
    best = checkpoint.with_name("phase1_best.pth")
    save_checkpoint(best, _payload(load_checkpoint(checkpoint)))
    live = LiveRollout(policy.network, policy.config)
    reads = []

    def read(path: Path) -> TrainedPolicy:
        reads.append(path)
        return load_policy(path, conditions=policy.config)

    with web.WebView(live, load_policy(best), read, port=0) as view:
        assert not view.watch.automatic
        view.watch.reload()
        until(view, lambda: view.live._actor.policy is not policy.network)
        assert reads == [checkpoint]
        assert "phase1_latest.pth" in view.panel.policy.content.splitlines()[0]


def test_plots_hold_command_velocity_contacts_and_reward_terms(view: web.WebView) -> None:
    view.live.command((0.3, 0.0, 0.0))
    view.run(seconds=0.6)
    times, command, actual = view.panel.plots._velocities[0].data
    assert len(times) > 5 and np.all(np.diff(times) > 0)
    assert np.allclose(command, 0.3) and np.isfinite(actual).all() and actual.std() > 0
    assert len(view.panel.plots._contacts.data) == 5
    for name in view.live.env.reward_terms:
        assert name in view.panel.plots._bars.content
    env, plots = view.live.env, view.panel.plots
    before = env.statistics.totals[0].clone()
    plots._rewards[:] = 0.0
    view.live.step()
    plots.add()
    gained = (env.statistics.totals[0] - before).numpy()[plots._terms]
    assert plots._rewards == pytest.approx(gained, rel=1e-4, abs=1e-7)  # over dt, by dt


def test_the_view_follows_a_robot_across_the_edge_of_its_tile(view: web.WebView) -> None:
    view.run(seconds=0.1)
    scene, env = view.scene, view.live.env
    size = env.terrain.config.tile_size
    scene.update(0.02)
    before = np.array(scene._world.position)
    shift = torch.zeros(ROBOTS, 2)
    shift[0, 0] = size
    env.simulator.translate(shift)
    scene.update(0.0)
    moved = np.array(scene._world.position) - before
    assert np.linalg.norm(moved[:2]) == pytest.approx(size, abs=0.05), "the world jumps with it"
    bases = drawn_bases(view)[:, :2]
    assert np.abs(bases - bases[0]).max() <= size / 2 + 1e-3, "the others on the nearest copies"


def test_a_port_in_use_is_one_line_and_exit_code_2(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        options = ["--viewer", "web", "--port", str(port)]
        assert play.main(["--checkpoint", str(checkpoint), *options]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"--port: got {port}" in error and str(port + 1) in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--viewer=web", "--host=no.such.host.invalid"], "--host: got 'no.such.host.invalid'"),
        (["--viewer=web", "--host=192.0.2.1"], "--host: got '192.0.2.1'"),
        (["--viewer=native"], "--viewer web shows the robots in a browser"),
        (["--viewer=web", "--video=x.mp4"], "--viewer: got 'web', expected left out with --video"),
        (["--envs=4"], "--envs: got '4', expected left out without --viewer web"),
        (["--port=4000"], "--port: got '4000', expected left out without --viewer web"),
        (["--viewer=web", "--terrain=ruogh"], "did you mean 'rough'"),
    ],
)
def test_bad_options_of_viewers_are_one_line_and_exit_code_2(
    arguments: list[str],
    message: str,
    checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert play.main(["--checkpoint", str(checkpoint), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_without_viser_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(UsageError, match=r"pip install .*\[web\]"):
        web._start_server("127.0.0.1", 0)


def test_ctrl_c_ends_the_server_without_a_trace(checkpoint: Path) -> None:
    options = ["--viewer", "web", "--port", "0", "--envs", "2", "--terrain", "rough"]
    server = subprocess.Popen(
        [sys.executable, "play.py", "--checkpoint", str(checkpoint), *options],
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert server.stdout is not None
        lines = iter(server.stdout.readline, "")
        line = next(line for line in lines if "open http" in line)
        (address,) = re.findall(r"http://127\.0\.0\.1:(\d+)", line)
        page = f"http://127.0.0.1:{address}"
        with urllib.request.urlopen(page, timeout=60) as answer:
            assert b"<html" in answer.read()
        server.send_signal(signal.SIGINT)
        rest, _ = server.communicate(timeout=60)
    finally:
        server.kill()
    assert server.returncode == 130
    assert "Traceback" not in rest and "viser" not in rest
    with socket.socket() as free, pytest.raises(ConnectionRefusedError):
        free.connect(("127.0.0.1", int(address)))


def test_it_ends_after_its_seconds_or_episodes(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--checkpoint", str(checkpoint), "--viewer", "web", "--port", "0"]
    assert play.main([*common, "--seconds", "0.3"]) == 0
    assert "open http://127.0.0.1:" in capsys.readouterr().out
    short = ["--episodes", "2", "--envs", "2", "task.episode_length_s=0.2"]
    assert play.main([*common, *short]) == 0


def test_the_checkpoint_on_disk_is_as_it_was(checkpoint: Path, view: web.WebView) -> None:
    before = checkpoint.read_bytes()
    view.run(seconds=0.1)
    assert checkpoint.read_bytes() == before
    assert asdict(view.live.env.config)["task"]["episode_length_s"] > 3600
