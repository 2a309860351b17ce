"""Networks and video methods by name: the one place that says which constructor a name stands for."""

from __future__ import annotations

import difflib
import importlib
import inspect
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from src.errors import UserError

if TYPE_CHECKING:
    from torch import nn  # not needed to look a name up

Constructor = Callable[..., "nn.Module"]
PLUGIN_GROUP = "compressed_video_segmentation.plugins"

# Name -> constructor, or where to find one: a network is imported when it is built.
NETWORKS: dict[str, str | Constructor] = {
    "timm": "src.models.timm_segmenter:TimmSegmenter",
    "bisenet": "src.models.bisenet.net:BiSeNet",
    "bisenetv2": "src.models.bisenetv2.net:BiSeNetV2",
    "cgnet": "src.models.cgnet.net:CGNet",
    "ddrnet": "src.models.ddrnet.net:DDRNet",
    "dfanet": "src.models.dfanet.net:DFANet",
    "efficientvit_seg": "src.models.efficientvit.net:EfficientViTSeg",
    "erfnet": "src.models.erfnet.net:ERFNet",
    "fast_scnn": "src.models.fast_scnn.net:FastSCNN",
    "gcnet": "src.models.gcnet.net:GCNet",
    "gcnet_deployed": "src.models.deploy.reparameterise:deployed_gcnet",
    "icnet": "src.models.icnet.net:ICNet",
    "pidnet": "src.models.pidnet.net:PIDNet",
    "pp_liteseg": "src.models.pp_liteseg.net:PPLiteSeg",
    "pspnet": "src.models.pspnet.net:PSPNet",
    "pspnet_camvid": "src.models.pspnet.net:PSPNetFull",
    "rdrnet": "src.models.rdrnet.net:RDRNet",
    "rdrnet_deployed": "src.models.deploy.reparameterise:deployed_rdrnet",
    "stdc": "src.models.stdc.net:STDCSeg",
    "xception": "src.models.dfanet.backbone:Xception",
    "accel": "src.models.dff.net:Accel",
    "arseg": "src.models.arseg.variants:arseg",
    "dff": "src.models.dff.net:DFF",
    "td4_psp18": "src.models.tdnet.variants:td4_psp18",
    "td2_psp50": "src.models.tdnet.variants:td2_psp50",
    "td4_bise18": "src.models.tdnet.variants:td4_bise18",
    "td2_fa18": "src.models.tdnet.variants:td2_fa18",
}


def register(name: str, constructor: Constructor) -> None:
    """Add a network or a video method of a plugin.

    Args:
        name: by which configurations and checkpoints refer to it.
        constructor: a `Segmenter` or `VideoSegmenter` class, or a function that builds one; called with the
            `arguments` of the configuration. Where these contain another network (`name`, `arguments`), it
            receives a function without arguments that builds it.

    Raises:
        UserError: another constructor has this name.
    """
    known = NETWORKS.get(name)
    if known is not None and not _is_same(known, constructor):
        raise UserError(f"network '{name}' is registered already; give yours another name")
    NETWORKS[name] = constructor


def build(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Build the network that a name and arguments stand for.

    Args:
        name: a key of `NETWORKS`.
        arguments: of its constructor, plain Python; mappings of `name` and `arguments` become functions that
            build the network they describe.

    Raises:
        UserError: an unknown name or argument, a missing argument, or a value that the constructor rejects.
    """
    check_arguments(name, arguments)
    given = {key: _maker(value) for key, value in arguments.items()}
    try:
        return constructor(name)(**given)
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        rejected = not isinstance(error, RuntimeError) or "negative dimension" in str(error)
        if callable(NETWORKS[name]) or not rejected:  # a plugin's author needs the traceback
            raise
        plain = ", ".join(f"{key}={value}" for key, value in arguments.items() if not is_network(value))[:200]
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"
        raise UserError(f"network '{name}' cannot be built with {plain} ({reason}); correct its arguments") from error


def build_shapes(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Build a network without memory for its tensors; with memory if its constructor needs values of tensors.

    Raises:
        UserError: see `build`.
    """
    import torch  # not needed to look a name up

    try:
        with torch.device("meta"):
            return build(name, arguments)
    except (NotImplementedError, RuntimeError) as error:
        if "meta" not in str(error):
            raise
        return build(name, arguments)


def check_arguments(name: str, arguments: Mapping[str, Any]) -> None:
    """Reject names and arguments that `build` cannot use; nothing is built.

    Raises:
        UserError: an unknown name or argument, or a missing argument.
    """
    parameters, accepted = inspect.signature(constructor(name)).parameters, arguments_of(name)
    unknown = [] if accepted is None else [key for key in arguments if key not in accepted]
    if unknown:
        raise UserError(f"network '{name}' has no argument '{unknown[0]}'; known: {', '.join(parameters)}")
    required = [key for key, p in parameters.items() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    missing = [key for key in required if key not in arguments]
    if missing:
        raise UserError(f"network '{name}' needs {', '.join(missing)}; give them as arguments")
    for value in arguments.values():
        if is_network(value):
            check_arguments(value["name"], value["arguments"])


def arguments_of(name: str) -> set[str] | None:
    """Names of a network's arguments; None where it takes any.

    Raises:
        UserError: an unknown name.
    """
    parameters = inspect.signature(constructor(name)).parameters
    return None if any(p.kind is p.VAR_KEYWORD for p in parameters.values()) else set(parameters)


def is_network(value: Any) -> bool:
    """Whether a value describes a network."""
    return isinstance(value, Mapping) and set(value) == {"name", "arguments"}


def network_of_node(node: Any) -> dict[str, Any]:
    """Return the name and arguments of the network that a resolved configuration node describes.

    Raises:
        UserError: the node has no name and arguments.
    """
    if not isinstance(node, Mapping) or not {"name", "arguments"} <= node.keys():
        raise UserError(
            f"the network is configured as {str(node)[:80]}; describe it by `name` and `arguments`, as in conf/network"
        )
    return {"name": node["name"], "arguments": node["arguments"]}


def without_initial_weights(value: Any) -> Any:
    """Copy a network's arguments with every `weights: NAME` set to none, for weights that come from elsewhere."""
    if isinstance(value, Mapping):
        return {
            key: "none" if key == "weights" and isinstance(inner, str) else without_initial_weights(inner)
            for key, inner in value.items()
        }
    return [without_initial_weights(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def load_plugins(modules: Sequence[str]) -> None:
    """Import modules that register networks, video methods and data sets of their own.

    Those of installed packages with an entry point in the group "compressed_video_segmentation.plugins" need no
    naming.

    Args:
        modules: dotted names, importable from the Python path.

    Raises:
        UserError: a module that does not exist or whose import fails.
    """
    installed = [entry.value.partition(":")[0] for entry in entry_points(group=PLUGIN_GROUP)]
    for module in [*installed, *modules]:
        try:
            importlib.import_module(module)
        except (UserError, MemoryError):
            raise
        except Exception as error:
            if "failed to map" in str(error):  # a library for which there is no memory
                raise
            if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
                raise UserError(
                    f"plugin '{module}' cannot be found ({error}); give plugins=[package.module] of a module that is "
                    "installed or in the current directory"
                ) from error
            raise UserError(f"plugin '{module}' fails when it is imported: {_failure(error)}; correct it") from error


def _failure(error: Exception) -> str:
    """Return an error and its line in one line."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({error.filename}, line {error.lineno})"
    last = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")][-1]
    return f"{type(error).__name__}: {' '.join(str(error).split())} ({last.filename}, line {last.lineno})"


def _is_same(known: str | Constructor, constructor: Constructor) -> bool:
    """Whether a module registers what it registered before, imported under another name or once more."""
    return getattr(known, "__qualname__", known) == getattr(constructor, "__qualname__", None) and (
        getattr(known, "__module__", None) == getattr(constructor, "__module__", None)
    )


def constructor(name: str) -> Constructor:
    """Return what a name stands for.

    Raises:
        UserError: an unknown name.
    """
    found = NETWORKS.get(name)
    if found is None:
        near = difflib.get_close_matches(str(name), NETWORKS, n=3)
        hint = f"did you mean {', '.join(near)}? " if near else f"known: {', '.join(sorted(NETWORKS))}; "
        raise UserError(f"network '{name}' is unknown; {hint}one of your own needs plugins=[package.module]")
    if callable(found):
        return found
    module, _, attribute = found.partition(":")
    named: Constructor = getattr(importlib.import_module(module), attribute)
    return named


def _maker(value: Any) -> Any:
    return partial(build, value["name"], value["arguments"]) if is_network(value) else value
