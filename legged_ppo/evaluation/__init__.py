"""Whole episodes of a trained policy and the statistics over them."""
