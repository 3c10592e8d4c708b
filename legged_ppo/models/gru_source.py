"""C++ of a GRU's recurrence for a GPU, forward and backward; `gru_plan.py` puts the numbers in.

A block of threads takes `SEQUENCES` sequences through all steps. The recurrent weights stay in its threads'
registers. Each step has two stages, after which the threads wait for each other: the product of the state with
the weights, and the gates. A thread multiplies a stretch of the entering state by the weights of one unit
(backward: of two); the sums of all stretches are added up where the gates are applied.

Tables are row by row, with T steps, B sequences and H hidden units as in `models/gru.py`. Where the layer
commutes with the mirror, which exchanges the first half of the units with the second (`models/halves.py`), each
gate's weights are [[A, B], [B, A]]. The state is then split into even and odd parts, which are multiplied by A
+ B and by A - B: half the products and half the registers. Tables are the same in either case.

For a CPU the same text compiles to loops over the threads of a block, which the tests run; there the threads of
a stage come one after the other, in either order, and must give the same bits.
"""

from __future__ import annotations

BLOCK = """
#ifdef __CUDA_ARCH__
#define CONSTANT(entry) __ldg(&(entry))
#define SHARED __shared__ alignas(16)
#define EACH_THREAD for (int thread = threadIdx.x, once = 1; once; once = 0, __syncthreads())
#define OWN 0
#define OWNERS 1
#define UNROLL _Pragma("unroll")
#define UNROLL_SLOTS _Pragma("unroll SLOTS")
const int block = blockIdx.x;
#else
#define CONSTANT(entry) (entry)
#define SHARED alignas(16)
#define EACH_THREAD for (int i = 0, thread; thread = DESCENDING ? THREADS - 1 - i : i, i < THREADS; ++i)
#define OWN thread
#define OWNERS THREADS
#define UNROLL
#define UNROLL_SLOTS
const int block = robot;
#endif
// An item is a unit of a sequence of the tile, together with its mirror image where there are parts. What it
// needs is read ahead of the product where registers are free for it, else for two items at a time.
#define ITEMS ((SEQUENCES * UNITS + THREADS - 1) / THREADS)
#define SLOTS (AHEAD ? ITEMS : 2)
#define SLOT (place % SLOTS)
#define EACH_ITEM \\
    UNROLL_SLOTS for (int place = 0; place < ITEMS; ++place) \\
        if (const int item = place * THREADS + thread; item < SEQUENCES * UNITS)
#define ITEM \\
    const int sequence = item / UNITS, unit = item % UNITS, row = tile * SEQUENCES + sequence; \\
    const bool exists = row < batch;
#define EACH_SIDE UNROLL for (int side = 0; side < PARTS; ++side)

struct alignas(16) Four { float a, b, c, d; };
struct Sides { float of[PARTS]; };
struct Block {
    // Numbers of either side of the mirror as their even and odd parts, and back.
    static CUDA_CALLABLE Sides split(Sides x) {
        if (PARTS == 1) return x;
        Sides y;
        y.of[0] = 0.5f * (x.of[0] + x.of[PARTS - 1]);
        y.of[PARTS - 1] = 0.5f * (x.of[0] - x.of[PARTS - 1]);
        return y;
    }
    static CUDA_CALLABLE Sides mixed(Sides x) {
        if (PARTS == 1) return x;
        Sides y;
        y.of[0] = x.of[0] + x.of[PARTS - 1];
        y.of[PARTS - 1] = x.of[0] - x.of[PARTS - 1];
        return y;
    }
    // A weight of a part, from that of the first side and the one UNITS columns further.
    static CUDA_CALLABLE float weight(float own, float other, int part) {
        if (PARTS == 1) return own;
        return part == 0 ? own + other : own - other;
    }
    static CUDA_CALLABLE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
    static CUDA_CALLABLE float dot(const float* weights, Four x, float sum) {
        sum = fmaf(weights[0], x.a, sum);
        sum = fmaf(weights[1], x.b, sum);
        sum = fmaf(weights[2], x.c, sum);
        return fmaf(weights[3], x.d, sum);
    }
    // The sum of all groups' sums.
    static CUDA_CALLABLE float total(const float* sums, int stride) {
        float sum = sums[0];
        UNROLL for (int group = 1; group < GROUPS; ++group) sum += sums[group * stride];
        return sum;
    }
};
"""

FORWARD = """
#define DEPTH (UNITS / GROUPS)
#define AHEAD (3 * DEPTH <= 144)
#define READ(time) \\
    if (exists) { \\
        const long long sample = (long long)(time) * batch + row; \\
        kept[OWN][SLOT] = (time) + 1 < steps ? CONSTANT(keep[sample + batch]) : 0.0f; \\
        EACH_SIDE UNROLL for (int gate = 0; gate < 3; ++gate) \\
            read[OWN][(SLOT * PARTS + side) * 3 + gate] = CONSTANT( \\
                projected[(sample * 3 + gate) * HIDDEN + side * UNITS + unit]); \\
    }
const float* const projected = (const float*)pointers[0];
const float* const state = (const float*)pointers[1];
const float* const keep = (const float*)pointers[2];
const float* const weight_hh = (const float*)pointers[3];
const float* const bias_n = (const float*)pointers[4];
float* const outputs = (float*)pointers[5];
#if RECORD
float* const previous = (float*)pointers[6];
float* const candidates = (float*)pointers[7];
float* const gates = (float*)pointers[8];
#endif
const int steps = (int)pointers[6 + 3 * RECORD], batch = (int)pointers[7 + 3 * RECORD];
const int blocks = (int)pointers[8 + 3 * RECORD];

if (block * SEQUENCES >= batch) return;
SHARED float entered[SEQUENCES * HIDDEN];  // the state of each side
#if PARTS == 2
SHARED float operand[SEQUENCES * HIDDEN];  // its parts
#else
float* const operand = entered;
#endif
SHARED float sums[GROUPS * 3 * SEQUENCES * HIDDEN];
alignas(16) float weights[OWNERS][3 * DEPTH];
float read[OWNERS][SLOTS * PARTS * 3], kept[OWNERS][SLOTS];  // for an item of a step

EACH_THREAD {
    const int column = thread % HIDDEN, group = thread / HIDDEN;
    const int part = column / UNITS, unit = column % UNITS;
    UNROLL for (int gate = 0; gate < 3; ++gate) {
        const float* const at = weight_hh + (gate * HIDDEN + unit) * HIDDEN + group * DEPTH;
        float* const own = weights[OWN] + gate * DEPTH;
        UNROLL for (int k = 0; k < DEPTH; k += 4) {
            // Four at a time, because the rows of a warp's threads lie apart.
            const Four first = *(const Four*)(at + k);
            const Four second = *(const Four*)(at + k + (PARTS - 1) * UNITS);
            own[k] = Block::weight(first.a, second.a, part);
            own[k + 1] = Block::weight(first.b, second.b, part);
            own[k + 2] = Block::weight(first.c, second.c, part);
            own[k + 3] = Block::weight(first.d, second.d, part);
        }
    }
}
for (int tile = block; tile * SEQUENCES < batch; tile += blocks) {
    EACH_THREAD EACH_ITEM {
        ITEM
        Sides h;
        EACH_SIDE {
            const int at = row * HIDDEN + side * UNITS + unit;
            h.of[side] = exists ? CONSTANT(state[at]) * CONSTANT(keep[row]) : 0.0f;
#if RECORD
            if (exists) previous[at] = h.of[side];
#endif
            entered[sequence * HIDDEN + side * UNITS + unit] = h.of[side];
        }
        h = Block::split(h);
        EACH_SIDE operand[sequence * HIDDEN + side * UNITS + unit] = h.of[side];
    }
    for (int t = 0; t < steps; ++t) {
        EACH_THREAD {
#if AHEAD
            EACH_ITEM { ITEM READ(t) }
#endif
            const int column = thread % HIDDEN, group = thread / HIDDEN;
            const float* const from = operand + column / UNITS * UNITS + group * DEPTH;
            float own[3 * SEQUENCES];
            UNROLL for (int i = 0; i < 3 * SEQUENCES; ++i) own[i] = 0.0f;
            UNROLL for (int k = 0; k < DEPTH; k += 4) {
                UNROLL for (int s = 0; s < SEQUENCES; ++s) {
                    const Four h = *(const Four*)(from + s * HIDDEN + k);
                    UNROLL for (int gate = 0; gate < 3; ++gate) {
                        float& sum = own[gate * SEQUENCES + s];
                        sum = Block::dot(weights[OWN] + gate * DEPTH + k, h, sum);
                    }
                }
            }
            UNROLL for (int i = 0; i < 3 * SEQUENCES; ++i)
                sums[(group * 3 * SEQUENCES + i) * HIDDEN + column] = own[i];
        }
        EACH_THREAD {
            EACH_ITEM {
                ITEM
#if !AHEAD
                READ(t)
#endif
                const long long sample = (long long)t * batch + row;
                Sides products[3], entering;
                UNROLL for (int gate = 0; gate < 3; ++gate) {
                    EACH_SIDE {
                        const int at = (gate * SEQUENCES + sequence) * HIDDEN + side * UNITS + unit;
                        products[gate].of[side] = Block::total(sums + at, 3 * SEQUENCES * HIDDEN);
                    }
                    products[gate] = Block::mixed(products[gate]);
                }
                EACH_SIDE entering.of[side] = 0.0f;
                if (exists) EACH_SIDE {
                    const int own = side * UNITS + unit;
                    const float* const in = read[OWN] + (SLOT * PARTS + side) * 3;
                    const float h = entered[sequence * HIDDEN + own];
                    const float r = Block::sigmoid(in[0] + products[0].of[side]);
                    const float z = Block::sigmoid(in[1] + products[1].of[side]);
                    const float hn = products[2].of[side] + CONSTANT(bias_n[own]);
                    const float n = tanhf(fmaf(r, hn, in[2]));
                    const float after = fmaf(z, h - n, n);
                    entering.of[side] = after * kept[OWN][SLOT];
                    outputs[sample * HIDDEN + own] = after;
#if RECORD
                    float* const gate = gates + sample * (3 * HIDDEN) + own;
                    gate[0] = r;
                    gate[HIDDEN] = z;
                    gate[2 * HIDDEN] = hn;
                    candidates[sample * HIDDEN + own] = n;
                    if (t + 1 < steps)
                        previous[(sample + batch) * HIDDEN + own] = entering.of[side];
#endif
                    entered[sequence * HIDDEN + own] = entering.of[side];
                }
                entering = Block::split(entering);
                EACH_SIDE operand[sequence * HIDDEN + side * UNITS + unit] = entering.of[side];
            }
        }
    }
}
"""

BACKWARD = """
#define ROWS (3 * UNITS)
#define DEPTH (UNITS / GROUPS)
#define COLUMNS (UNITS / OUTPUTS)
#define AHEAD (OUTPUTS * 3 * DEPTH <= 96)
#define READ(time) \\
    if (exists && (time) >= 0) { \\
        const long long sample = (long long)(time) * batch + row; \\
        kept[OWN][SLOT] = (time) + 1 < steps ? CONSTANT(keep[sample + batch]) : 0.0f; \\
        EACH_SIDE { \\
            const long long at = sample * HIDDEN + side * UNITS + unit; \\
            float* const into = read[OWN] + (SLOT * PARTS + side) * 6; \\
            UNROLL for (int gate = 0; gate < 3; ++gate) \\
                into[gate] = CONSTANT(gates[at + (2 * sample + gate) * HIDDEN]); \\
            into[3] = CONSTANT(candidates[at]); \\
            into[4] = CONSTANT(previous[at]); \\
            into[5] = CONSTANT(grad_outputs[at]); \\
        } \\
    }
// The gradient of the state that entered the step before.
#define CARRIED \\
    Sides carried; \\
    EACH_SIDE { \\
        const int at = sequence * HIDDEN + side * UNITS + unit; \\
        carried.of[side] = Block::total(sums + at, SEQUENCES * HIDDEN); \\
    } \\
    carried = Block::mixed(carried); \\
    EACH_SIDE carried.of[side] += direct[sequence * HIDDEN + side * UNITS + unit];
const float* const grad_outputs = (const float*)pointers[0];
const float* const keep = (const float*)pointers[1];
const float* const weight_hh = (const float*)pointers[2];
const float* const previous = (const float*)pointers[3];
const float* const candidates = (const float*)pointers[4];
const float* const gates = (const float*)pointers[5];
float* const gradients = (float*)pointers[6];
float* const d_state = (float*)pointers[7];
const int steps = (int)pointers[8], batch = (int)pointers[9], blocks = (int)pointers[10];

if (block * SEQUENCES >= batch) return;
SHARED float operand[SEQUENCES * PARTS * ROWS];  // gradients of hn, r, z in parts
SHARED float sums[GROUPS * SEQUENCES * HIDDEN];
SHARED float direct[SEQUENCES * HIDDEN];  // what passes z alone
alignas(16) float weights[OWNERS][OUTPUTS * 3 * DEPTH];
float read[OWNERS][SLOTS * PARTS * 6], kept[OWNERS][SLOTS];  // for an item of a step

EACH_THREAD {
    const int column = thread % (HIDDEN / OUTPUTS), group = thread / (HIDDEN / OUTPUTS);
    const int part = column / COLUMNS, unit = column % COLUMNS;
    const float* const at = weight_hh + group * DEPTH * HIDDEN + unit;
    UNROLL for (int i = 0; i < OUTPUTS * 3; ++i)
        UNROLL for (int k = 0; k < DEPTH; ++k) {
            // Products are with the gradients of hn, r and z; the rows of the weights are r, z and n.
            const int entry = ((i + 2) % 3 * HIDDEN + k) * HIDDEN + i / 3 * COLUMNS;
            const float own = CONSTANT(at[entry]), other = CONSTANT(at[entry + (PARTS - 1) * UNITS]);
            weights[OWN][i * DEPTH + k] = Block::weight(own, other, part);
        }
}
for (int tile = block; tile * SEQUENCES < batch; tile += blocks) {
    EACH_THREAD {
#if AHEAD
        EACH_ITEM { ITEM READ(steps - 1) }
#endif
        EACH_ITEM {
            ITEM
            (void)exists;
            EACH_SIDE {
                const int at = sequence * HIDDEN + side * UNITS + unit;
                direct[at] = 0.0f;
                UNROLL for (int group = 0; group < GROUPS; ++group)
                    sums[group * SEQUENCES * HIDDEN + at] = 0.0f;
            }
        }
    }
    for (int t = steps - 1; t >= 0; --t) {
        EACH_THREAD {
            EACH_ITEM {
                ITEM
#if !AHEAD
                READ(t)
#endif
                const long long sample = (long long)t * batch + row;
                CARRIED
                Sides found[3];
                EACH_SIDE found[0].of[side] = found[1].of[side] = found[2].of[side] = 0.0f;
                if (exists) EACH_SIDE {
                    const int own = side * UNITS + unit;
                    const float* const in = read[OWN] + (SLOT * PARTS + side) * 6;
                    const float r = in[0], z = in[1], hn = in[2], n = in[3], h = in[4];
                    const float dh = fmaf(carried.of[side], kept[OWN][SLOT], in[5]);
                    const float d_n = dh * ((1.0f - z) * (1.0f - n * n));
                    const float d_hn = d_n * r;
                    const float d_r = d_hn * ((1.0f - r) * hn);
                    const float d_z = dh * ((h - n) * (z - z * z));
                    float* const gradient = gradients + sample * (4 * HIDDEN) + own;
                    gradient[0] = found[0].of[side] = d_hn;
                    gradient[HIDDEN] = found[1].of[side] = d_r;
                    gradient[2 * HIDDEN] = found[2].of[side] = d_z;
                    gradient[3 * HIDDEN] = d_n;
                    direct[sequence * HIDDEN + own] = dh * z;
                }
                UNROLL for (int gate = 0; gate < 3; ++gate) {
                    const Sides halves = Block::split(found[gate]);
                    EACH_SIDE {
                        const int at = (sequence * PARTS + side) * ROWS + gate * UNITS + unit;
                        operand[at] = halves.of[side];
                    }
                }
            }
        }
        EACH_THREAD {
#if AHEAD
            EACH_ITEM { ITEM READ(t - 1) }
#endif
            const int column = thread % (HIDDEN / OUTPUTS), group = thread / (HIDDEN / OUTPUTS);
            const int part = column / COLUMNS, unit = column % COLUMNS;
            const float* const from = operand + part * ROWS + group * DEPTH;
            float own[OUTPUTS * SEQUENCES];
            UNROLL for (int i = 0; i < OUTPUTS * SEQUENCES; ++i) own[i] = 0.0f;
            UNROLL for (int gate = 0; gate < 3; ++gate) {
                UNROLL for (int k = 0; k < DEPTH; k += 4) {
                    UNROLL for (int s = 0; s < SEQUENCES; ++s) {
                        const int at = s * PARTS * ROWS + gate * UNITS + k;
                        const Four gradient = *(const Four*)(from + at);
                        UNROLL for (int i = 0; i < OUTPUTS; ++i) {
                            float& sum = own[i * SEQUENCES + s];
                            const int entry = (i * 3 + gate) * DEPTH + k;
                            sum = Block::dot(weights[OWN] + entry, gradient, sum);
                        }
                    }
                }
            }
            UNROLL for (int i = 0; i < OUTPUTS; ++i)
                UNROLL for (int s = 0; s < SEQUENCES; ++s) {
                    const int at = (group * SEQUENCES + s) * HIDDEN + part * UNITS;
                    sums[at + i * COLUMNS + unit] = own[i * SEQUENCES + s];
                }
        }
    }
    EACH_THREAD EACH_ITEM {
        ITEM
        CARRIED
        if (exists) EACH_SIDE
            d_state[row * HIDDEN + side * UNITS + unit] = carried.of[side] * CONSTANT(keep[row]);
    }
}
"""
