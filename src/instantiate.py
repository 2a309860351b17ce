"""Objects from their `_target_` configuration."""

from __future__ import annotations

from typing import Any

import hydra
from hydra.errors import InstantiationException
from omegaconf import DictConfig

from src.errors import UserError


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
        if isinstance(cause, (ValueError, MisconfigurationException)):
            raise UserError(f"{node['_target_']} rejects its configuration: {cause}; correct its values") from error
        raise
