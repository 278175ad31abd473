"""Run the `rwkv` package on a job in a folder, in a process of its own.

The package sets global flags of torch when it is imported and warns of what it compiles, neither
of which belongs into a process that tests something else.

Usage: python -m tests.model.rwkv_package FOLDER, which holds model.pth and job.pth.
"""

import os
import sys
from pathlib import Path

import torch


def run(folder: Path) -> None:
    """Read job.pth, write answer.pth."""
    os.environ |= {"RWKV_V7_ON": "1", "RWKV_JIT_ON": "0", "RWKV_CUDA_ON": "0"}
    from rwkv.model import RWKV

    job = torch.load(folder / "job.pth", weights_only=True)
    ids, seam = job["ids"].tolist(), int(job["seam"])
    model = RWKV(model=str(folder / "model"), strategy="cpu fp32")
    logits, _ = model.forward(ids, None, full_output=True)
    taken_over, _ = model.forward(ids[seam:], job["state"], full_output=True)
    _, state = model.forward(ids[:seam], None)
    torch.save({"logits": logits, "taken_over": taken_over, "state": state}, folder / "answer.pth")


if __name__ == "__main__":
    run(Path(sys.argv[1]))
