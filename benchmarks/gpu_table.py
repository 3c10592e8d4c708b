"""One table of what benchmarks/gpu.sh has measured so far: python benchmarks/gpu_table.py FOLDER"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

COLUMNS = (
    *("num_envs", "end_to_end_fps", "physics_fps", "env_fps", "collection_s", "learning_s"),
    *("device_memory_gb", "torch_peak_gb", "compile_s", "plan_s", "build_s", "startup_s"),
)
FACTS = (
    *("device", "cuda_graphs", "driver", "torch", "cuda"),
    *("warp", "mujoco", "mujoco_warp", "commit"),
)
TITLES = {
    "flat": "flat",
    "full": "full grid",
    "launched": "full grid without CUDA graphs",
    "fused": "full grid, GRU 128",
    "operators": "full grid, GRU 128 without its kernels",
}


def table(title: str, rows: list[dict[str, Any]]) -> list[str]:
    """Lines, the smallest number of robots first; a size without figures with its reason."""
    measured = [row for row in rows if "error" not in row]
    facts = [f"{name} {measured[0].get(name)}" for name in FACTS] if measured else []
    lines = [f"{title}: {', '.join(facts)}", "  ".join(f"{name:>16}" for name in COLUMNS)]
    for row in sorted(rows, key=lambda row: row["num_envs"]):
        if "error" in row:
            lines.append(f"{row['num_envs']:16,}  {row['error']}")
        else:
            figures = (row.get(name, float("nan")) for name in COLUMNS)
            lines.append(
                "  ".join(f"{x:16,}" if isinstance(x, int) else f"{x:16,.3f}" for x in figures)
            )
    return lines


def main(folder: Path) -> None:
    for name, title in TITLES.items():
        path = folder / f"throughput_{name}.json"
        if path.is_file():
            print("\n".join(["", *table(title, json.loads(path.read_text()))]))
        else:
            print(f"\n{title}: no size was measured")
    for name in ("learner", "gru"):
        path = folder / f"{name}.txt"
        if path.is_file():
            print(f"\n{name}:\n{path.read_text().rstrip()}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
