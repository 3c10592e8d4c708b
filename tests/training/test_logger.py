"""Metrics reach the file and TensorBoard."""

import json
import math
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from legged_ppo.config.schema import Config
from legged_ppo.training.logger import MetricLogger

ROW = {"iteration": 1, "env_steps": 96, "Loss/value": 0.5, "Track/progress": math.nan}


def test_rows_reach_the_file_and_tensorboard(tmp_path: Path) -> None:
    out = MetricLogger(tmp_path, Config(), env_steps=0)
    out.write(ROW, 96)
    out.close()
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {**ROW, "Track/progress": None}
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in events.Scalars("Loss/value")] == [(96, 0.5)]
    (config,) = events.Tensors("config/text_summary")
    assert b"num_envs: 4096" in config.tensor_proto.string_val[0]


def test_a_resumed_run_keeps_the_point_of_its_checkpoint_alone(tmp_path: Path) -> None:
    out = MetricLogger(tmp_path, Config(), env_steps=0)
    for i in (1, 2, 3):
        out.write({**ROW, "Loss/value": float(i)}, 96 * i)
    out.close()
    again = MetricLogger(tmp_path, Config(), env_steps=192)
    again.write({**ROW, "Loss/value": 30.0}, 288)
    again.close()
    events = EventAccumulator(str(tmp_path)).Reload().Scalars("Loss/value")
    assert [(e.step, e.value) for e in events] == [(96, 1.0), (192, 2.0), (288, 30.0)]
