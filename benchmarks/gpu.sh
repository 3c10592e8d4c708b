#!/usr/bin/env bash
# All measurements on one GPU, in under 10 minutes: benchmarks/gpu.sh [DEVICE] [FOLDER]
# The recipe for rough terrain with the network and update of the usual comparisons (GRU 256, 24 steps,
# 5 epochs of 4 minibatches), on the full grid of tiles and on a plane, and on the grid once more without CUDA
# graphs; there with a GRU of 128 too, the widest that has kernels, with and without them; the update against
# rsl_rl's where that is installed; the ways to run a GRU. Kernels are compiled first, on all cores, so that no timed
# row waits for a compiler. Each part has its time and may fail by itself; what there is in the end is printed.
# FOLDER is $OUT where that is set, else logs/benchmarks.
set -uo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
device=${1:-cuda:0}
out=${2:-${OUT:-logs/benchmarks}}
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
mkdir -p "$out" || exit 1
rm -f "$out"/throughput_{full,flat,launched,fused,operators}.{json,txt} "$out"/learner.{json,txt}
rm -f "$out"/{compile,gru,table}.txt
trap '"$python" benchmarks/gpu_table.py "$out" | tee "$out/table.txt"' EXIT

part() { # SECONDS NAME SCRIPT ARGUMENTS...
    local seconds=$1 name=$2 code
    shift 2
    echo "$(date +%T) $name"
    timeout --kill-after=5 "$seconds" "$python" "$@" >"$out/$name.txt" 2>&1
    code=$?
    case $code in
        0) ;;
        124 | 137) echo "$name: stopped after $seconds s" ;;
        *) echo "$name: exit code $code, see $out/$name.txt" ;;
    esac
}

usual=(ppo.rollout_length=24 ppo.bptt_length=24 ppo.num_epochs=5 ppo.num_minibatches=4 ppo.precision=tf32
    policy.gru_hidden=256 "policy.actor_hidden=[128,64]" training.wandb=disabled training.cuda_graphs=true
    sim.contacts=56 sim.constraints=224 sim.convex_pairs=24) # given, so that no time goes into measuring them
throughput() { # SECONDS NAME SIZES OVERRIDES...; the size that is asked for first, should the time run out
    local seconds=$1 name=throughput_$2 sizes=$3
    shift 3
    part "$seconds" "$name" benchmarks/throughput.py --config configs/phase1_fast.yaml \
        --device "$device" --envs "$sizes" --timeout 75 --rounds 3 --iterations 4 --warmup 6 \
        --json "$out/$name.json" "${usual[@]}" "$@"
}
part 105 compile benchmarks/compile_kernels.py --terrains full,flat --envs 2,8192,4096,16384
throughput 150 full 8192,4096,16384 terrain=full
throughput 85 flat 8192,4096 terrain=flat
throughput 45 launched 8192 terrain=full training.cuda_graphs=false
throughput 40 fused 8192 terrain=full policy.gru_hidden=128
throughput 40 operators 8192 terrain=full policy.gru_hidden=128 training.fused_gru=false
if "$python" -c "import rsl_rl, tensordict" 2>/dev/null; then
    part 60 learner benchmarks/learner.py --device "$device" --json "$out/learner.json"
else
    echo "learner: rsl_rl is not installed (pip install -c constraints.txt -e '.[rsl-rl]')"
fi
part 60 gru benchmarks/gru.py --device "$device" --batch 1024 2048 --hidden 128 256 --reset-rate 0.002
