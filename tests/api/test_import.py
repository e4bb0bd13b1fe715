"""`import imagewave` costs nothing; what its names need is imported when they are used."""

import ast
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
from tests.api.conftest import Ran

import imagewave as iw

pytestmark = pytest.mark.heavy

_LOADED = "print(*sorted({name.partition('.')[0] for name in sys.modules}))"


def loaded_by(code: str, *arguments: str) -> set[str]:
    """The packages that a new process has imported after the code."""
    surroundings = {name: value for name, value in os.environ.items() if "PREFECT" not in name}
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\n{_LOADED}", *arguments],
        env=surroundings,
        capture_output=True,
        check=True,
        text=True,
        timeout=240,
    )
    return set(done.stdout.split())


def test_importing_it_imports_nothing_else() -> None:
    theirs = loaded_by("import imagewave") - loaded_by("") - set(sys.stdlib_module_names)
    assert theirs == {"imagewave"}


def test_a_question_needs_no_provider_no_prefect_and_no_numpy(ran: Ran) -> None:
    code = "import imagewave; imagewave.Store(sys.argv[1]).status()"
    heavy = {"prefect", "google", "openai", "numpy", "scipy", "cv2", "pandas", "polars", "PIL"}
    assert loaded_by(code, ran.bench.store) & heavy == set()


def test_a_delivered_wave_is_run_again_without_them(ran: Ran) -> None:
    code = "import imagewave; imagewave.run(sys.argv[1], store=sys.argv[2])"
    heavy = {"prefect", "google", "openai", "pyarrow", "numpy", "scipy", "cv2", "genai_prices"}
    assert loaded_by(code, str(ran.file), ran.bench.store) & heavy == set()


def test_every_public_name_is_there_for_people_and_for_type_checkers() -> None:
    tree = ast.parse(Path(iw.__file__).read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    imported = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    assert sorted(imported) == sorted(iw.__all__)
    for name, module in imported.items():
        assert getattr(iw, name) is getattr(sys.modules[str(module)], name)
    assert set(iw.__all__) <= set(dir(iw))
    assert files("imagewave").joinpath("py.typed").is_file()


def test_another_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        _ = iw.runn
