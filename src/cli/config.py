"""Checks of a composed configuration: every key is known and of the usual kind before anything runs."""

from __future__ import annotations

import inspect
import math
import re
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_object
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from src.cli.arguments import nearest
from src.errors import UserError
from src.instantiate import kinds_of, takes_none
from src.models import registry

OmegaConf.register_new_resolver(  # of default run directories: the experiment, or else data and network
    "run_name", lambda experiment, usual: usual if experiment in (None, "None") else experiment, replace=True
)
_PHASE_ARGUMENTS = {"trainer": "lightning.Trainer", "data": "src.data.module.ClipDataModule"}
NEEDED = (  # what no command can do without where it has it
    *("data", "data.source", "data.module", "video", "trainer", "model", "model.optimizer", "model.scheduler"),
    *("input", "live", "learning", "online", "online.learning", "bootstrap", "split", "inputs"),
)
NETWORK = {"name", "arguments"}  # keys of a node that describes a network
_KINDS: dict[Any, str] = {
    bool: "true or false",
    (int, float): "a number",
    list: "a list",
    dict: "a group of keys",
}
_CALL_KEYS = {"_target_", "_partial_", "_args_", "_convert_", "_recursive_"}


def plain(config: DictConfig) -> dict[str, Any]:
    """Return the resolved configuration as plain dicts and lists.

    Raises:
        UserError: a mandatory value (`???`) is missing, or a value refers to one that is not there.
    """
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise UserError(f"the configuration lacks {', '.join(missing)}; give each as KEY=VALUE")
    try:
        resolved: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    except InterpolationResolutionError as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{error.full_key} has no value ({reason}); give one, or groups that fit together") from error
    return resolved


def usual_config() -> DictConfig:
    """Compose the chosen groups alone, without experiment, trial of a study, debug preset and values given."""
    runtime = HydraConfig.get().runtime.choices
    left_out = ("hydra", "experiment", "debug", "study", "trial")
    groups = [f"{g}={c}" for g, c in runtime.items() if c is not None and not str(g).startswith(left_out)]
    groups += [given for given in HydraConfig.get().overrides.hydra if given.startswith("hydra.searchpath=")]
    return hydra.compose(str(HydraConfig.get().job.config_name), overrides=groups)


def check_keys(config: DictConfig) -> None:
    """Reject keys that nothing reads, wherever they were written: command line, experiment file, debug preset.

    A key is known if the same groups composed without experiment and debug have it at that place, or if the
    signature of the nearest `_target_` accepts it. In the first case its value must be of the same kind, too.

    Raises:
        UserError: an unknown key, with the nearest known one, or a value that what reads it does not take.
    """
    given, usual = OmegaConf.to_container(config), OmegaConf.to_container(usual_config())
    _check_mandatory(given, usual, "")
    _check(given, usual, "")
    _check_values(given, given, usual)


def _check_mandatory(value: Any, usual: Any, path: str) -> None:
    if value is None and (usual == MISSING or (usual is not None and path in NEEDED)):
        raise UserError(f"{path}=null, but there is no doing without it; give {path}=VALUE")
    if isinstance(value, dict) and isinstance(usual, dict):
        for key in value.keys() & usual.keys():
            _check_mandatory(value[key], usual[key], f"{path}.{key}" if path else str(key))


def _check(value: Any, usual: Any, path: str) -> None:
    """Check an unresolved node and those below it, beside the usual one at its place (None: there is none)."""
    value, usual = _known_now(value), _known_now(usual)
    check_kind(value, usual, path)
    if isinstance(value, list):
        for index, item in enumerate(value):
            _check(item, None, f"{path}[{index}]")
    if not isinstance(value, dict):
        return
    target = value.get("_target_") or _target_of(path)
    if target is not None:
        _check_arguments(value, str(target), path)
    known = usual if isinstance(usual, dict) else {}
    is_network = value.keys() >= NETWORK
    if is_network:
        _check_network_arguments(value, known.get("arguments"), path)
        known = {**dict.fromkeys(NETWORK), **known} if known else known
    for key, item in value.items():
        if is_network and key == "arguments":
            continue
        place = f"{path}.{key}" if path else str(key)
        is_call = isinstance(item, dict) and ("_target_" in item or item.keys() >= NETWORK)
        if target is None and known and key not in known and not is_call:
            raise UserError(_unknown(place, str(key), set(known)))
        _check(item, known.get(key), place)


def _check_network_arguments(node: dict[str, Any], usual: Any, path: str) -> None:
    """Reject arguments that the network of a node does not have, or of another kind than usual."""
    name, arguments = _known_now(node["name"]), _known_now(node["arguments"])
    if name is None or not isinstance(arguments, dict):
        return
    accepted = registry.arguments_of(str(name))
    for key, item in arguments.items():
        place = f"{path}.arguments.{key}"
        if accepted is not None and key not in accepted:
            raise UserError(_unknown(place, str(key), accepted))
        _check(item, usual.get(key) if isinstance(usual, dict) else None, place)


def _check_values(node: Any, given: Any, usual: Any, path: str = "") -> None:
    """Reject null and fractions where the annotation of a parameter does not have them, by the key to be changed.

    What is null in the usual configuration is filled in later.
    """
    if not isinstance(node, dict):
        return
    for name, item in node.items():
        _check_values(item, given, usual, f"{path}.{name}" if path else str(name))
    is_network = node.keys() >= NETWORK and isinstance(node["arguments"], dict)
    called = _known_now(node["name"] if is_network else node.get("_target_"))
    if called is None:
        return
    kinds = kinds_of(registry.constructor(called) if is_network else get_object(called))
    if is_network:
        node, path = node["arguments"], f"{path}.arguments"
    for name, item in node.items():
        place, kind = f"{path}.{name}" if path else str(name), kinds.get(name)
        while isinstance(item, str) and (found := re.fullmatch(r"\$\{(\w[\w.]*)\}", item)):
            place, item = found[1], _at(given, found[1])
        is_null = item is None and _at(usual, place) is not None
        if is_null and not takes_none(kind):
            raise UserError(f"{place}=null, but {called} needs a value for {name}; give {place}=VALUE")
        if isinstance(item, float) and kind in ("int", "int | None", "int | str"):
            raise UserError(f"{place}={item} is not a whole number; give {place}={math.ceil(item)}")


def _at(node: Any, place: str) -> Any:
    for key in place.split("."):
        node = node.get(key, MISSING) if isinstance(node, dict) else MISSING
    return node


def _known_now(value: Any) -> Any:
    """Return a value, or None where it is missing or an interpolation, which is resolved later."""
    return None if isinstance(value, str) and (value == "???" or "${" in value) else value


def check_kind(value: Any, usual: Any, place: str) -> None:
    """Reject numbers that are not finite, and values of another kind than the usual one; None is of any kind.

    Raises:
        UserError: such a value.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{place}={value} is not a number; give one, such as {1 if usual is None else usual}")
    if value is None or usual is None or place == "trainer.devices":  # that is a number, "auto" or a list
        return
    found = next((kind for kind in _KINDS if isinstance(usual, kind)), None)  # bool before int, which it is one of
    if found and (not isinstance(value, found) or isinstance(value, bool) != isinstance(usual, bool)):
        raise UserError(f"{place}={value} is not {_KINDS[found]}; give {_KINDS[found]}, such as {usual}")
    if isinstance(usual, list) and usual:
        for number, item in enumerate(value):
            check_kind(item, usual[0], f"{place}[{number}]")


def _target_of(path: str) -> str | None:
    """Return the callable that `limits` and the `trainer` and `data` nodes of a training phase are arguments of."""
    if path == "limits":
        return _PHASE_ARGUMENTS["trainer"]
    found = re.fullmatch(r"model\.phases\.\w+\.(trainer|data)", path)
    return _PHASE_ARGUMENTS[found[1]] if found else None


def _check_arguments(node: dict[Any, Any], name: str, path: str) -> None:
    target = get_object(name)
    try:
        parameters = inspect.signature(target).parameters
    except ValueError:  # some C types have no signature; their constructor reports wrong arguments itself
        return
    accepted = set(parameters) | _CALL_KEYS | _accepted_by_bases(target, parameters)
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()) and not hasattr(target, "__mro__"):
        return
    for key in map(str, node):
        if key not in accepted:
            raise UserError(_unknown(f"{path}.{key}", key, accepted - _CALL_KEYS))


def _accepted_by_bases(target: Any, parameters: Any) -> set[str]:
    """Return the arguments that a class passes on to its bases by **kwargs."""
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return set()
    bases = [base.__init__ for base in getattr(target, "__mro__", ()) if "__init__" in vars(base)]
    return {name for init in bases for name in inspect.signature(init).parameters}


def _unknown(place: str, key: str, known: set[Any]) -> str:
    return f"unknown configuration key '{place}': nothing reads it; {nearest(key, map(str, known))}"
