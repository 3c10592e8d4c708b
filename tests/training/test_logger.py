"""Metrics reach every dashboard, and no dashboard can end a run."""

import json
import math
from pathlib import Path

import pytest
import wandb
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from legged_ppo.config.schema import Config
from legged_ppo.training.logger import MetricLogger
from legged_ppo.training.wandb_run import finish_wandb

ROW = {"iteration": 1, "env_steps": 96, "Loss/value": 0.5, "Track/progress": math.nan}


def sinks(root: Path, mode: str) -> MetricLogger:
    config = Config()
    config.training.wandb = mode
    return MetricLogger(root, config, env_steps=0)


def test_rows_reach_the_file_and_tensorboard(tmp_path: Path) -> None:
    out = sinks(tmp_path, "disabled")
    out.write(ROW, 96)
    out.close()
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {**ROW, "Track/progress": None}
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in events.Scalars("Loss/value")] == [(96, 0.5)]
    (config,) = events.Tensors("config/text_summary")
    assert b"num_envs: 4096" in config.tensor_proto.string_val[0]


def test_a_resumed_run_keeps_the_point_of_its_checkpoint_alone(tmp_path: Path) -> None:
    out = sinks(tmp_path, "disabled")
    for i in (1, 2, 3):
        out.write({**ROW, "Loss/value": float(i)}, 96 * i)
    out.close()
    config = Config()
    config.training.wandb = "disabled"
    again = MetricLogger(tmp_path, config, env_steps=192)
    again.write({**ROW, "Loss/value": 30.0}, 288)
    again.close()
    events = EventAccumulator(str(tmp_path)).Reload().Scalars("Loss/value")
    assert [(e.step, e.value) for e in events] == [(96, 1.0), (192, 2.0), (288, 30.0)]


def test_wandb_works_offline(tmp_path: Path) -> None:
    out = sinks(tmp_path, "offline")
    out.write(ROW, 96)
    Image.new("RGB", (8, 8)).save(tmp_path / "image.png")
    out.write_image("Plots/image", tmp_path / "image.png", 96)
    out.close()
    assert wandb.run is not None, "the report is still to come"
    finish_wandb(tmp_path / "another")
    assert wandb.run is not None
    finish_wandb(tmp_path)
    assert wandb.run is None
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert list(tmp_path.glob("wandb/offline-run-*/files/media/images/Plots/image*.png"))


def test_auto_leaves_wandb_off_without_an_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(wandb, "init", lambda **_: pytest.fail("wandb was started"))
    sinks(tmp_path, "auto").close()


def test_a_failing_wandb_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing:
        def log(self, *_: object, **__: object) -> None:
            raise ConnectionError("gone")

    monkeypatch.setattr(wandb, "init", lambda **_: Failing())
    out = sinks(tmp_path, "online")
    with pytest.warns(UserWarning, match="wandb stopped"):
        out.write(ROW, 96)
    out.write({**ROW, "iteration": 2}, 192)
    out.close()
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2

    def refuse(**_: object) -> None:
        raise RuntimeError("no network")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.warns(UserWarning, match="wandb is off"):
        sinks(tmp_path, "online").close()
