#!/usr/bin/env python3
"""Evaluate a trained policy per terrain: python evaluate.py --checkpoint latest"""

from legged_ppo.cli.evaluate import main

if __name__ == "__main__":
    raise SystemExit(main())
