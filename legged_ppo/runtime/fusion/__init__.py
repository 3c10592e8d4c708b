"""A tracing compiler: torch functions of per-robot tensors become one kernel with a robot in each SIMD lane."""
