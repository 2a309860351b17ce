"""Recipes of training as published, beside those that this project's experiments compose."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from src.files import read_yaml
from src.reports.tables import as_markdown

PUBLISHED = Path(__file__).with_name("recipes.yaml")
UNKNOWN = "?"
ITEMS = (
    "epochs", "steps", "batch", "optimiser", "learning rate", "weight decay", "schedule", "warm-up", "crop", "scale",
    "flip", "rotation", "class share", "jitter", "start",
)  # fmt: skip
SAME_STEPS = 0.01  # relative difference of numbers of steps that counts as none


@dataclass(frozen=True)
class Recipe:
    """One entry of `recipes.yaml`.

    Attributes:
        method, data: for the table.
        experiment: name of the configuration.
        phase: of the training.
        published: texts by item; an item that is missing is unknown.
        images: of an epoch; None where the number of steps depends on the prepared clips.
        given: overrides that the command gives.
    """

    method: str
    data: str
    experiment: str
    phase: str
    published: Mapping[str, str]
    images: int | None = None
    given: list[str] = field(default_factory=list)


def read_recipes() -> list[Recipe]:
    """Read the published recipes."""
    return [Recipe(**entry) for entry in read_yaml(PUBLISHED)]


def configured(recipe: Recipe, config: Mapping[str, Any]) -> dict[str, str]:
    """Return the text of each item as a resolved configuration of `src.train` has it."""
    model, data = config["model"], config["data"]
    spec = model["phases"][recipe.phase]
    parts = {key: spec["module"].get(key, model[key]) for key in ("optimizer", "scheduler")}
    transform, epochs = data["module"]["transform"], int(spec["trainer"]["max_epochs"])
    batch = int(data["batch_size"])
    steps = None if recipe.images is None else epochs * (recipe.images // batch)
    optimizer, scheduler, scale = parts["optimizer"], parts["scheduler"], transform["scale"]
    momentum = f" {optimizer['momentum']:g}" if "momentum" in optimizer else ""
    power = f" {scheduler['power']:g}" if "power" in scheduler else ""
    return {
        "epochs": str(epochs),
        "steps": UNKNOWN if steps is None else str(steps),
        "batch": str(batch),
        "optimiser": optimizer["_target_"].rpartition(".")[2] + momentum,
        "learning rate": f"{optimizer['lr']:g}",
        "weight decay": f"{optimizer['weight_decay']:g}",
        "schedule": scheduler["_target_"].rpartition(".")[2] + power,
        "warm-up": f"{100 * scheduler['warmup']:g} % of the steps" if scheduler["warmup"] else "none",
        "crop": "x".join(map(str, transform["crop"])),
        "scale": f"{scale[0]:g} to {scale[1]:g}" if len(scale) == 2 else ", ".join(f"{s:g}" for s in scale),
        "flip": f"{transform['flip']:g}",
        "rotation": f"up to {transform['rotation']:g} degrees" if transform["rotation"] else "none",
        "class share": f"up to {100 * transform['class_share']:g} %" if transform["class_share"] < 1 else "any",
        "jitter": _jitter(transform["jitter"]),
        "start": _start(recipe, config),
    }


def _jitter(jitter: Mapping[str, Any] | None) -> str:
    drawn = {key: value for key, value in (jitter or {}).items() if key != "_target_" and value}
    return ", ".join(f"{key} {value:g}" for key, value in drawn.items()) or "none"


def _start(recipe: Recipe, config: Mapping[str, Any]) -> str:
    needed = config["model"]["phases"][recipe.phase].get("needs") or {}
    earlier = needed.get("start_from")
    if earlier and "low_start" not in config["model"]["phases"][recipe.phase]["module"]:
        return f"phase {earlier}"
    weights = config["model"].get("pretrained") or config["network"]["arguments"].get("weights", "none")
    return "ImageNet" if Path(weights).stem.lower() == "imagenet" else str(weights)  # by name, or a file of that name


def differs(item: str, published: str, own: str) -> bool:
    """Tell whether two texts of an item state different things; an unknown one does not."""
    if UNKNOWN in (published, own):
        return False
    if item == "steps":
        return abs(int(own) - int(published)) > SAME_STEPS * int(published)
    return published != own


def recipes_table(recipes: Iterable[tuple[Recipe, Mapping[str, Any]]]) -> Iterator[str]:
    """Yield a Markdown table: two rows for each recipe, with what differs in bold.

    Args:
        recipes: with the resolved configuration of each.
    """
    rows = []
    for recipe, config in recipes:
        own = configured(recipe, config)
        published = [recipe.published.get(item, UNKNOWN) for item in ITEMS]
        shown = [
            f"**{own[item]}**" if differs(item, known, own[item]) else own[item]
            for item, known in zip(ITEMS, published, strict=True)
        ]
        command = " ".join([f"experiment={recipe.experiment}", *recipe.given])
        rows += [[f"{recipe.method}, {recipe.data}", *published], [f"`{command}`, {recipe.phase}", *shown]]
    yield as_markdown(["recipe", *ITEMS], rows, left=len(ITEMS) + 1)
