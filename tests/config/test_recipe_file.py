"""Recipes and overrides that are broken on purpose: one short line and exit code 2, in bounded time."""

from __future__ import annotations

from pathlib import Path

import pytest

from legged_ppo.cli import train as cli
from legged_ppo.cli.parser import EXIT_BAD_INPUT
from legged_ppo.config.loading import CONFIG_DIR, load_config
from legged_ppo.errors import ConfigError

QUICKSTART = str(CONFIG_DIR / "phase1_quickstart.yaml")
HEAD = "defaults: [schema, _self_]\n"
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)
RECIPES = {
    "unknown interpolation": HEAD + "training: {run_name: '${nope}'}\n",
    "interpolation of itself": HEAD + "training: {run_name: '${training.run_name}'}\n",
    "key given twice": HEAD + "ppo: {gamma: 0.9, gamma: 0.8}\n",
    "defaults as a mapping": "defaults: {robot: go2}\n",
    "defaults of numbers": "defaults: [3]\n",
    "including itself": "defaults: [own, _self_]\n",
    "including itself over another": "defaults: [other, _self_]\n",
    "deep nesting": HEAD + "ppo: " + "[" * 3000 + "]" * 3000 + "\n",
    "deep mappings": HEAD + "ppo: " + "{a: " * 3000 + "1" + "}" * 3000 + "\n",
    "long integer": HEAD + f"ppo: {{gamma: {'9' * 400}}}\n",
    "very long integer": HEAD + f"training: {{seed: {'9' * 5000}}}\n",
    "alias bomb": HEAD + BOMB,
    "alias of itself": HEAD + "gym: {kwargs: &a {b: *a}}\n",
    "huge file": HEAD + "# " + "x" * 2_000_000 + "\n",
    "unhashable key": HEAD + "? [a, {b: 1}]\n: 3\n",
    "long name": HEAD + f"{'k' * 5000}: 3\n",
}
OVERRIDES = [
    "ppo.gamma=`1`",
    "training.run_name=${nope}",
    "ppo.gamma=" + "9" * 400,
    "training.seed=" + "9" * 5000,
    "policy.actor_hidden=" + "[" * 3000 + "]" * 3000,
    "gym.kwargs=" + "{a:" * 3000 + "1" + "}" * 3000,
    "training.run_name=" + "x" * 100_000,
    "k" * 5000 + "=3",
]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> None:
    assert cli.main(["--print-config", *arguments]) == EXIT_BAD_INPUT
    captured = capsys.readouterr()
    assert not captured.out and captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1 and len(captured.err) < 1000, captured.err


@pytest.mark.parametrize("text", RECIPES.values(), ids=RECIPES)
def test_a_broken_recipe_gets_one_line(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.yaml").write_text(text)
    (tmp_path / "other.yaml").write_text("defaults: [own]\n")
    refused(capsys, "--config", str(tmp_path / "own.yaml"))


@pytest.mark.parametrize("override", OVERRIDES, ids=lambda text: text[:20])
def test_a_broken_override_gets_one_line(override: str, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, "--config", QUICKSTART, override)


def test_a_group_file_beside_the_recipe_is_checked_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "robot").mkdir()
    (tmp_path / "robot" / "mine.yaml").write_text("kp: 3\nkp: 4\n")
    (tmp_path / "own.yaml").write_text("defaults: [schema, robot: mine, _self_]\n")
    refused(capsys, "--config", str(tmp_path / "own.yaml"))


def test_aliases_within_the_limit_are_allowed(tmp_path: Path) -> None:
    recipe = tmp_path / "own.yaml"
    recipe.write_text(HEAD + "policy: {actor_hidden: &a [32], critic_hidden: *a}\n")
    assert load_config(recipe).policy.critic_hidden == [32]


def test_a_missing_recipe_is_reported_in_an_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("legged_ppo.config.loading.CONFIG_DIR", tmp_path)
    with pytest.raises(ConfigError, match=r"missing\.yaml"):
        load_config("missing.yaml")


def test_contradictory_options_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--init-from", "a.pth", "--resume", "latest"]) == EXIT_BAD_INPUT
    assert capsys.readouterr().err == "error: --init-from cannot be combined with --resume\n"
