"""GPU forms of the operators in `src.ops`, as Triton kernels.

Callers do not choose: `src.ops.forms` takes them for tensors on CUDA where Triton is installed, which CPU builds of
torch do not bring. Set `src.ops.triton.enabled = False` to run everything in torch, for instance to compare the two.
Importing this package loads neither Triton nor torch. With TRITON_INTERPRET=1 in the environment, Triton runs kernels
in NumPy; they then take tensors on the CPU as well, which is how they are tested without a GPU.

    NAME        from torch tensors to the arguments of a kernel
    NAME_kernel the kernel
"""

import importlib.util
import os

enabled = importlib.util.find_spec("triton") is not None
DEVICES = ("cuda", "cpu") if os.environ.get("TRITON_INTERPRET") == "1" else ("cuda",)
CAPABILITY = 8  # of the oldest GPUs with matrix products in bf16 and TF32, which the kernels are made of
