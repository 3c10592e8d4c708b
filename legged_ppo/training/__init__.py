"""The training loop of a run, its state, its logs and its health checks."""
