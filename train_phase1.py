#!/usr/bin/env python3
"""Train a recurrent locomotion policy: python train_phase1.py --config configs/phase1_quickstart.yaml"""

from legged_ppo.cli.train import main

if __name__ == "__main__":
    raise SystemExit(main())
