"""Objects from their `_target_` configuration."""

from __future__ import annotations

import inspect
import re
from typing import Any

import hydra
from hydra.errors import InstantiationException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from src.errors import UserError


def instantiate(node: DictConfig | dict[str, Any], **given: Any) -> Any:
    """Build the object that a `_target_` node describes, with `given` arguments added; containers become plain Python.

    Raises:
        UserError: raised by the constructor, a value that a library's constructor rejects, or null or a fraction where
            one of this project does not take it.
    """
    _check_values(OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else node, "")
    try:
        return hydra.utils.instantiate(node, _convert_="all", **given)
    except InstantiationException as error:
        from lightning.fabric.utilities.exceptions import MisconfigurationException  # seconds that few callers need

        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from error
        if isinstance(cause, (ValueError, MisconfigurationException)):
            raise UserError(f"{node['_target_']} rejects its configuration: {cause}; correct its values") from error
        raise


def _check_values(node: Any, place: str) -> None:
    """Reject null and fractions where the annotation of a parameter does not have them."""
    if not isinstance(node, dict):
        return
    target = str(node.get("_target_", ""))
    parameters = inspect.signature(get_object(target)).parameters if target.startswith("src.") else {}
    for name, value in node.items():
        kind = parameters[name].annotation if name in parameters else None
        if isinstance(kind, str) and value is None and not re.search("None|Any", kind):
            raise UserError(f"{place}{name}=null, but {target} needs a value; give one")
        if isinstance(value, float) and kind in ("int", "int | None", "int | str"):
            raise UserError(f"{place}{name}={value} is not a whole number; give one")
        _check_values(value, f"{place}{name}.")
