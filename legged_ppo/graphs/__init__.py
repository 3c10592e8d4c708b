"""Rollouts and updates as CUDA graphs: recorded once, launched again without Python between their operators."""
