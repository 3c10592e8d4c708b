"""Exit codes: bad input is one line and 2, a failure of the program its traceback and 1."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import time
from pathlib import Path

import pytest

from legged_ppo.cli import evaluate, train
from legged_ppo.cli.parser import OneLineParser, run_command
from legged_ppo.errors import ConfigError


def outcome(error: OSError, *arguments: str) -> int:
    parser = OneLineParser()
    parser.add_argument("--some-file", type=Path)

    def body(_: argparse.Namespace) -> int:
        raise error

    return run_command(parser, body, arguments)


def test_an_error_of_the_system_keeps_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    text = os.strerror(errno.ENOSPC)
    errors = [OSError(errno.ENOSPC, text), OSError(errno.ENOSPC, text, "logs/run/metrics.jsonl")]
    for error in errors:
        assert outcome(error, "--some-file", "x.json") == 1
        lines = capsys.readouterr().err.splitlines()
        assert lines[0].startswith("Traceback") and text in lines[-1]


def test_an_error_about_a_path_of_the_command_line_is_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = PermissionError(errno.EACCES, "Permission denied", "a/x.json")
    assert outcome(error, "--some-file", "a/x.json") == 2
    line = capsys.readouterr().err
    assert line.startswith("error: --some-file: got 'a/x.json'") and line.count("\n") == 1
    assert "Permission denied" in line


@pytest.mark.parametrize(
    ("main", "option"),
    [(evaluate.main, "--checkpoint"), (train.main, "--resume"), (train.main, "--config")],
)
def test_a_path_that_is_too_long_is_one_line(
    main: object, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(main) and main([option, "a" * 300]) == 2
    assert capsys.readouterr().err.startswith(f"error: {option}: got 'aaa")


def test_ctrl_c_that_a_library_turns_into_an_error_is_no_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def body(_: argparse.Namespace) -> int:
        merged = None
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
        finally:
            try:
                merged.clean()  # type: ignore[attr-defined]
            except AttributeError as error:
                raise ConfigError("config", "", "what can be merged") from error
        return 0

    previous = signal.getsignal(signal.SIGINT)
    try:
        assert run_command(OneLineParser(), body, []) == 130
    finally:
        signal.signal(signal.SIGINT, previous)
    assert capsys.readouterr().err == ""
