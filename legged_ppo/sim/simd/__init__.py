"""Physics on the CPU with one robot in each SIMD lane; see docs/engines.md."""
