"""Matrix products of an update by PyTorch's own choice (MKL on most CPUs) and by oneDNN, in GFLOP/s.

    OMP_NUM_THREADS=1 python benchmarks/products.py

float32 by both, in turn within one process, and bfloat16 as `ppo.precision=bfloat16` has it. The shapes
are those of 128 sequences of 24 steps with 181 inputs and a GRU of 256: steps of the recurrence, the
projection, and the weights' gradients; the last is of a control step of 256 robots in the quickstart.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch

from legged_ppo.models.compiled_product import compiled_product, compiled_weight_gradient

SHAPES = {
    "step forward": (128, 256, 768),
    "step backward": (128, 768, 256),
    "projection": (3072, 181, 768),
    "head": (3072, 256, 128),
    "quickstart's GRU": (256, 64, 192),
}
GRADIENTS = {"gradient of W_hh": (3072, 256, 768), "gradient of W_ih": (3072, 181, 768)}
ROUNDS = 7


def seconds(run: Callable[[], object], repeats: int) -> float:
    begin = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - begin) / repeats


def show(name: str, sizes: tuple[int, int, int], ways: Sequence[Callable[[], object]]) -> None:
    m, k, n = sizes
    work = 2 * m * k * n / 1e9
    repeats = max(3, round(2.0 / work))
    rounds = [[seconds(way, repeats) for way in ways] for _ in range(ROUNDS + 1)][1:]
    speeds = [work / statistics.median(times) for times in zip(*rounds, strict=True)]
    ratio = statistics.median(times[0] / times[1] for times in rounds)
    print(
        f"{name:18} {m:5} {k:5} {n:4}  {speeds[0]:7.0f} {speeds[1]:8.0f}  {ratio:5.2f}  {speeds[2]:8.0f}"
    )


def main() -> None:
    print(f"{torch.get_num_threads()} threads")
    print(
        f"{'product':18} {'M':>5} {'K':>5} {'N':>4}  {'PyTorch':>7} {'compiled':>8}  ratio  {'bfloat16':>8}"
    )
    for name, (m, k, n) in SHAPES.items():
        x, weight = torch.randn(m, k), torch.randn(n, k)
        by_torch = partial(torch.nn.functional.linear, x, weight)
        in_half = partial(torch.nn.functional.linear, x.bfloat16(), weight.bfloat16())
        show(name, (m, k, n), [by_torch, partial(compiled_product, x, weight, None), in_half])
    for name, (m, k, n) in GRADIENTS.items():
        x, outer = torch.randn(m, k), torch.randn(m, n)
        by_torch = partial(torch.mm, outer.t(), x)
        in_half = partial(torch.mm, outer.bfloat16().t(), x.bfloat16())
        show(name, (m, k, n), [by_torch, partial(compiled_weight_gradient, outer, x), in_half])


if __name__ == "__main__":
    main()
