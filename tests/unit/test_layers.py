"""The layout: each part of the package stands on a floor and imports only what stands beneath it."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Set, Tuple

ROOT = Path(__file__).parents[2]
NAME = "resilient_wsgi"
PACKAGE = ROOT / NAME

COMPONENTS = (
    "outbound", "drivers", "stderr", "threads", "readiness", "request", "bulkhead", "overload",
    "backlog",
)  # fmt: skip
# from the bottom to the top; parts of one floor may import each other, components may not
FLOORS = (
    ("errors", "core"),
    ("events", "settings", "host", "deadline", "upstream"),
    ("servers",),
    ("shm",),
    ("component",),
    COMPONENTS,
    ("doctor",),
    ("startup", "installation"),
    ("app",),
    ("django", "uwsgi", "testing"),
    ("pytest_plugin",),
    ("cli", "__main__"),
)
FLOOR = {part: floor for floor, parts in enumerate(FLOORS) for part in parts}
MOST_GLOBALS = 6
MOST_ROOT_MODULES = 14

# What does not keep to the floors yet: (importing module, imported part). May only shrink.
UPWARDS: Set[Tuple[str, str]] = set()
UPWARDS_FOR_TYPES: Set[Tuple[str, str]] = set()
CIRCLES: List[List[str]] = []


class Import(NamedTuple):
    """One import of this package's own: by which module, of which, and only for type checkers?"""

    by: str
    of: str
    for_types: bool


def modules() -> Dict[str, Path]:
    """Return the package's modules by dotted name without the package: `core.system`, `events`."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = path
    return found


MODULES = modules()
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def part_of(module: str) -> str:
    """Return the part of the layout that a module belongs to; "" for the package itself."""
    return module.partition(".")[0]


def is_for_types(test: ast.expr) -> bool:
    return "TYPE_CHECKING" in (getattr(test, "id", ""), getattr(test, "attr", ""))


def statements(node: ast.AST, for_types: bool = False) -> Iterator[Tuple[ast.AST, bool]]:
    """Yield each import below a node, those in functions included, and whether it is for types."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child, for_types
        elif isinstance(child, ast.If) and is_for_types(child.test):
            for statement in child.body:
                yield from statements(ast.Module([statement], []), True)
            for statement in child.orelse:
                yield from statements(ast.Module([statement], []), for_types)
        else:
            yield from statements(child, for_types)


def base_of(module: str, node: ast.ImportFrom) -> str | None:
    """Return the module that `from ... import` names, None if it is not one of this package."""
    if not node.level:
        first, _, rest = (node.module or "").partition(".")
        return rest if first == NAME else None
    package = MODULES[module].name == "__init__.py"
    above = module.split(".") if module else []
    above = above[: len(above) - node.level + package]
    return ".".join([*above, *filter(None, [node.module])])


def targets(module: str, node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            first, _, rest = alias.name.partition(".")
            if first == NAME:
                yield rest
        return
    base = base_of(module, node)
    if base is None:
        return
    for alias in node.names:
        inner = f"{base}.{alias.name}" if base else alias.name
        yield inner if inner in MODULES else base


def imports() -> List[Import]:
    return [
        Import(module, target, for_types)
        for module, tree in TREES.items()
        for node, for_types in statements(tree)
        for target in targets(module, node)
        if target != module
    ]


IMPORTS = imports()


def upwards(*, for_types: bool) -> Set[Tuple[str, str]]:
    """Return the imports that lead to a higher floor or to another component."""
    found = set()
    for each in IMPORTS:
        by, of = part_of(each.by), part_of(each.of)
        # the package itself offers names of all floors, each imported when it is first used
        if not by or not of or by == of or each.for_types is not for_types:
            continue
        if each.for_types and MODULES[each.by].name == "__init__.py":
            continue  # a package may offer a name of a higher floor, imported when it is first used
        higher = FLOOR[of] > FLOOR[by]
        if higher or (by in COMPONENTS and of in COMPONENTS):
            found.add((each.by, of))
    return found


def test_each_module_is_in_the_layout():
    assert {part_of(module) for module in MODULES} - {""} <= set(FLOOR)


def test_nothing_imports_what_stands_above_it():
    assert upwards(for_types=False) - UPWARDS == set()
    assert UPWARDS - upwards(for_types=False) == set(), (
        "take out of the table what keeps to the floors now"
    )


def test_not_even_for_type_checkers():
    assert upwards(for_types=True) - UPWARDS_FOR_TYPES == set()
    assert UPWARDS_FOR_TYPES - upwards(for_types=True) == set()


def circles() -> List[List[str]]:
    """Return the groups of modules that import each other, directly or not."""
    edges: Dict[str, Set[str]] = {module: set() for module in MODULES}
    for each in IMPORTS:
        if not each.for_types and each.by:
            edges[each.by].add(each.of)
    reach = {module: reachable(module, edges) for module in edges}
    groups = {
        tuple(sorted(other for other in reach[module] if module in reach[other]))
        for module in edges
        if module in reach[module]
    }
    return sorted(map(list, groups))


def reachable(module: str, edges: Dict[str, Set[str]]) -> Set[str]:
    found: Set[str] = set()
    open_ = list(edges[module])
    while open_:
        other = open_.pop()
        if other not in found:
            found.add(other)
            open_ += edges[other]
    return found


def test_there_are_no_circles():
    assert circles() == CIRCLES


def test_state_is_held_by_objects_not_by_modules():
    found = [
        f"{module}:{node.lineno} {', '.join(node.names)}"
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Global)
    ]
    assert len(found) <= MOST_GLOBALS, found


def test_few_modules_lie_loose_at_the_root():
    assert len([path for path in MODULES.values() if path.parent == PACKAGE]) <= MOST_ROOT_MODULES


# files of servers and of the standard library, which are not ours to rename
FOREIGN_FILES = {"socketserver.py", "worker.py", "__main__.py", ".py"}
# what the doctor looks at, in its examples
FOREIGN_FILES |= {"gunicorn.conf.py", "wsgi.py", "views.py", "tasks.py", "settings.py"}
NAMED_FILES: Set[str] = set()


def test_nothing_is_decided_by_the_name_of_a_file_of_this_package():
    found = {
        f"{module}: {node.value}"
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and is_name_of_a_file(node.value)
    }
    assert found == NAMED_FILES


def is_name_of_a_file(value: object) -> bool:
    names_one = isinstance(value, str) and value.endswith(".py") and not set(value) & set(" \n")
    return names_one and Path(str(value)).name not in FOREIGN_FILES
