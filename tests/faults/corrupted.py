"""Checkpoints that were damaged or forged, by a seeded mutator: refused in one line, or equal in content."""

from __future__ import annotations

import copy
import io
import os
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from legged_ppo.config.schema import Config
from legged_ppo.errors import ConfigError
from legged_ppo.runs.checkpoint import load_checkpoint
from tests.faults import runs
from tests.faults.batches import in_batches, printed, write_outcomes
from tests.faults.children import Job, run_child
from tests.faults.kills import leg
from tests.faults.measure import Measure

_GOOD = (
    "equal in content",
    "refused with one line",
    "refused by the resume with one line",
    "other valid content",
)
_DEMAND = "exit 2 with one line, or equal content; no code is run, no traceback, no hang"
_ODD: tuple[Any, ...] = (
    *(None, True, 0, -1, 3, 10**20, 0.5, float("nan"), float("inf"), "", "x", "../x"),
    *([], [1], {}, {"x": 1}, (1, 2), "x" * 200_000, [0] * 6000),
    *(torch.zeros(0), torch.zeros(3), torch.zeros(2, 2, dtype=torch.uint8), torch.tensor(True)),
    *(torch.full((4,), float("nan")), torch.zeros(1).expand(10**12), torch.zeros(3).to_sparse()),
)


class Canary:
    """Pickles to a call that makes a file: it must never exist."""

    def __init__(self, file: str) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.mkdir, (self.file,)


def flipped(content: bytes, source: random.Random) -> bytes:
    """Some bits differ."""
    changed = bytearray(content)
    for _ in range(source.choice((1, 1, 2, 8, 100))):
        changed[source.randrange(len(changed))] ^= 1 << source.randrange(8)
    return bytes(changed)


def cut(content: bytes, source: random.Random) -> bytes:
    """A part is missing, doubled, zero or moved."""
    a, b = sorted(source.randrange(len(content) + 1) for _ in range(2))
    parts = content[:a], content[a:b], content[b:]
    return source.choice(
        (
            parts[0],
            parts[0] + parts[2],
            parts[0] + parts[1] * 2 + parts[2],
            parts[0] + bytes(b - a) + parts[2],
            parts[1] + parts[0] + parts[2],
            content + parts[1],
            source.randbytes(b - a),
        )
    )


def rezipped(content: bytes, source: random.Random) -> bytes:
    """The pickle differs by some bytes, under a right CRC-32."""
    new = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(new, "w") as archive:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("data.pkl"):
                data = source.choice((flipped, cut))(data, source)
            archive.writestr(name, data)
    return new.getvalue()


def forged(content: bytes, source: random.Random) -> bytes:
    """One value of the content is another one of any type, or missing; or one that would run code."""
    payload = torch.load(io.BytesIO(content), weights_only=True)
    places: list[tuple[Any, Any]] = []
    _collect(payload, places)
    holder, key = source.choice(places)
    kind = source.randrange(8)
    if kind == 0 and isinstance(holder, dict):
        del holder[key]
    elif kind == 1:
        holder[key] = Canary(os.environ["FAULTS_CANARY"])
    else:
        holder[key] = copy.deepcopy(source.choice(_ODD))
    file = io.BytesIO()
    torch.save(payload, file)
    return file.getvalue()


def _collect(value: Any, places: list[tuple[Any, Any]]) -> None:
    """Every place of nested dictionaries and lists that holds a value."""
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    for key in list(keys)[:40]:
        places.append((value, key))
        if isinstance(value[key], (dict, list)):
            _collect(value[key], places)


MUTATORS: tuple[Callable[[bytes, random.Random], bytes], ...] = (flipped, cut, rezipped, forged)


def same(a: Any, b: Any) -> bool:
    """Equality of tensors and plain containers, of their types too; NaN equals NaN."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and pickle.dumps(a) == pickle.dumps(b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or a != a)


def read_batch(original: str, config: Config, canary: str, seeds: list[int], out: str) -> int:
    """Mutate the checkpoint once per seed and resume from it; one line of JSON for each goes to `out`."""
    content, expected = Path(original).read_bytes(), load_checkpoint(original)
    os.environ["FAULTS_CANARY"] = canary

    def trial(seed: int) -> str:
        path = Path(canary).with_name(f"mutated_{seed}.pth")
        path.write_bytes(MUTATORS[seed % len(MUTATORS)](content, random.Random(seed)))
        try:
            return _outcome(path, expected, config)
        finally:
            path.unlink()

    write_outcomes(trial, seeds, out)
    return 0


def _outcome(path: Path, expected: Any, config: Config) -> str:
    """ "refused", "equal", or what is wrong with the way in which the command ended."""
    try:
        loaded = load_checkpoint(path)
    except ConfigError:
        loaded = None
    if loaded is not None and same(loaded, expected):
        return "equal in content"
    log_dir = path.parent / "mutated_logs"
    steps = f"training.total_timesteps={config.training.total_timesteps}"
    named = [f"extensions=[{','.join(config.extensions)}]"] if config.extensions else []
    arguments = ["--resume", str(path), "--device", "cpu", f"training.log_dir={log_dir}", steps]
    code, output, _ = printed([*arguments, *named])
    if code == 2 and output.startswith("error: ") and output.count("\n") == 1:
        return "refused with one line" if loaded is None else "refused by the resume with one line"
    if code == 0 and loaded is not None:
        return "other valid content"
    return f"exit {code}: {output[-500:]}"


def corrupted_checkpoints(subject: str, folder: Path, trials: int, seed: int) -> Measure:
    """Damaged and forged copies of a run's last but one checkpoint."""
    measure = Measure(f"corrupted checkpoints ({subject})", _DEMAND)
    config = runs.recipe(subject, folder / "logs")
    assert run_child(Job(leg, {"config": config, "resume": False})).code == 0
    original = str(runs.checkpoints(folder / "logs")[-2])
    canary, seeds = folder / "canary", list(range(seed, seed + trials))
    work = Job(read_batch, {"original": original, "config": config, "canary": str(canary)})
    in_batches(work, seeds, folder / "outcomes", measure, _GOOD)
    measure.require(not canary.exists(), "code of a checkpoint was run")
    return measure
