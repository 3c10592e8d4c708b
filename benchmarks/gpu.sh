#!/usr/bin/env bash
# All measurements on one GPU, in a few minutes: benchmarks/gpu.sh [DEVICE] [FOLDER]
# The recipe for rough terrain with the network and update of the usual comparisons (GRU 256, 24 steps,
# 5 epochs of 4 minibatches), on the full grid of tiles and on a plane.
set -euo pipefail
cd "$(dirname "$0")/.."
device=${1:-cuda:0}
out=${2:-logs/benchmarks}
python=$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)
mkdir -p "$out"
usual=(ppo.rollout_length=24 ppo.bptt_length=24 ppo.num_epochs=5 ppo.num_minibatches=4
    policy.gru_hidden=256 "policy.actor_hidden=[128,64]" training.wandb=disabled)
for terrain in full flat; do
    "$python" benchmarks/throughput.py --config configs/phase1_fast.yaml --device "$device" \
        --envs 1024,2048,4096,8192,16384 --rounds 3 --iterations 4 --warmup 10 \
        --json "$out/throughput_$terrain.json" "terrain=$terrain" "${usual[@]}" \
        >"$out/throughput_$terrain.txt"
done
"$python" benchmarks/gru.py --device "$device" --batch 1024 4096 16384 --compile >"$out/gru.txt" || echo "benchmarks/gru.py failed"
"$python" - "$out" <<'PYTHON'
import json
import pathlib
import sys

columns = ("num_envs", "end_to_end_fps", "physics_fps", "env_fps", "collection_s", "learning_s",
           "device_memory_gb", "startup_s")
for terrain in ("flat", "full"):
    rows = json.loads((pathlib.Path(sys.argv[1]) / f"throughput_{terrain}.json").read_text())
    print(f"\n{terrain}: {rows[0]['device']}, torch {rows[0]['torch']}")
    print("  ".join(f"{name:>16}" for name in columns))
    for row in rows:
        print("  ".join(f"{row.get(name, float('nan')):16,.3f}" for name in columns))
PYTHON
cat "$out/gru.txt"
