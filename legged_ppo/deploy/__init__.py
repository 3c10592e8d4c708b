"""A policy on a robot: export (ONNX, TorchScript), metadata, golden trace, scene, and a runner without torch."""
