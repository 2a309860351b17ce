"""Fold batch norms into the convolutions before them, in any network, for inference at full speed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._python_dispatch import TorchDispatchMode  # torch documents it as the way to watch operators
from torch.utils._pytree import tree_leaves

Module = TypeVar("Module", bound=nn.Module)


def fold_batchnorms(net: nn.Module, run: Callable[[nn.Module, Tensor], object], size: tuple[int, int]) -> int:
    """Fold batch norms of a network in eval mode in place; returns their number.

    A batch norm is folded if all it ever sees is what one convolution gives, and nothing else reads that. Which
    ones do is watched in a run on shapes alone, so neither names nor order of construction matter.

    Args:
        net: the network.
        run: called with the network and an image (1, 3, H, W); must reach every module that inference uses.
        size: (H, W) of that image.
    """
    names = {module: name for name, module in net.named_modules()}
    pairs = followed(net, nn.BatchNorm2d, run, size)
    for conv, norm in pairs:
        net.set_submodule(names[conv], fuse_conv_bn_eval(conv, norm))
        net.set_submodule(names[norm], _rest(norm))
    return len(pairs)


def _rest(norm: nn.BatchNorm2d) -> nn.Module:
    """Return the rest of a batch norm besides normalising: timm's BatchNormAct2d has dropout and an activation inside.

    It is known by its parts: importing timm takes longer than all the rest of inference.
    """
    parts = [part for name in ("drop", "act") if isinstance(part := getattr(norm, name, None), nn.Module)]
    return nn.Sequential(*parts) if parts else nn.Identity()


def followed(
    net: nn.Module,
    kind: type[Module] | tuple[type[Module], ...],
    run: Callable[[nn.Module, Tensor], object],
    size: tuple[int, int],
) -> list[tuple[nn.Conv2d, Module]]:
    """Convolutions whose result one module of a `kind` reads, and nothing else; arguments as of `fold_batchnorms`."""
    made: list[tuple[Tensor, nn.Conv2d]] = []  # holds the tensors, so that no identity is used twice
    makers: dict[int, nn.Conv2d] = {}
    seen: Counter[tuple[nn.Conv2d, nn.Module]] = Counter()
    reads: Counter[nn.Conv2d] = Counter()  # by operators, those of plain functions and of modules
    calls: Counter[nn.Module] = Counter()

    def note(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        inner = next(module.children(), None) is not None and not isinstance(module, nn.BatchNorm2d)
        if inner or isinstance(module, nn.Identity):
            return
        calls[module] += 1
        for x in inputs:
            if id(x) in makers:
                seen[makers[id(x)], module] += 1
        makers.pop(id(output), None)  # changed in place
        if isinstance(module, nn.Conv2d) and isinstance(output, Tensor):
            made.append((output, module))
            makers[id(output)] = module

    class Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(
            self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            if func.namespace != "prim":  # type: ignore[attr-defined]  # that asks a tensor for its device
                reads.update(makers[id(x)] for x in tree_leaves((args, kwargs)) if id(x) in makers)
            return func(*args, **(kwargs or {}))

    hooks = [module.register_forward_hook(note) for module in net.modules()]
    try:
        # Public shape propagation (torch.export) needs a graph; hooks on modules need an eager run.
        with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad(), Reads():  # type: ignore[no-untyped-call]
            device = next(net.parameters()).device
            run(net, torch.empty(1, 3, *size, device=device))
    finally:
        for hook in hooks:
            hook.remove()
    return [
        (conv, module)
        for (conv, module), times in seen.items()
        if isinstance(module, kind) and times == reads[conv] == calls[conv] == calls[module]
    ]
