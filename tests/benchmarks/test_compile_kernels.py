"""Kernels are compiled ahead for a GPU that is not there."""

from __future__ import annotations

from pathlib import Path

import compile_kernels
import pytest
import warp as wp

CONFIG = str(Path(__file__).resolve().parents[2] / "configs" / "phase1_fast.yaml")
OWN = "legged_ppo.sim.warp.kernels"


def test_the_engines_modules_are_found_without_launching_and_compiled_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wp.init()  # which sets the folder that is restored afterwards
    monkeypatch.setattr(wp.config, "kernel_cache_dir", str(tmp_path))
    gru = compile_kernels.gru_kernels(CONFIG)
    assert len(gru) == 3 and all(threads == 256 for _, threads in gru)
    modules = compile_kernels.kernels_of(CONFIG, "flat", 2, 160)
    names = {name for name, _ in modules}
    assert OWN in names and len(modules) > 40
    own = {key: module for key, module in modules.items() if key[0] == OWN}
    assert compile_kernels.compile_all(own, 90, workers=1) == 1
    assert list(tmp_path.rglob("*kernels*/*.sm90.cubin"))
    assert compile_kernels.compile_all(own, 90, workers=1) == 0
    assert "1 of 1 modules, 0 new" in capsys.readouterr().out
