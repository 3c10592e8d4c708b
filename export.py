#!/usr/bin/env python3
"""Export a trained policy for a robot: python export.py --checkpoint latest --output policy.onnx"""

from legged_ppo.cli.export import main

if __name__ == "__main__":
    raise SystemExit(main())
