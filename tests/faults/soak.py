"""Train for a while and see that memory and log folder do not grow without bound.

    python -m tests.faults.soak --minutes 120

Resident memory after the first tenth of the time (at most ten minutes) is the base. Exit code 1 where it grows
by more than 50 MB beyond that.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_PERIOD_S = 5.0
_MOST_GROWTH_MB = 50.0
_OVERRIDES = (
    "training.total_timesteps=1_000_000_000_000",
    "training.run_name=soak",
    "training.wandb=disabled",
    "training.report=false",
)


@dataclass(frozen=True)
class Sample:
    """What was measured at one time."""

    seconds: float
    memory_mb: float
    """resident, of the process"""
    threads: int
    descriptors: int
    folder_mb: float
    rows: int


def sample(process: int, run: Path, begin: float) -> Sample:
    """The process and its folder now."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines if ":" in line)
    sizes = [path.stat().st_size for path in run.rglob("*") if path.is_file()]
    metrics = run / "metrics.jsonl"
    return Sample(
        time.monotonic() - begin,
        int(status["VmRSS"].split()[0]) / 1024,
        int(status["Threads"]),
        len(list(Path(f"/proc/{process}/fd").iterdir())),
        sum(sizes) / 2**20,
        metrics.read_bytes().count(b"\n") if metrics.is_file() else 0,
    )


def soak(config: str, overrides: list[str], minutes: float, log_dir: Path) -> list[Sample]:
    """Samples of a training of so many minutes, which is then interrupted."""
    command = [sys.executable, str(ROOT / "train_phase1.py"), "--config", config, "--device", "cpu"]
    command += [*_OVERRIDES, f"training.log_dir={log_dir}", *overrides]
    begin, samples = time.monotonic(), []
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        while time.monotonic() < begin + 60 * minutes:
            time.sleep(_PERIOD_S)
            if process.poll() is not None:
                raise RuntimeError(f"the training ended with exit code {process.returncode}")
            samples.append(sample(process.pid, log_dir / "soak", begin))
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()
    return samples


def report(samples: list[Sample], base_s: float) -> tuple[float, list[str]]:
    """Growth of the memory after `base_s` in MB, and lines for the user."""
    base = next(each for each in samples if each.seconds >= base_s)
    later = [each for each in samples if each.seconds >= base_s]
    last, peak = samples[-1], max(each.memory_mb for each in later)
    rows = last.rows - base.rows
    hours = (last.seconds - base.seconds) / 3600
    grown = last.folder_mb - base.folder_mb
    lines = [
        f"memory: {base.memory_mb:.0f} MB after {base.seconds:.0f} s, "
        f"at most {peak:.0f} MB until {last.seconds:.0f} s",
        f"threads: {base.threads} to {last.threads}, file descriptors: {base.descriptors} to {last.descriptors}",
        f"log folder: {base.folder_mb:.1f} to {last.folder_mb:.1f} MB over {rows:,} iterations "
        f"({1024 * grown / max(rows, 1):.2f} KB an iteration, {grown / hours:.1f} MB an hour)",
    ]
    return peak - base.memory_mb, lines


def main() -> int:
    """Train, print, and say whether the memory grew."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--config", default="configs/phase1_quickstart.yaml")
    parser.add_argument("--json", type=Path, help="write the samples there")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    arguments = parser.parse_intermixed_args()
    # Unwinds `soak`, which stops the training.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="soak_") as folder:
        samples = soak(arguments.config, arguments.overrides, arguments.minutes, Path(folder))
    if arguments.json:
        arguments.json.write_text(json.dumps([vars(each) for each in samples]))
    growth, lines = report(samples, min(600.0, 6 * arguments.minutes))
    print("\n".join(lines))
    print(f"growth of the memory: {growth:.1f} MB, at most {_MOST_GROWTH_MB:.0f} MB are allowed")
    return int(growth > _MOST_GROWTH_MB)


if __name__ == "__main__":
    sys.exit(main())
