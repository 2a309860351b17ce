"""Look at what the label maps of a split add up to, before anything is trained on them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np

from src.data.datasets.base import LabelledDataset
from src.data.images import ImageArray
from src.data.labels import IGNORE
from src.errors import UserError

SAMPLE = 100  # label maps read of a split that has more, spread evenly
MANY, NOTICED = 0.25, 0.005  # share of ignored pixels that is worth a warning; to be named in one
SHOWN = 5  # class names in a message

LabelReader = Callable[[], ImageArray]

log = logging.getLogger(__name__)


def check_labels(
    source: LabelledDataset, split: str, readers: Sequence[LabelReader], skip_damaged: bool, trained: bool = False
) -> set[tuple[int, int]]:
    """Count the classes in the label maps of a split, and warn of those that never occur and of many ignored pixels.

    Of large splits a sample is read; more only until what is needed is found: a class, or two for training.

    Args:
        source: the data set, for the names of its classes.
        split: its name, for messages.
        readers: one for each label map, which returns labels (H, W).
        skip_damaged: leave out label maps that cannot be read.
        trained: a network learns from them, for which one class of several is not enough.

    Returns:
        The sizes (height, width) that were found.

    Raises:
        UserError: not one pixel has a class, all have the same one in training, or a label map cannot be read.
    """
    chosen = sorted(
        {n * len(readers) // SAMPLE for n in range(SAMPLE)} if len(readers) > SAMPLE else range(len(readers))
    )
    others = sorted(set(range(len(readers))) - set(chosen))
    needed = 2 if trained and len(source.classes) > 1 else 1
    pixels, sizes, seen, unread = np.zeros(256, np.int64), set(), 0, None
    for position, number in enumerate([*chosen, *others]):
        if position >= len(chosen) and np.count_nonzero(pixels[:IGNORE]) >= needed:
            break
        try:
            labels = readers[number]()
        except UserError as error:
            if not skip_damaged:
                raise
            unread = error
            continue
        seen += 1
        pixels += np.bincount(labels.ravel(), minlength=256)
        sizes.add((labels.shape[0], labels.shape[1]))
    where = (
        f"the {seen} label maps of '{split}'"
        if seen == len(readers)
        else f"{seen} of {len(readers)} label maps of '{split}'"
    )
    if readers and not seen:
        raise UserError(f"none of the {len(readers)} label maps of '{split}' can be read, the last one: {unread}")
    if seen and not pixels[:IGNORE].any():
        raise UserError(f"nothing is labelled in {where}: every pixel is ignored; {source.label_remedy}")
    if seen and np.count_nonzero(pixels[:IGNORE]) < needed:
        only = source.classes.names[int(pixels[:IGNORE].argmax())]
        raise UserError(
            f"every labelled pixel in {where} is of class '{only}', so there is nothing to learn; {source.label_remedy}"
        )
    absent = [name for index, name in enumerate(source.classes.names) if not pixels[index]]
    ignored = pixels[IGNORE] / max(1, pixels.sum())
    findings = [f"no pixel is of class {_listed(absent)}"] if seen and absent else []
    findings += (
        [f"{100 * ignored:.0f} % of the pixels are ignored"] if ignored > MANY or (absent and ignored > NOTICED) else []
    )
    if seen and findings:
        log.warning("%s in %s; if that is not meant, %s", " and ".join(findings), where, source.label_remedy)
    return sizes


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(f"'{name}'" for name in names[:SHOWN]) + more
