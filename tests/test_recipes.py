"""Every recipe of docs/recipes.md runs as it stands, on a small file of its layout."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from helpers.recipes import RECIPES

TEXT = (Path(__file__).parents[1] / "docs" / "recipes.md").read_text()
SCRIPTS = {
    section.partition("\n")[0]: "".join(re.findall(r"```python\n(.*?)```", section, re.DOTALL))
    for section in TEXT.split("\n## ")[1:]
}


def test_each_recipe_has_a_file_and_a_script() -> None:
    assert list(SCRIPTS) == list(RECIPES)
    assert all(SCRIPTS.values())


@pytest.mark.parametrize("recipe", SCRIPTS)
def test_a_recipe_runs(recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_files, make_model = RECIPES[recipe]
    make_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    model = make_model()
    before = [np.array(each) for each in model.get_weights()]
    exec(compile(SCRIPTS[recipe], "docs/recipes.md", "exec"), {"model": model})
    after = model.get_weights()
    assert all(np.isfinite(each).all() for each in after)
    assert any((old != new).any() for old, new in zip(before, after, strict=True))
