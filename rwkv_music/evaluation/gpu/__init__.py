"""What `rwkv-music benchmark gpu` measures of the kernels: right first, then how fast.

Everything runs on a CPU as well, where it says nothing about speed, so that it is tested before a
GPU sees it.
"""
