"""Built-in robots (MJCF) and the resolved description of a robot."""
