"""PPO with truncated BPTT on dictionary observations: collector, buffer, GAE, losses, update.

Nothing here imports robots, terrain or simulators.
"""
