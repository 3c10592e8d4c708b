#!/usr/bin/env bash
# What phase1_fast learns on one GPU: benchmarks/gpu_learning.sh [DEVICE] [OVERRIDE...]
# Trains with +preset=gpu in the background, and prints the training time and 256 episodes each on stairs and curbs of
# 16 cm and on slopes of 20 degrees (level 7 of its ground), for which 10 minutes are the goal. More overrides change
# the training. Returns after LIMIT seconds (540) at the latest; called again, it waits for the training that is under
# way. Its files are in FOLDER ($OUT/learning where OUT is set, else logs/benchmarks/learning); remove it to begin anew.
set -euo pipefail
cd "$(dirname "$0")/.."
device=${1:-cuda:0}
shift || true
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
folder=${FOLDER:-${OUT:-logs/benchmarks}/learning}
mkdir -p "$folder"
if [ ! -f "$folder/pid" ]; then
    setsid nohup "$python" train_phase1.py --config configs/phase1_fast.yaml --device "$device" +preset=gpu \
        training.evaluation_freq=250_000_000 training.report=false training.wandb=disabled \
        training.log_dir="$folder/logs" "$@" >"$folder/train.txt" 2>&1 </dev/null &
    echo $! >"$folder/pid"
fi
timeout "${LIMIT:-540}" tail -f --pid="$(cat "$folder/pid")" /dev/null || true
tail -n 30 "$folder/train.txt"
if kill -0 "$(cat "$folder/pid")" 2>/dev/null; then
    echo "still training: call this again"
    exit 0
fi
run=$(dirname "$(readlink -f "$folder/logs/checkpoints")")
grep -E "env_steps|train_wall_time_s|mean_fps" "$run/summary.json"
for terrain in stairs_up stairs_down slope_up slope_down curbs; do
    "$python" evaluate.py --checkpoint "$run/checkpoints/phase1_best.pth" --device "$device" \
        --terrain "$terrain" --level 7 --envs 256 | grep "$terrain 7"
done
