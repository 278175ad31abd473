"""Benchmark of the kernels on a GPU: accuracy first, then speed.

Everything also runs on a CPU, where the times mean nothing, so that it is tested without a GPU.
The entry point is `report.run_benchmark`.
"""
