"""Engines of one recipe compared in turn within one process, for `throughput.py --engines`."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from machine import machine

from legged_ppo.config.loading import load_config
from legged_ppo.env.factory import make_locomotion_env
from legged_ppo.runs.run_directory import RunDirectory
from legged_ppo.runtime.cpu import sleep_soon_when_waiting
from legged_ppo.training.trainer import Trainer

FIGURES = ("physics_fps", "env_fps", "end_to_end_fps")

Measure = Callable[[Trainer, int, int], dict[str, Any]]


def rows_in_turn(
    recipe: str,
    overrides: Sequence[str],
    engines: Sequence[str],
    threads: int,
    rounds: int,
    iterations: int,
    warmup: int,
    measure: Measure,
) -> list[dict[str, Any]]:
    """A row for each engine: medians over rounds in each of which every engine is measured once."""
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        trainers = [
            _trainer(recipe, [*overrides, f"sim.engine={e}", f"sim.threads={threads}"], folder)
            for e in engines
        ]
        for trainer in trainers:
            for _ in range(warmup):
                trainer.iterate()
        samples: list[list[dict[str, Any]]] = [[] for _ in trainers]
        for _ in range(rounds):
            for trainer, found in zip(trainers, samples, strict=True):
                found.append(measure(trainer, 1, iterations))
    return [
        {
            "engine": engine,
            "terrain": "+".join(trainer.config.terrain.proportions),
            "robots": trainer.env.num_envs,
            "threads": threads,
            **{name: statistics.median(f[name] for f in found) for name in FIGURES},
        }
        for engine, trainer, found in zip(engines, trainers, samples, strict=True)
    ]


def report(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The file's content: rows with `ratio`, of figures to those of the first engine beside the same neighbour,
    and `of_quiet`, the share that the neighbour leaves of an engine's end-to-end speed; and the machine."""
    for row in rows:
        first = next(r for r in rows if r["neighbour"] == row["neighbour"])
        row["ratio"] = {name: row[name] / first[name] for name in FIGURES}
        quiet = next(r for r in rows if r["engine"] == row["engine"])
        row["of_quiet"] = row["end_to_end_fps"] / quiet["end_to_end_fps"]
    return {"rows": rows, "machine": machine(torch.device("cpu"))}


def rows_beside_a_neighbour(command: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a command of `throughput.py`, run while another process keeps a core busy. The environment
    is that of a training that was started beside it."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "rows.json"
        neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            with mock.patch.dict(os.environ):
                sleep_soon_when_waiting()
                subprocess.run([*command, "--json", str(result)], check=True)
        finally:
            neighbour.kill()
            neighbour.wait()
        rows: list[dict[str, Any]] = json.loads(result.read_text())["rows"]
    return [row | {"neighbour": True} for row in rows]


def _trainer(recipe: str, overrides: Sequence[str], folder: str) -> Trainer:
    config = load_config(recipe, [*overrides, f"training.log_dir={folder}"])
    robots, seed = config.training.num_envs, config.training.seed
    env = make_locomotion_env(config, robots, seed, torch.device("cpu"), training=True)
    return Trainer(config, env, RunDirectory.create(config, "throughput"), scorer=None)
