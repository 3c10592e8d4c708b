#!/usr/bin/env bash
# What phase1_fast learns on one GPU: benchmarks/gpu_learning.sh [DEVICE] [OVERRIDE...]
# Trains with +preset=gpu, and prints the training time and 256 episodes each on stairs and curbs of 16 cm and on
# slopes of 20 degrees (level 7 of its ground), for which 10 minutes are the goal. More overrides change the training.
set -euo pipefail
cd "$(dirname "$0")/.."
device=${1:-cuda:0}
shift || true
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
"$python" train_phase1.py --config configs/phase1_fast.yaml --device "$device" +preset=gpu \
    training.report=false training.wandb=disabled "$@"
run=$(dirname "$(readlink -f logs/checkpoints)")
grep -E "env_steps|train_wall_time_s|mean_fps" "$run/summary.json"
for terrain in stairs_up stairs_down slope_up slope_down curbs; do
    "$python" evaluate.py --checkpoint "$run/checkpoints/phase1_best.pth" --device "$device" \
        --terrain "$terrain" --level 7 --envs 256 | grep "$terrain 7"
done
