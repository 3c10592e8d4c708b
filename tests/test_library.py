"""The public functions: cheap to import, and used as docs/library.md shows."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import legged_ppo
from legged_ppo.viewer import gl_backend

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "library.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)
SHORT = ["training.total_timesteps=800", "task.episode_length_s=1", "terrain.curriculum.rule=none"]


def test_the_package_is_imported_without_torch_and_mujoco() -> None:
    code = "import sys, legged_ppo; dir(legged_ppo); print({'torch', 'mujoco'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout.strip() == "set()", result.stderr


def test_every_public_name_is_found_listed_and_documented() -> None:
    for name in legged_ppo.__all__:
        assert getattr(legged_ppo, name).__doc__ and name in dir(legged_ppo)
        assert re.search(rf"`{name}\(|`{name}`", PAGE), name
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = legged_ppo.trian


def test_the_examples_of_the_page_work_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len([line for line in EXAMPLES[0].splitlines() if line]) <= 12
    names: dict[str, object] = {}
    examples = [example for example in EXAMPLES if "record(" not in example]
    drawn = [example for example in EXAMPLES if "record(" in example]
    with contextlib.suppress(gl_backend.RenderingUnavailable):
        gl_backend.use_working_backend()
        examples += drawn
    for example in examples:
        small = example.replace('"+preset=debug"', f'"+preset=debug", *{SHORT}')
        exec(compile(small, "docs/library.md", "exec"), names)
    run = next((tmp_path / "logs").glob("a1_from_python*"))
    rows = (run / "metrics.jsonl").read_text().splitlines()
    assert ["Policy/weight_norm" in row for row in rows] == [True] * 4 + [False] * 3, "resumed"
    assert set(names["figures"]["terrain"]) == {"rough"}  # type: ignore[index]
