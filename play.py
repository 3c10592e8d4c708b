#!/usr/bin/env python3
"""Watch a trained policy, or make a video of it: python play.py --video walk.mp4"""

from legged_ppo.cli.play import main

if __name__ == "__main__":
    raise SystemExit(main())
