"""CUDA kernels compiled where they run: no compiler, no headers and no build step at the user's.

`nvrtc` turns source into machine code, `cubins` keeps it, `driver` loads and launches it, and `gpu`
puts them together for the device a tensor is on. Both libraries are called through their C
interfaces, which NVIDIA keeps stable; torch's own way to NVRTC is private and keeps nothing.
"""

from rwkv_music.ops.cuda.errors import KernelUnavailable
from rwkv_music.ops.cuda.gpu import Gpu, Kernels, gpu_of

__all__ = ["Gpu", "KernelUnavailable", "Kernels", "gpu_of"]
