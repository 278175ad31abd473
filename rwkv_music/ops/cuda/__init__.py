"""CUDA kernels compiled at run time: users need no compiler, headers or build step.

`nvrtc` compiles source to machine code, `cubins` caches it, `driver` loads and launches it, and
`gpu` combines them for the device of a tensor. Both NVIDIA libraries are called through their
stable C interfaces; torch's own NVRTC interface is private and has no cache.
"""

from rwkv_music.ops.cuda.gpu import Gpu, Kernels, gpu_of
from rwkv_music.ops.cuda.kernel_unavailable import KernelUnavailable

__all__ = ["Gpu", "KernelUnavailable", "Kernels", "gpu_of"]
