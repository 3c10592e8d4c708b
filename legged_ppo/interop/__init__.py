"""Adapters: Gymnasium environments for this trainer, and rsl_rl in both directions."""
