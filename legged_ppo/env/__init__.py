"""The velocity-tracking task: one control step (`locomotion.py`), commands, observations, rewards, randomization."""
