#!/usr/bin/env python3
"""Distil a policy into a student: python train_phase2.py --config phase2_monolithic --teacher PATH"""

from legged_ppo.cli.train_phase2 import main

if __name__ == "__main__":
    raise SystemExit(main())
