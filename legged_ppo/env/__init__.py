"""The velocity-tracking task: control step (`locomotion.py`), commands, observations, rewards, randomization."""
