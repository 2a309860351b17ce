"""Objects from their `_target_` configuration."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar

import hydra
from hydra.errors import InstantiationException
from omegaconf import DictConfig

from src.errors import UserError

Options = TypeVar("Options")


def instantiate(node: DictConfig | dict[str, Any], **given: Any) -> Any:
    """Build the object that a `_target_` node describes, with `given` arguments added; containers become plain Python.

    Raises:
        UserError: raised by the constructor, or a value that a library's constructor rejects.
    """
    try:
        return hydra.utils.instantiate(node, _convert_="all", **given)
    except InstantiationException as error:
        from lightning.fabric.utilities.exceptions import MisconfigurationException  # seconds that few callers need

        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from error
        theirs = (ValueError, MisconfigurationException)  # and TypeError, which from our own constructor is a defect
        if isinstance(cause, theirs if str(node["_target_"]).startswith("src.") else (*theirs, TypeError)):
            raise UserError(f"{node['_target_']} rejects its configuration: {cause}; correct its values") from error
        raise


def options_of(build: Callable[..., Options], given: dict[str, Any], place: str = "", **further: Any) -> Options:
    """Build options from the values of a configuration node.

    Args:
        build: their class; annotated.
        given: the node, as plain Python.
        place: of the node in the configuration; empty: it is the whole.
        further: arguments that the node does not have.

    Raises:
        UserError: a value is null that may not be; and what the class raises.
    """
    kinds = kinds_of(build)
    for key, value in given.items():
        if value is None and not takes_none(kinds.get(key)):
            name = f"{place}.{key}" if place else key
            raise UserError(f"{name}=null, but there is no doing without it; give {name}=VALUE")
    return build(**given, **further)


def kinds_of(called: Callable[..., Any]) -> dict[str, str]:
    """Annotations of a callable's parameters as they are written, without those that have none."""
    try:
        parameters = inspect.signature(called).parameters
    except ValueError:  # some C types have no signature
        return {}
    found = {key: p.annotation for key, p in parameters.items() if p.annotation is not p.empty}
    return {key: kind.__name__ if isinstance(kind, type) else str(kind) for key, kind in found.items()}


def takes_none(kind: str | None) -> bool:
    """Whether a parameter of an annotation as of `kinds_of` may be None; without one it may."""
    return kind is None or re.search("None|Any|Optional", kind) is not None
