"""A recording is complete under its name, or an error and no file."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pytest

from legged_ppo.cli import play
from legged_ppo.config.schema import Config
from legged_ppo.viewer import video_writer
from legged_ppo.viewer.video_writer import VideoError, open_stream

NAMES = ["walk.mp4", "walk.gif"]


def record(path: Path, frames: int = 30) -> None:
    noise = np.random.default_rng(0)
    with open_stream(path, 10) as writer:
        for _ in range(frames):
            writer.append_data(noise.integers(0, 255, (96, 128, 3), dtype=np.uint8))


@contextmanager
def full_disk(after_bytes: int) -> Iterator[None]:
    """Writes beyond a size fail, here and in ffmpeg, as they do on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_holds_its_frames_and_leaves_no_other_file(tmp_path: Path, name: str) -> None:
    record(tmp_path / name)
    assert len(imageio.mimread(tmp_path / name, memtest=False)) == 30
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("after_bytes", [0, 20_000])
def test_a_full_disk_is_one_line_and_the_older_file_stays(
    tmp_path: Path, name: str, after_bytes: int
) -> None:
    (tmp_path / name).write_bytes(b"older")
    with (
        full_disk(after_bytes),
        pytest.raises(VideoError, match=f"cannot write .*{name}") as caught,
    ):
        record(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert (tmp_path / name).read_bytes() == b"older"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_video_that_lost_its_end_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = video_writer._encoder

    def lossy(path: Path, fps: int) -> object:
        writer = make(path, fps)
        close = writer.close

        def cut() -> None:
            close()
            path.write_bytes(path.read_bytes()[:-2000])

        writer.close = cut
        return writer

    monkeypatch.setattr(video_writer, "_encoder", lossy)
    with pytest.raises(VideoError, match="of 30 frames"):
        record(tmp_path / "walk.mp4")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("folder", "expected"),
    [("missing", "in a folder that exists"), ("/proc", "in a folder that can be written")],
)
def test_play_refuses_a_folder_that_cannot_take_the_file(
    folder: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option, name in zip(("--video", "--gif"), NAMES, strict=True):
        assert play.main([option, str(tmp_path / folder / name)]) == 2
        error = capsys.readouterr().err
        assert expected in error and error.count("\n") == 1


@pytest.mark.parametrize("option", ["--video", "--gif"])
def test_play_on_a_full_disk_exits_1_with_one_line(
    backend: str,
    config: Config,
    make_checkpoint: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    option: str,
) -> None:
    checkpoint = make_checkpoint(tmp_path / "policy.pth", config)
    target = tmp_path / ("walk.mp4" if option == "--video" else "walk.gif")
    config_args = ["--checkpoint", str(checkpoint), option, str(target)]
    with full_disk(1000):
        assert play.main([*config_args, "task.episode_length_s=0.4"]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("error: cannot write") and printed.err.count("\n") == 1
    assert "recorded" not in printed.out and not target.exists()
