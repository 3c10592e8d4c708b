"""Code for this CPU's SIMD lanes: values that write LLVM IR, object code and its cache."""
