"""MuJoCo Warp: physics on a GPU, and on a CPU for parity tests."""
