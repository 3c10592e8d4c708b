"""The machine: devices, processes, CPU features, precision, CUDA graphs and random draws."""
