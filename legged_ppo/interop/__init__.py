"""Adapters: rsl_rl in both directions, environments of other interpreters, and Gymnasium's."""
