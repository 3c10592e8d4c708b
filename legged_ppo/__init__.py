"""legged_ppo: recurrent locomotion policies for legged robots by massively parallel PPO."""

__version__ = "0.1.0"
