"""Environments of another interpreter, such as Isaac Gym's of Python 3.8: `RemoteVecEnv` and its worker."""
