"""CPU forms of the operators in `src.ops`, as Numba kernels for cases in which torch's own operators are slow.

Callers do not choose: each operator takes its kernel where that gives the same result, and torch otherwise. Set
`src.ops.cpu.enabled = False` to run everything in torch, for instance to compare the two. Importing this package
loads neither Numba nor torch.

    threads     when a kernel may replace torch's operator, and the threads that it runs in
    simd tiles  vectors inside kernels; how feature maps are cut for the cache
    amx         small matrix products in bfloat16, where the CPU has a unit for them
    memory      a setting of the allocator for long runs
    NAME        from torch tensors to the arrays of a kernel
    NAME_kernel the kernel, without torch
"""

enabled = True
GATE_WIDTH = 8  # channels of the hidden layer of CReFF's gate, which its kernel is written for
