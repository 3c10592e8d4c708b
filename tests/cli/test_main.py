"""The command `legged-ppo`: its subcommands, their help, and a wrong name."""

from __future__ import annotations

import pytest

from legged_ppo.cli.main import COMMANDS, main


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_the_command_as_it_was_called(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert text.startswith(f"usage: legged-ppo {name} ")
    assert f"  legged-ppo {name} " in text.split("\nexample", 1)[-1]
    assert "python" not in text


def test_the_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {name} " in text for name in COMMANDS)


@pytest.mark.parametrize(("wrong", "hint"), [(["trian"], "did you mean 'train'?"), ([], "train")])
def test_a_wrong_command_is_reported_in_one_line(
    wrong: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(wrong) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and hint in captured.err
