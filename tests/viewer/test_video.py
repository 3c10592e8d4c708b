"""Videos: the robot is in the picture, and machines without OpenGL get one helpful line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import imageio.v2 as imageio
import mujoco
import numpy as np
import pytest

from legged_ppo.config.schema import Config
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.interface import Observations
from legged_ppo.models.actor_critic import ActorCritic
from legged_ppo.reports.run_report import terrain_tour, write_report
from legged_ppo.viewer import gl_backend
from legged_ppo.viewer.cameras import CAMERAS
from legged_ppo.viewer.scene import RobotScene, build_render_model
from legged_ppo.viewer.video import TOUR, Segment, _scripted, render_episodes


def test_the_back_end_asked_for_comes_first_and_a_window_only_with_a_display() -> None:
    assert gl_backend.candidates({}) == ["egl", "osmesa"]
    assert gl_backend.candidates({"MUJOCO_GL": "osmesa"}) == ["osmesa", "egl"]
    assert gl_backend.candidates({"DISPLAY": ":0"}) == ["egl", "osmesa", "glfw"]


def test_without_a_back_end_the_error_is_one_line_that_names_packages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gl_backend, "_renders", lambda name: False)
    gl_backend.use_working_backend.cache_clear()
    with pytest.raises(gl_backend.RenderingUnavailable, match="libegl1 libgl1") as caught:
        gl_backend.use_working_backend()
    gl_backend.use_working_backend.cache_clear()
    assert "\n" not in str(caught.value)


def test_the_robot_stands_in_the_middle_of_the_picture(backend: str, config: Config) -> None:
    env = make_locomotion_env(config, 2, 0)
    env.start_episodes_together()
    with RobotScene(
        env.robot, env.terrain, (0, 0), [0, 1], width=320, height=180, frame_time=0.04
    ) as scene:
        commands = env.commands.command.numpy()
        picture = scene.frame(env.simulator.state, commands).astype(int)
    assert picture.shape == (180, 320, 3)
    bright = picture.min(axis=2) > 190  # the robot's shell; ground and sky are darker or bluer
    rows, columns = np.nonzero(bright)
    assert len(rows) > 150
    assert abs(np.median(columns) - 160) < 50
    assert abs(np.median(rows) - 90) < 40


def test_pictures_leave_the_physics_model_alone(config: Config) -> None:
    env = make_locomotion_env(config, 1, 0)
    physics = env.simulator.groups[0].model  # type: ignore[attr-defined]
    assert not ((physics.geom_contype == 0) & (physics.geom_conaffinity == 0)).any()
    picture = build_render_model(env.robot, env.terrain, (0, 0))
    assert picture.ngeom > physics.ngeom
    assert picture.nq == physics.nq
    np.testing.assert_array_equal(picture.body_mass, physics.body_mass)
    np.testing.assert_array_equal(picture.body_inertia, physics.body_inertia)


def test_a_video_and_a_gif_have_the_frames_asked_for(
    backend: str, config: Config, make_policy: Callable[..., ActorCritic], tmp_path: Path
) -> None:
    video, gif = tmp_path / "walk.mp4", tmp_path / "walk.gif"
    seconds = render_episodes(
        make_policy(config), config, [video, gif], seconds=0.4, gif_fps=10, command=(0.5, 0, 0)
    )
    assert seconds == pytest.approx(0.4)
    frames = imageio.mimread(video, memtest=False)
    assert len(frames) == 10
    assert frames[0].shape == (450, 800, 3)
    assert all(frame.std() > 20 for frame in frames)
    assert len(imageio.mimread(gif)) == 4


def test_size_and_camera_of_a_video(
    backend: str, config: Config, make_policy: Callable[..., ActorCritic], tmp_path: Path
) -> None:
    frames, video, gif = {}, tmp_path / "x.mp4", tmp_path / "x.gif"
    for camera in CAMERAS:
        render_episodes(
            make_policy(config), config, [video, gif], seconds=0.04, size=(640, 360), camera=camera
        )
        (frames[camera],) = imageio.mimread(video)
    assert all(frame.shape == (360, 640, 3) for frame in frames.values())
    assert imageio.mimread(gif)[0].shape[:2] == (270, 480)
    views = [frame[120:].astype(int) for frame in frames.values()]  # below the captions
    for i, one in enumerate(views):
        assert all(np.abs(one - other).mean() > 3 for other in views[:i])
    sky = (frames["side"][60:90, 330:, 2] > frames["side"][60:90, 330:, 0]).mean()
    assert sky > 0.9, "the side view is level"


def test_a_script_gives_its_commands_one_after_another() -> None:
    script = [Segment((1.0, 0.0, 0.0), 2.0), Segment((0.0, 0.5, 0.0), 1.0)]
    assert [_scripted(script, t) for t in (0.0, 1.99, 2.0, 9.0)] == [
        script[i] for i in (0, 0, 1, 1)
    ]
    assert 10.0 <= sum(segment.seconds for segment in TOUR) <= 15.0


def test_a_tour_stops_at_every_type_at_the_highest_mastered_level() -> None:
    def group(*rates: float) -> dict:
        return {"levels": {str(i): {"success_rate": rate} for i, rate in enumerate(rates)}}

    result = {"terrain": {"rough": group(1.0, 0.7, 0.2), "gaps": group(0.3, 0.1)}}
    assert [segment.place for segment in terrain_tour(result)] == [("rough", 1), ("gaps", 0)]


def test_a_video_goes_from_place_to_place(
    backend: str, config: Config, make_policy: Callable[..., ActorCritic], tmp_path: Path
) -> None:
    config.terrain.proportions = {"flat": 1.0, "stairs_down": 1.0}
    script = [
        Segment((0.0, 0.0, 0.0), 0.12, ("stairs_down", 1)),
        Segment((0.0, 0.0, 0.0), 0.12, ("flat", 0)),
    ]
    video = tmp_path / "tour.mp4"
    render_episodes(make_policy(config), config, [video], seconds=9.0, script=script)
    frames = np.array(imageio.mimread(video, memtest=False), dtype=int)
    assert len(frames) == 6
    steps = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))
    assert steps[2] > 3 * max(steps[[0, 1, 3, 4]]), "the scene changes with the place, only there"


def test_the_report_of_a_run_survives_a_machine_without_opengl(
    config: Config,
    make_checkpoint: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gl_backend, "_renders", lambda name: False)
    gl_backend.use_working_backend.cache_clear()
    run = tmp_path / "run"
    checkpoint = make_checkpoint(run / "checkpoints" / "phase1_best.pth", config)
    (run / "metrics.jsonl").write_text('{"iteration": 1, "env_steps": 100}\n')
    lines = write_report(run, checkpoint, episodes=2, seed=0)
    gl_backend.use_working_backend.cache_clear()
    assert (run / "evaluation.json").is_file()
    assert (run / "plots" / "learning_curves.png").is_file()
    text = "\n".join(lines)
    assert "apt-get install" in text
    assert "play.py --checkpoint" in text


def test_mujoco_is_switched_over_after_its_import(backend: str) -> None:
    from mujoco.rendering.classic import gl_context

    assert backend in gl_context.GLContext.__module__
    assert mujoco.Renderer is not None


def test_the_policy_observes_a_scripts_command_from_its_first_step_on(
    backend: str,
    config: Config,
    make_policy: Callable[..., ActorCritic],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config.task.gait.frequency = 2.0
    policy, seen = make_policy(config), []
    normalize = policy.normalize

    def watch(obs: Observations) -> Observations:
        seen.append(obs["commands"][0].tolist())
        return normalize(obs)

    monkeypatch.setattr(policy, "normalize", watch)
    script = [Segment((0.5, 0.0, 0.0), 0.04), Segment((0.0, 0.0, 0.0), 0.04)]
    render_episodes(policy, config, [tmp_path / "walk.mp4"], seconds=1.0, script=script)
    assert [command[:3] for command in seen] == [[0.5, 0, 0]] * 2 + [[0.0, 0, 0]] * 2
    clock = [any(command[3:]) for command in seen]
    assert clock == [True, True, False, False], "hidden where the robot is to stand"
