"""MuJoCo's warnings become one line for each kind, and a file in a folder that is given."""

from __future__ import annotations

import logging
from pathlib import Path

import mujoco
import numpy as np
import pytest
from mujoco.batch import Batch

from legged_ppo.sim.mujoco_warnings import counted_warnings

MODEL = """<mujoco><option><flag autoreset="disable"/></option><worldbody>
<body><joint/><geom size=".1"/></body><body><joint/><geom size=".1"/></body></worldbody></mujoco>"""


def blow_up(robots: int) -> None:
    """Step robots whose positions are not finite, in two threads."""
    batch = Batch(mujoco.MjModel.from_xml_string(MODEL), robots, 2)
    batch.qpos[: robots // 2, 0] = np.nan
    batch.qpos[robots // 2 :, 1] = np.nan
    batch.step()


def test_repeated_warnings_are_counted_by_their_kind(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    caplog.set_level(logging.WARNING)
    file = tmp_path / "MUJOCO_LOG.TXT"
    before = mujoco.get_mju_user_warning()
    with counted_warnings(file) as counts:
        assert not file.exists()
        blow_up(300)
        assert len(caplog.records) == len(counts), "only the first of each kind"
    position = next(kind for kind in counts if "QPOS" in kind)
    assert position == "Nan, Inf or huge value in QPOS at DOF #. The simulation is unstable."
    assert counts[position] == 300
    assert [m for m in caplog.messages if "300 times" in m and position in m]
    assert len(caplog.records) == 2 * len(counts)
    lines = file.read_text().splitlines()
    assert len(lines) == 100 * len(counts) and all("unstable" in line for line in lines)
    assert not list((tmp_path / "elsewhere").iterdir())
    assert "WARNING" not in capfd.readouterr().err
    assert mujoco.get_mju_user_warning() is before
    assert mujoco.MjLogConfig.get().logfile == "MUJOCO_LOG.TXT"


def test_without_a_file_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    with counted_warnings() as counts:
        blow_up(4)
    assert set(counts.values()) == {4} and not list(tmp_path.iterdir())
    assert "(counted from here on)" in caplog.messages[0]
