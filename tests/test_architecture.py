"""The house as docs/architecture.md draws it: floors, rooms, and which way imports run."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
PAGE = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text("utf-8")
MODULES = {
    ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((SRC / "imagewave").rglob("*.py"))
}
PACKAGES = {name for name, path in MODULES.items() if path.name == "__init__.py"}

# From the top down. What is on no floor stands beside the house and below it.
FLOORS = ("cli", "api", "deployments", "flows", "tasks", "providers", "pictures", "storage")
BESIDE = {"__main__", "sandbox", "testing"}
BELOW = {"clock", "errors", "killpoints", "loopback", "prefect_server", "words"}

KNOW_PREFECT = {
    "imagewave.flows.prefect",
    "imagewave.providers.gpu",
    "imagewave.prefect_server",
    "imagewave.deployments.deploy",
    "imagewave.cli.deploy",
}

MOST = 15
"""Modules in one room."""

LAZY_CIRCLES = {
    frozenset(
        {
            "imagewave.storage.catalog",
            "imagewave.storage.catalog.data",
            "imagewave.storage.catalog.plugins",
        }
    )
}
"""The catalog is read when it is first asked, by modules that need its classes."""


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text("utf-8"))


@cache
def imports(name: str) -> frozenset[str]:
    """The modules of ours that one imports, wherever in it, as `a.b` or as `from a import b`."""
    found = set()
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative imports hide where they go"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else str(node.module))
    return frozenset(found & MODULES.keys() - {name})


def others(name: str) -> Iterator[str]:
    """The top-level names of what a module imports that is not ours."""
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def floor(name: str) -> str:
    """The part of the package that a module is in; "" is the package itself."""
    return name.partition(".")[2].partition(".")[0]


def room(name: str) -> str:
    """The folder a module is in. A module beside the rooms of its floor is a room of its own."""
    folder = name if name in PACKAGES else name.rpartition(".")[0]
    return folder if folder.count(".") > 1 else name


def circles(arrows: Mapping[str, Iterable[str]]) -> set[frozenset[str]]:
    """Groups in which everyone can be reached from everyone (Tarjan's algorithm)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: set[frozenset[str]] = set()

    def visit(name: str) -> None:
        number[name] = low[name] = len(number)
        stack.append(name)
        for other in arrows.get(name, ()):
            if other not in number:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], number[other])
        if low[name] == number[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.add(frozenset(group))

    for name in arrows:
        if name not in number:
            visit(name)
    return found


def test_every_part_of_the_package_has_its_place() -> None:
    assert {floor(name) for name in MODULES} == {"", *FLOORS, *BESIDE, *BELOW}


def test_imports_run_down_the_floors() -> None:
    up = [
        f"{name} imports {other}"
        for name in MODULES
        if floor(name) in FLOORS
        for other in sorted(imports(name))
        if floor(other) in FLOORS and FLOORS.index(floor(other)) < FLOORS.index(floor(name))
    ]
    assert not up


def test_what_is_below_knows_no_floor() -> None:
    assert not [
        f"{name} imports {other}"
        for name in MODULES
        if floor(name) in BELOW
        for other in sorted(imports(name))
        if floor(other) not in BELOW
    ]


def test_the_sandbox_knows_the_catalog_alone() -> None:
    assert {
        other
        for name in MODULES
        if floor(name) == "sandbox"
        for other in imports(name)
        if floor(other) in FLOORS
    } <= {"imagewave.storage.catalog"}


def test_only_commands_and_flows_start_the_sandbox() -> None:
    assert {
        floor(name)
        for name in MODULES
        if floor(name) != "sandbox" and any(floor(other) == "sandbox" for other in imports(name))
    } == {"cli", "flows"}


def test_no_module_needs_itself() -> None:
    assert circles({name: imports(name) for name in MODULES}) == LAZY_CIRCLES


def test_no_room_needs_itself() -> None:
    arrows: dict[str, set[str]] = {}
    for name in MODULES:
        arrows.setdefault(room(name), set()).update(room(other) for other in imports(name))
    assert not circles({name: others - {name} for name, others in arrows.items()})


def test_only_the_flows_and_one_lane_know_prefect() -> None:
    knowing = {room(name) for name in MODULES if "prefect" in set(others(name))}
    assert knowing == KNOW_PREFECT


@pytest.mark.parametrize(
    ("sdk", "home"), [("openai", "openai"), ("anthropic", "anthropic"), ("google", "gemini")]
)
def test_a_provider_s_client_is_known_in_its_folder(sdk: str, home: str) -> None:
    knowing = {room(name) for name in MODULES if sdk in set(others(name))}
    assert knowing == {f"imagewave.providers.{home}"}


def test_no_room_is_crowded() -> None:
    sizes: dict[str, int] = {}
    for name in MODULES.keys() - PACKAGES:
        folder = name.rpartition(".")[0]
        sizes[folder] = sizes.get(folder, 0) + (not name.endswith(".__main__"))
    assert not {folder: size for folder, size in sizes.items() if size > MOST}


@pytest.mark.parametrize("package", sorted(PACKAGES - {"imagewave"}))
def test_the_page_names_every_room(package: str) -> None:
    assert f"{package.rpartition('.')[2]}/" in PAGE
    assert ast.get_docstring(tree(package)), f"{package} does not say what it is for"


def test_the_page_names_only_what_is_there() -> None:
    named = {word.strip("`()") for word in PAGE.replace(",", " ").split() if "/" in word}
    files = {word for word in named if word.endswith((".py", ".toml", ".sql"))}
    assert files
    roots = (SRC / "imagewave", SRC.parent)
    assert not [name for name in sorted(files) if not any((root / name).exists() for root in roots)]
