"""A run's folder: distinct, whole and in order, whatever was killed or set back before."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from legged_ppo.config.schema import Config
from legged_ppo.errors import ConfigError
from legged_ppo.evaluation.trained_policy import check_import
from legged_ppo.runs import checkpoint
from legged_ppo.runs.run_directory import TO_ACT, TO_RESUME, RunDirectory, find_checkpoint


def make_run(log_dir: Path) -> RunDirectory:
    config = Config()
    config.training.log_dir, config.training.run_name = str(log_dir), "run"
    return RunDirectory.create(config, "recipe")


def steps(run: RunDirectory) -> list[int]:
    names = (path.stem for path in run.checkpoints.glob("phase1_step_*.pth"))
    return sorted(int(name.rsplit("_", 1)[1]) for name in names)


def test_runs_that_start_in_the_same_instant_get_folders_of_their_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: make_run(tmp_path), range(24)))
    assert len({run.root for run in runs}) == 24
    assert all((run.root / "config.yaml").is_file() for run in runs)
    assert (tmp_path / "checkpoints").resolve().parent in {run.root.resolve() for run in runs}


@pytest.mark.parametrize("name", ["checkpoints", ".", ".."])
def test_a_run_name_that_is_no_folder_of_its_own_is_refused(tmp_path: Path, name: str) -> None:
    config = Config()
    config.training.log_dir, config.training.run_name = str(tmp_path / "logs"), name
    with pytest.raises(ConfigError, match=r"training\.run_name"):
        RunDirectory.create(config, "recipe")
    assert not (tmp_path / "logs").exists()


def test_a_clock_set_back_deletes_no_new_checkpoint(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for number in (10, 20, 30):
        path = run.save({}, number, keep=2)
        os.utime(path, (1e9 - number, 1e9 - number))
    assert steps(run) == [20, 30]
    run.save({}, 15, keep=2)  # resumed from an earlier checkpoint
    assert steps(run) == [15, 30]
    run.save({}, 25, keep=2)
    assert steps(run) == [15, 25]


def test_damaged_rows_are_dropped_and_the_last_row_ends_with_a_newline(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    good = [json.dumps({"iteration": i, "Loss/value": 0.5}) for i in (1, 2, 3)]
    bad = ["", "[1]", "3", "null", '"text"', "{}", '{"iteration": "1"}', '{"iteration": null}']
    bad += ['{"iteration": 1.5}', '{"iteration": true}', "{", "[" * 100_000, "\x00\x00"]
    rows = "\n".join([good[0], *bad, good[1], good[2]]).encode() + b"\n\xff\xfe\n"
    run.metrics.write_bytes(rows + good[1].encode())
    run.reopen(2)
    assert run.metrics.read_text() == "".join(f"{row}\n" for row in (good[0], good[1], good[1]))


def test_what_a_killed_run_left_half_written_is_removed(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    leftover = run.checkpoints / ".phase1_latest.pth.123.tmp"
    leftover.write_bytes(b"half")
    run.reopen(0)
    assert not leftover.exists()


def test_a_kill_within_a_change_of_config_leaves_a_valid_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, replace, calls = make_run(tmp_path), os.replace, []
    before = (run.root / "config.yaml").read_text()

    def killed(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == kill_at:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    changed = Config()
    changed.ppo.gamma = 0.5
    for rename in (1, 2):
        calls.clear()
        kill_at = rename
        with pytest.raises(KeyboardInterrupt):
            run.replace_config(changed, 100)
        assert (run.root / "config.yaml").read_text() == before
    kill_at = 0
    run.replace_config(changed, 100)
    assert "gamma: 0.5" in (run.root / "config.yaml").read_text()
    assert (run.root / "config_until_100.yaml").read_text() == before


def test_a_copy_on_a_full_disk_names_its_file_and_leaves_the_older_one(tmp_path: Path) -> None:
    source, target = tmp_path / "source.pth", tmp_path / "target.pth"
    source.write_bytes(b"new" * 100_000)
    target.write_bytes(b"old")
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    temporary = tmp_path / f".target.pth.{os.getpid()}.tmp"
    temporary.symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"cannot write .*target\.pth"):
        checkpoint.copy_checkpoint(source, target)
    assert target.read_bytes() == b"old" and not temporary.is_symlink()


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(torch.arange(100.0).numpy().tobytes()) + 50] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("names", [TO_RESUME, TO_ACT], ids=["resume", "act"])
def test_a_damaged_latest_falls_back_to_the_newest_intact_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, names: tuple[str, ...]
) -> None:
    run = make_run(tmp_path)
    for number in (10, 20, 30):
        run.save({"weights": torch.arange(100.0)}, number, keep=3)
    latest, best = (run.checkpoints / f"phase1_{name}.pth" for name in ("latest", "best"))
    best.write_bytes(latest.read_bytes())

    def found(name: str | Path) -> Path:
        caplog.clear()
        return find_checkpoint(name, str(tmp_path), names=names).resolve()

    preferred = run.checkpoints.resolve() / names[0]
    assert found("latest") == preferred and not caplog.records
    damage(best)
    if names == TO_ACT:
        assert found(run.root) == latest.resolve()
        assert "phase1_best.pth" in caplog.text and "phase1_latest.pth" in caplog.text
    for path in (latest, run.checkpoints / "phase1_step_30.pth"):
        damage(path)
    for name in ("latest", run.root):
        assert found(name) == (run.checkpoints / "phase1_step_20.pth").resolve()
        line = caplog.messages[0]
        assert len(caplog.records) == 1 and "CRC-32" in line and "phase1_step_20.pth" in line
    assert found(latest) == latest.resolve(), "a file that the user names is not replaced"
    for path in (best, latest, run.checkpoints / "phase1_step_30.pth"):
        path.unlink()
    assert found("latest") == (run.checkpoints / "phase1_step_20.pth").resolve()
    assert "there is no" in caplog.messages[0]


def test_a_checkpoint_alone_imports_no_module() -> None:
    path, config = Path("policy.pth"), Config()
    check_import(config, [], path)
    config.gym.id = "evil:Env"
    with pytest.raises(ConfigError, match=r"gym\.id=evil:Env"):
        check_import(config, ["gym.id=other:Env"], path)
    check_import(config, ["gym.id=evil:Env"], path)
    config = Config(extensions=["evil"])
    for overrides in ([], ["extensions=[other]"], ["extensions=[evil,more]"]):
        with pytest.raises(ConfigError, match=r"policy.pth: extensions: .*extensions=\[evil\]"):
            check_import(config, overrides, path)
    check_import(config, ["task.max_tilt=0.8", "extensions=[evil]"], path)
