"""Recipes beside the published ones: what differs is marked, and docs/recipes.md is up to date."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.commands.recipes import compose_recipes
from src.reports.recipes import ITEMS, Recipe, configured, differs, read_recipes, recipes_table
from tests.support.configs import ROOT, Compose

DOCUMENT = ROOT / "docs" / "recipes.md"


def test_the_document_is_what_the_command_prints(composed: Compose, tmp_path: Path) -> None:
    composed("report", tmp_path)  # initialises Hydra
    (table,) = recipes_table(compose_recipes(read_recipes()))
    _, _, rest = DOCUMENT.read_text().partition("<!-- table: recipes -->\n")
    assert rest.partition("\n<!-- end -->")[0] == table, "python -m src.report table=recipes prints another table"


def test_published_items_are_known_ones() -> None:
    for recipe in read_recipes():
        assert set(recipe.published) <= set(ITEMS)
        assert all(isinstance(value, str) for value in recipe.published.values())


def test_options_of_the_command_show(composed: Compose, tmp_path: Path) -> None:
    composed("report", tmp_path)
    given = ["data.rotation=3", "data.class_share=0.6", "data.module.transform.jitter=null", "data.batch_size=24"]
    recipe = Recipe("", "", "rdrnet_cityscapes", "image", {"batch": "12"}, 2975, [*given, "model.pretrained=A.ckpt"])
    ((_, config),) = compose_recipes([recipe])
    own = configured(recipe, config)
    assert (own["rotation"], own["class share"], own["jitter"]) == ("up to 3 degrees", "up to 60 %", "none")
    assert (own["steps"], own["start"]) == (str(484 * 123), "A.ckpt")
    (table,) = recipes_table([(recipe, config)])
    assert "| **24** |" in table


@pytest.mark.parametrize(
    ("item", "published", "own", "expected"),
    [
        ("batch", "8", "8", False),
        ("batch", "8", "12", True),
        ("batch", "?", "12", False),
        ("steps", "40000", "40068", False),
        ("steps", "40000", "41000", True),
        ("steps", "40000", "?", False),
    ],
)
def test_unknown_items_and_the_last_steps_do_not_differ(item: str, published: str, own: str, expected: bool) -> None:
    assert differs(item, published, own) == expected
