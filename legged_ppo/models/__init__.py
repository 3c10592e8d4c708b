"""The recurrent actor-critic: encoders, GRU, heads, distributions and observation normalization."""
