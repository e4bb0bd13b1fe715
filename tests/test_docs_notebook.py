"""docs/notebook.md: its cells run in order where an event loop runs, as a notebook runs them."""

import ast
import asyncio
import os
import re
from pathlib import Path
from typing import Any

import pytest

import imagewave as iw

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[1] / "docs" / "notebook.md").read_text("utf-8")
CELLS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Runs a cell; returns what a notebook would show below it: its last expression's value."""
    cell = ast.parse(source)
    last = cell.body.pop() if isinstance(cell.body[-1], ast.Expr) else None
    exec(compile(cell, "<cell>", "exec"), names)
    if last is None:
        return None
    assert isinstance(last, ast.Expr)
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)  # noqa: S307


@pytest.mark.filterwarnings("ignore::imagewave.SandboxWarning")
def test_the_cells_of_the_page_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in list(os.environ):
        if name.startswith(("GEMINI_", "GOOGLE_", "OPENAI_", "ANTHROPIC_", "IMAGEWAVE_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}

    async def notebook() -> list[Any]:
        assert asyncio.get_running_loop().is_running()
        return [run_cell(cell, names) for cell in CELLS]

    shown = asyncio.run(notebook())

    sheets = [each for each in shown if isinstance(each, (iw.Result, iw.Pictures))]
    assert len(sheets) == 3, "the wave's, the store's and the prompt's"
    assert all("data:image/jpeg;base64," in sheet._repr_html_() for sheet in sheets)
    assert True in shown, "finals of 2K cost more"
    assert 0 in shown, "again it is free"
    result = names["result"]
    assert result.delivered
    assert result.realm == "sandbox"
    assert result.funnel.final == len(result.assets) > 0
    said = capsys.readouterr().out
    assert "50 pictures would cost about" in said
    assert not any(name.startswith("GEMINI_") for name in os.environ)


def test_without_a_key_it_is_said_that_the_pictures_are_stand_ins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GEMINI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)

    with pytest.warns(iw.SandboxWarning, match="No GEMINI_API_KEY") as warned:
        result = iw.once("a red bicycle", store=tmp_path / "store")

    assert warned[0].filename == __file__
    assert "stand-ins" in str(result)
