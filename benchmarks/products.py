"""Matrix products of an update by PyTorch's own choice (MKL on most CPUs) and by oneDNN, in GFLOP/s.

    OMP_NUM_THREADS=1 python benchmarks/products.py

float32 by both, in turn within one process, and bfloat16 as `ppo.precision=bfloat16` has it. The shapes
are those of 128 sequences of 24 steps with 181 inputs and a GRU of 256: steps of the recurrence, the
projection, and the weights' gradients; the last is of a control step of 256 robots in the quickstart.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch

from legged_ppo.models.linear import PREFER_ONEDNN, product_by_onednn

SHAPES = {
    "step forward": (128, 256, 768),
    "step backward": (128, 768, 256),
    "projection": (3072, 181, 768),
    "gradient of W_hh": (768, 3072, 256),
    "gradient of W_ih": (768, 3072, 181),
    "head": (3072, 256, 128),
    "quickstart's GRU": (256, 64, 192),
}
ROUNDS = 7


def seconds(run: Callable[[], object], repeats: int) -> float:
    begin = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - begin) / repeats


def main() -> None:
    print(f"{torch.get_num_threads()} threads; training prefers oneDNN here: {PREFER_ONEDNN}")
    print(
        f"{'product':18} {'M':>5} {'K':>5} {'N':>4}  {'PyTorch':>7} {'oneDNN':>7}  ratio  {'bfloat16':>8}"
    )
    for name, (m, k, n) in SHAPES.items():
        x, weight = torch.randn(m, k), torch.randn(n, k)
        x16, weight16 = x.bfloat16(), weight.bfloat16()
        ways: list[Callable[[], object]] = [
            partial(torch.nn.functional.linear, x, weight),
            partial(product_by_onednn, x, weight),
            partial(torch.nn.functional.linear, x16, weight16),
        ]
        work = 2 * m * k * n / 1e9
        repeats = max(3, round(2.0 / work))
        rounds = [[seconds(way, repeats) for way in ways] for _ in range(ROUNDS + 1)][1:]
        speeds = [work / statistics.median(times) for times in zip(*rounds, strict=True)]
        ratio = statistics.median(times[0] / times[1] for times in rounds)
        print(
            f"{name:18} {m:5} {k:5} {n:4}  {speeds[0]:7.0f} {speeds[1]:7.0f}  {ratio:5.2f}  {speeds[2]:8.0f}"
        )


if __name__ == "__main__":
    main()
