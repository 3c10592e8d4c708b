"""Exteroceptive sensors with noise, update period and latency."""
