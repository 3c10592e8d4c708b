"""Time the ways to run a GRU over a sequence with resets inside, forward and backward.

    python benchmarks/gru.py [--batch 128 512] [--hidden 128 256] [--reset-rate 0 0.002 0.02] [--device cuda:0]

Prints milliseconds (median), the ratio to the operator in use, and on a GPU the memory that one pass takes
at its peak; there a pass is a replayed CUDA graph, as in a training, where it can be captured. `with the mirror`
has weights that commute with it, whose products the kernels of a GPU halve. `nn.GRU without resets` computes the
wrong thing where an episode starts inside a sequence and is shown as a bound.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from legged_ppo.models.gru import GRU
from legged_ppo.models.gru_operators import commuting
from legged_ppo.runtime.cpu import keep_freed_memory
from legged_ppo.runtime.lanes.use import operators_only

STEPS, INPUTS = 24, 80


def split_and_pad(
    gru: nn.GRU, x: torch.Tensor, h: torch.Tensor, starts: torch.Tensor
) -> torch.Tensor:
    """rsl_rl's way: cut at the resets, pad the pieces to one length, run cuDNN/oneDNN, gather back."""
    steps, batch, _ = x.shape
    cut = starts.t().clone()
    cut[:, 0] = True
    begin = cut.flatten().nonzero().squeeze(1)  # positions in [B, T] order
    lengths = torch.diff(begin, append=torch.tensor([steps * batch]))
    pieces = torch.split(x.transpose(0, 1).reshape(steps * batch, -1), lengths.tolist())
    padded = nn.utils.rnn.pad_sequence(list(pieces))
    fresh = starts.t().flatten()[begin]
    h0 = torch.where(fresh[:, None], 0.0, h[0][begin // steps])[None]
    out, _ = gru(padded, h0)
    mask = torch.arange(len(padded))[:, None] < lengths[None]
    return out.transpose(0, 1)[mask.t()].reshape(batch, steps, -1).transpose(0, 1)


def cell_loop(gru: nn.GRU, x: torch.Tensor, h: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
    state, out = h[0], []
    for t in range(len(x)):
        state = torch.where(starts[t][:, None], 0.0, state)
        state = torch.gru_cell(x[t], state, *gru.all_weights[0])
        out.append(state)
    return torch.stack(out)


def by_operators(gru: GRU, x: torch.Tensor, h: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
    with operators_only():
        return gru(x, h, starts)[0]


def mirrored(gru: GRU) -> GRU:
    """A GRU whose recurrent weights commute with the mirror, which exchanges the halves of the state."""
    found = copy.deepcopy(gru)
    weight = found.get_parameter("weight_hh_l0").data
    weight.copy_(commuting(weight))
    found.commutes = True
    return found


def on_gpu() -> bool:
    return torch.get_default_device().type == "cuda"


def milliseconds(work: Callable[[], object], repeats: int) -> float:
    """Median of several calls."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        if on_gpu():
            torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(times)


def captured(work: Callable[[], object]) -> Callable[[], object] | None:
    """Replay of a CUDA graph of the work, which trainings launch it as; None where it cannot be captured."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.stream(stream):
            work()  # chooses the kernels of the products
            with torch.cuda.graph(graph, stream=stream):
                work()
    except RuntimeError:  # it waits for the device
        torch.cuda.synchronize()
        return None
    return graph.replay


def measured(
    run: Callable[[], torch.Tensor], parameters: list[torch.Tensor], repeats: int
) -> tuple[float, str, str]:
    """Median milliseconds of a pass forward and backward, how it was launched, and its peak of memory [MB] above
    what there was before."""

    def one_pass() -> object:
        return torch.autograd.grad(run().square().sum(), parameters)

    for _ in range(2):
        one_pass()
    if not on_gpu():
        return milliseconds(one_pass, repeats), "-", "-"
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    one_pass()
    memory = f"{(torch.cuda.max_memory_allocated() - before) / 2**20:,.0f}"
    replay = captured(one_pass)
    return milliseconds(replay or one_pass, repeats), "graph" if replay else "eager", memory


def compare(batch: int, hidden: int, reset_rate: float, repeats: int, compiled: bool) -> None:
    torch.manual_seed(0)
    ours, reference = GRU(INPUTS, hidden), nn.GRU(INPUTS, hidden)
    reference.load_state_dict(ours.state_dict())
    x = torch.randn(STEPS, batch, INPUTS)
    h = torch.randn(1, batch, hidden)
    starts = torch.rand(STEPS, batch) < reset_rate
    ways: dict[str, tuple[Callable[[], torch.Tensor], nn.Module]] = {
        "in use": (lambda: ours(x, h, starts)[0], ours),
        "torch.gru_cell loop": (lambda: cell_loop(reference, x, h, starts), reference),
        "nn.GRU split and pad": (lambda: split_and_pad(reference, x, h, starts), reference),
        "nn.GRU without resets": (lambda: reference(x, h)[0], reference),
    }
    ways["the same by torch's operators"] = (lambda: by_operators(ours, x, h, starts), ours)
    if on_gpu():
        even = mirrored(ours)
        ways["in use, with the mirror"] = (lambda: even(x, h, starts)[0], even)
    if compiled:
        torch.compiler.reset()  # or the limit of recompilations would make later rows eager
        loop = torch.compile(cell_loop)
        ways["torch.compile of the loop"] = (lambda: loop(reference, x, h, starts), reference)
    base = None
    for name, (run, module) in ways.items():
        begin = f"{batch:6} {hidden:6} {reset_rate:6.3f}  {name:30}"
        try:
            ms, launched, memory = measured(run, list(module.parameters()), repeats)
        except Exception as error:  # out of memory, no compiler: the other ways go on
            print(f"{begin} failed: {str(error).strip().partition(chr(10))[0]}", flush=True)
            continue
        base = base or ms
        print(f"{begin} {ms:8.2f} ms  {ms / base:5.2f}  {launched:>8}  {memory:>9}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--batch", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--hidden", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--reset-rate", type=float, nargs="+", default=[0.0, 0.002, 0.02])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument(
        "--compile", action="store_true", help="also torch.compile (needs a C++ compiler)"
    )
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    keep_freed_memory()  # as the command lines do
    torch.set_default_device(args.device)
    print(
        f"{'batch':>6} {'hidden':>6} {'resets':>6}  {'way':30} {'fwd+bwd':>11}  ratio  "
        f"{'launched':>8}  {'memory MB':>9}"
    )
    for batch in args.batch:
        for hidden in args.hidden:
            for rate in args.reset_rate:
                compare(batch, hidden, rate, args.repeats, args.compile)


if __name__ == "__main__":
    main()
