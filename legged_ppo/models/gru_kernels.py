"""LLVM IR of a GRU's recurrence, forward and backward.

A thread takes some sequences through all steps. In each step it multiplies a block of them by the recurrent
weights, `lanes` hidden units of all three gates at a time, and applies the gates to the sums while they are in
registers. The sums of a sequence are in the same order whatever block it is in, so its bits do not depend on
the number of threads or on its neighbours.

Tables are row by row, with T steps, B sequences and H hidden units as in `models/gru.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import llvmlite.ir as ir

from legged_ppo.runtime.lanes.kernel import Floats, Kernel
from legged_ppo.runtime.lanes.object_code import cached_object
from legged_ppo.runtime.lanes.target import Target
from legged_ppo.runtime.lanes.values import IndexValue, StackVariable, Value

FORWARD, RECORD, BACKWARD = "gru_forward", "gru_record", "gru_backward"
"""Names of the functions: without and with what the backward pass reads."""


def gru_object(hidden: int, lanes: int, target: Target) -> bytes:
    """Object code of the three functions for `hidden` units, a multiple of `lanes`."""

    def emit() -> str:
        m = Kernel(lanes, target.triple)
        _emit_forward(m, hidden, record=False)
        _emit_forward(m, hidden, record=True)
        _emit_backward(m, hidden)
        return str(m.module)

    return cached_object(("gru", hidden, lanes), [Path(__file__)], emit, target)


def block_sizes(lanes: int) -> list[int]:
    """Sequences that are multiplied together: their sums, three vectors each, fill the registers."""
    return [8, 4, 2, 1] if lanes == 16 else [4, 2, 1]


def block_width(hidden: int, lanes: int) -> int:
    """Hidden units that the backward pass sums at a time."""
    return next(n * lanes for n in (3, 2, 1) if hidden % (n * lanes) == 0)


def _emit_forward(m: Kernel, hidden: int, record: bool) -> None:
    """The function of (projected [T, B, 3H], state [B, H], keep [T, B], weights [H / lanes, H, 3, lanes],
    bias_n [H], outputs [T, B, H], previous), and where it records candidates [T, B, H] and gates [T, B, 3H].

    `previous`, the state that enters each step, is [T, B, H] where it is recorded, else [B, H].
    """

    def body(
        tables: Sequence[Floats], numbers: Sequence[IndexValue], first: IndexValue, last: IndexValue
    ) -> None:
        _, state, keep, _, _, outputs, previous = tables[:7]
        steps, batch = numbers
        for t in m.loop(steps):
            step = t * batch
            entering = step if record else IndexValue(m, ir.Constant(step.code.type, 0))
            _enter(m, hidden, (state, outputs, keep, previous), (t, batch, entering), (first, last))
            for unit in m.loop(hidden, step=m.lanes):
                for row, size in m.blocks(first, last, block_sizes(m.lanes)):
                    rows = [row + i for i in range(size)]
                    at = [(step + r) * hidden for r in rows]
                    entered = [(entering + r) * hidden for r in rows]
                    _advance(m, hidden, tables, unit, at, entered)

    m.function(RECORD if record else FORWARD, 9 if record else 7, 1, body)


def _enter(
    m: Kernel,
    hidden: int,
    tables: tuple[Floats, Floats, Floats, Floats],
    place: tuple[IndexValue, IndexValue, IndexValue],
    rows: tuple[IndexValue, IndexValue],
) -> None:
    """Store the state that enters a step: the one after the step before, 0 where an episode starts."""
    state, outputs, keep, previous = tables
    t, batch, entering = place
    builder = m.builder
    begin = builder.icmp_signed("==", t.code, ir.Constant(t.code.type, 0))
    before = Floats(m, builder.select(begin, state.pointer, outputs.pointer))
    skipped = builder.select(begin, ir.Constant(t.code.type, 0), (m.before(t) * batch).code)
    for row in m.loop(rows[1], rows[0]):
        kept = keep.number(t * batch + row)
        for unit in m.loop(hidden, step=m.lanes):
            value = before.vector((IndexValue(m, skipped) + row) * hidden + unit)
            previous.store((entering + row) * hidden + unit, value * kept)


def _advance(
    m: Kernel,
    hidden: int,
    tables: Sequence[Floats],
    unit: IndexValue,
    at: Sequence[IndexValue],
    entered: Sequence[IndexValue],
) -> None:
    """One step of a block of sequences, for one vector of units: their outputs are `at` these places, the states
    that enter at those of `entered`."""
    projected, _, _, weights, bias, outputs, previous = tables[:7]
    sums = [
        [
            m.variable(projected.vector(3 * a + unit)),
            m.variable(projected.vector(3 * a + unit + hidden)),
            m.variable(bias.vector(unit)),
        ]
        for a in at
    ]
    _multiply(m, weights, unit * (3 * hidden), hidden, previous, entered, sums)
    for a, e, (sum_r, sum_z, sum_n) in zip(at, entered, sums, strict=True):
        r, z, hn = m.sigmoid(sum_r.value), m.sigmoid(sum_z.value), sum_n.value
        n = m.tanh(r * hn + projected.vector(3 * a + unit + 2 * hidden))
        outputs.store(a + unit, n + z * (previous.vector(e + unit) - n))
        if len(tables) > 7:  # it records
            candidates, gates = tables[7:]
            candidates.store(a + unit, n)
            for i, gate in enumerate((r, z, hn)):
                gates.store(3 * a + unit + i * hidden, gate)


def _emit_backward(m: Kernel, hidden: int) -> None:
    """The function of (gradients of the outputs [T, B, H], keep [T, B], weights [H / width, 3H, width] whose
    rows are those of n, r and z, previous [T, B, H], candidates [T, B, H], gates [T, B, 3H], gradients
    [T, B, 4, H], gradient of the state [B, H], zeros before).

    Its gradients are those of W_hn h + b_hn, of the pre-activations of r and z, and of W_in x + b_in.
    """
    width = block_width(hidden, m.lanes)

    def body(
        tables: Sequence[Floats], numbers: Sequence[IndexValue], first: IndexValue, last: IndexValue
    ) -> None:
        _, keep, weights, *_, gradients, carried = tables
        steps, batch = numbers
        for done in m.loop(steps):
            t = IndexValue(m, m.builder.sub(m.before(steps).code, done.code))
            step = t * batch
            for row in m.loop(last, first):
                for unit in m.loop(hidden, step=m.lanes):
                    _differentiate(m, hidden, tables, step + row, row, unit)
            for unit in m.loop(hidden, step=width):
                for row, size in m.blocks(first, last, block_sizes(m.lanes)):
                    rows = [row + i for i in range(size)]
                    places = [
                        [r * hidden + unit + i for i in range(0, width, m.lanes)] for r in rows
                    ]
                    sums = [[m.variable(carried.vector(p)) for p in some] for some in places]
                    at = [(step + r) * (4 * hidden) for r in rows]
                    _multiply(m, weights, unit * (3 * hidden), 3 * hidden, gradients, at, sums)
                    for r, some, own in zip(rows, places, sums, strict=True):
                        kept = keep.number(step + r)
                        for p, total in zip(some, own, strict=True):
                            carried.store(p, total.value * kept)

    m.function(BACKWARD, 8, 1, body)


def _differentiate(
    m: Kernel,
    hidden: int,
    tables: Sequence[Floats],
    sample: IndexValue,
    row: IndexValue,
    unit: IndexValue,
) -> None:
    """Gradients of one vector of units, from that of their output; `carried` becomes the part of the state's
    gradient that does not pass the weights."""
    outer, _, _, previous, candidates, gates, gradients, carried = tables
    at, place = sample * hidden + unit, row * hidden + unit
    dh: Value = outer.vector(at) + carried.vector(place)
    r, z, hn = (gates.vector(sample * (3 * hidden) + unit + i * hidden) for i in range(3))
    n = candidates.vector(at)
    d_n = dh * (1.0 - z) * (1.0 - n * n)
    d_hn = d_n * r
    d_r = d_hn * (1.0 - r) * hn
    d_z = dh * (previous.vector(at) - n) * (z - z * z)
    for i, gradient in enumerate((d_hn, d_r, d_z, d_n)):
        gradients.store(sample * (4 * hidden) + unit + i * hidden, gradient)
    carried.store(place, dh * z)


def _multiply(
    m: Kernel,
    weights: Floats,
    start: IndexValue,
    length: int,
    vectors: Floats,
    at: Sequence[IndexValue],
    sums: Sequence[Sequence[StackVariable]],
) -> None:
    """Add to each vector's sums its product with the weights from `start` on, [length, sums, lanes]."""
    width = len(sums[0])
    for k in m.loop(length):
        place = start + k * (width * m.lanes)
        columns = [weights.vector(place + i * m.lanes) for i in range(width)]
        for a, own in zip(at, sums, strict=True):
            number = vectors.number(a + k)
            for total, column in zip(own, columns, strict=True):
                total.value = number * column + total.value
