"""LLVM IR of a GRU's recurrence, forward and backward.

A thread takes some sequences through all steps. In each step it multiplies a block of them by the recurrent
weights, `lanes` hidden units of all three gates at a time, and applies the gates to the sums while they are in
registers. The sums of a sequence are in the same order whatever block it is in, so its bits do not depend on
the number of threads or on its neighbours.

Tables are row by row, with T steps, B sequences and H hidden units as in `models/gru.py`. Where the policy
commutes with the mirror (`models/halves.py`), the H units are P = 2 parts of H / 2: states, outputs, products and
their gradients have the even part before the odd one, each multiplied by weights of its own; in the gates, which
are not linear, the parts are the units of either side. Otherwise P is 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import llvmlite.ir as ir

from legged_ppo.runtime.lanes.kernel import Floats, Kernel, halved, mixed
from legged_ppo.runtime.lanes.values import F32, IndexValue, StackVariable, Value

FORWARD, RECORD, BACKWARD = "gru_forward", "gru_record", "gru_backward"
"""Names of the functions: without and with what the backward pass reads."""


def emit_gru(m: Kernel, hidden: int, parts: int) -> None:
    """Add the three functions for `hidden` units in `parts` parts, a multiple of the lanes each."""
    _emit_forward(m, hidden, parts, record=False)
    _emit_forward(m, hidden, parts, record=True)
    _emit_backward(m, hidden, parts)


def block_sizes(lanes: int, parts: int) -> list[int]:
    """Sequences that are multiplied together: their sums, three vectors of each part, fill the registers."""
    largest = (8 if lanes == 16 else 4) // parts
    return [size for size in (8, 4, 2, 1) if size <= largest]


def block_width(units: int, lanes: int) -> int:
    """Hidden units of a part that the backward pass sums at a time."""
    return next(n * lanes for n in (3, 2, 1) if units % (n * lanes) == 0)


def _emit_forward(m: Kernel, hidden: int, parts: int, record: bool) -> None:
    """The function of (projected [T, B, P, 3, H / P], state [B, H], keep [T, B], weights [H / P / lanes, P, H /
    P, 3, lanes], bias_n [H / P], outputs [T, B, H], previous), and where it records candidates [T, B, P, H / P]
    and gates [T, B, P, 3, H / P].

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
            for unit in m.loop(hidden // parts, step=m.lanes):
                for row, size in m.blocks(first, last, block_sizes(m.lanes, parts)):
                    rows = [row + i for i in range(size)]
                    at = [(step + r) * hidden for r in rows]
                    entered = [(entering + r) * hidden for r in rows]
                    _advance(m, (hidden, parts), tables, unit, at, entered)

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
    skipped = builder.select(begin, ir.Constant(t.code.type, 0), ((t - 1) * batch).code)
    for row in m.loop(rows[1], rows[0]):
        kept = keep.number(t * batch + row)
        for unit in m.loop(hidden, step=m.lanes):
            value = before.vector((IndexValue(m, skipped) + row) * hidden + unit)
            previous.store((entering + row) * hidden + unit, value * kept)


def _advance(
    m: Kernel,
    sizes: tuple[int, int],
    tables: Sequence[Floats],
    unit: IndexValue,
    at: Sequence[IndexValue],
    entered: Sequence[IndexValue],
) -> None:
    """One step of a block of sequences, for one vector of units of each part: their outputs are `at` these
    places, the states that enter at those of `entered`."""
    projected, _, _, weights, bias, outputs, previous = tables[:7]
    hidden, parts = sizes
    units = hidden // parts
    sums = []
    for part in range(parts):
        own = [
            [
                m.variable(projected.vector(3 * a + (3 * part + gate) * units + unit))
                for gate in (0, 1)
            ]
            + [m.variable(bias.vector(unit) if part == 0 else m.splat(F32(0.0)))]
            for a in at
        ]
        start = unit * (3 * hidden) + part * (3 * units * m.lanes)
        entering = [e + part * units for e in entered]
        _multiply(m, weights, start, units, previous, entering, own)
        sums.append(own)
    for i, (a, e) in enumerate(zip(at, entered, strict=True)):
        gates = [mixed([part[i][gate].value for part in sums]) for gate in range(3)]
        inputs = mixed(
            [projected.vector(3 * a + (3 * part + 2) * units + unit) for part in range(parts)]
        )
        before = mixed([previous.vector(e + part * units + unit) for part in range(parts)])
        after = []
        for side in range(parts):
            r, z, hn = m.sigmoid(gates[0][side]), m.sigmoid(gates[1][side]), gates[2][side]
            n = m.tanh(r * hn + inputs[side])
            after.append(n + z * (before[side] - n))
            if len(tables) > 7:  # it records
                candidates, kept = tables[7:]
                candidates.store(a + side * units + unit, n)
                for gate, value in enumerate((r, z, hn)):
                    kept.store(3 * a + (3 * side + gate) * units + unit, value)
        for part, value in enumerate(halved(after)):
            outputs.store(a + part * units + unit, value)


def _emit_backward(m: Kernel, hidden: int, parts: int) -> None:
    """The function of (gradients of the outputs [T, B, H], keep [T, B], weights [P, H / P / width, 3 H / P,
    width] whose rows are those of n, r and z, previous [T, B, H], candidates [T, B, P, H / P], gates [T, B, P,
    3, H / P], gradients [T, B, P, 4, H / P], gradient of the state [B, H], zeros before).

    Its gradients are those of W_hn h + b_hn, of the pre-activations of r and z, and of W_in x + b_in.
    """
    units = hidden // parts
    width = block_width(units, m.lanes)

    def body(
        tables: Sequence[Floats], numbers: Sequence[IndexValue], first: IndexValue, last: IndexValue
    ) -> None:
        steps, batch = numbers
        for done in m.loop(steps):
            t = steps - 1 - done
            step = t * batch
            for row in m.loop(last, first):
                for unit in m.loop(units, step=m.lanes):
                    _differentiate(m, (hidden, parts), tables, step + row, row, unit)
            for part in range(parts):
                for unit in m.loop(units, step=width):
                    for row, size in m.blocks(first, last, block_sizes(m.lanes, 1)):
                        rows = [row + i for i in range(size)]
                        _carry(m, (hidden, parts), tables, step, rows, part, unit)

    m.function(BACKWARD, 8, 1, body)


def _carry(
    m: Kernel,
    sizes: tuple[int, int],
    tables: Sequence[Floats],
    step: IndexValue,
    rows: Sequence[IndexValue],
    part: int,
    unit: IndexValue,
) -> None:
    """Add to the state's gradient what passes the weights, for a few vectors of a part's units of some
    sequences."""
    _, keep, weights, *_, gradients, carried = tables
    hidden, parts = sizes
    units = hidden // parts
    width = block_width(units, m.lanes)
    own = part * units
    places = [[r * hidden + own + unit + i for i in range(0, width, m.lanes)] for r in rows]
    sums = [[m.variable(carried.vector(p)) for p in some] for some in places]
    at = [(step + r) * (4 * hidden) + 4 * own for r in rows]
    _multiply(m, weights, unit * (3 * units) + own * (3 * units), 3 * units, gradients, at, sums)
    for r, some, totals in zip(rows, places, sums, strict=True):
        kept = keep.number(step + r)
        for p, total in zip(some, totals, strict=True):
            carried.store(p, total.value * kept)


def _differentiate(
    m: Kernel,
    sizes: tuple[int, int],
    tables: Sequence[Floats],
    sample: IndexValue,
    row: IndexValue,
    unit: IndexValue,
) -> None:
    """Gradients of one vector of units of each part, from those of their outputs; `carried` becomes the part of
    the state's gradient that does not pass the weights."""
    outer, _, _, previous, candidates, gates, gradients, carried = tables
    hidden, parts = sizes
    units = hidden // parts
    at, place = sample * hidden + unit, row * hidden + unit
    own = [part * units for part in range(parts)]
    d_outputs = halved([outer.vector(at + o) + carried.vector(place + o) for o in own])
    before = mixed([previous.vector(at + o) for o in own])
    found: list[list[Value]] = []
    direct = []
    for o, dh, h in zip(own, d_outputs, before, strict=True):
        gate = sample * (3 * hidden) + 3 * o + unit
        r, z, hn = (gates.vector(gate + i * units) for i in range(3))
        n = candidates.vector(at + o)
        d_n = dh * (1.0 - z) * (1.0 - n * n)
        d_hn = d_n * r
        d_r = d_hn * (1.0 - r) * hn
        d_z = dh * (h - n) * (z - z * z)
        found.append([d_hn, d_r, d_z, d_n])
        direct.append(dh * z)
    for i, sides in enumerate(zip(*found, strict=True)):
        for o, gradient in zip(own, mixed(sides), strict=True):
            gradients.store(sample * (4 * hidden) + 4 * o + i * units + unit, gradient)
    for o, value in zip(own, mixed(direct), strict=True):
        carried.store(place + o, value)


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
