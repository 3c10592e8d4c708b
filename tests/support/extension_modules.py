"""Extensions that tests write into a folder of their own and import from there."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

Write = Callable[[str, str], Path]


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a module beside the test's recipes; the test runs in that folder and forgets the module."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, source: str) -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text(dedent(source))
        monkeypatch.setitem(sys.modules, name, sys)  # restores the absence at the end of the test
        monkeypatch.delitem(sys.modules, name)
        return path

    return write
