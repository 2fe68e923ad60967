"""Layout of the tests: helpers are in modules without tests, and a file has at most 400 lines."""

import ast
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).parent
FILES: Final = sorted(file for file in TESTS.rglob("*.py") if "node_modules" not in file.parts)
MOST_LINES: Final = 400


def list_imports(source: str) -> Iterator[str]:
    """Yield the dotted names of all imports, also of those in functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def is_of_tests(name: str) -> bool:
    """Return True for a name in a module that pytest collects."""
    package, *parts = name.split(".")
    return package == "tests" and any(part.startswith("test_") or part == "conftest" for part in parts)


def test_helpers__are_imported__from_no_test_module() -> None:
    # An object that is collected while `ast` works may print a warning, whose traceback parses code as well. CPython
    # before 3.11.5 then raises SystemError (python/cpython, 106905).
    gc.collect()
    imports = [(file.relative_to(TESTS), name) for file in FILES for name in list_imports(file.read_text())]

    assert [(str(file), name) for file, name in imports if is_of_tests(name)] == []
    assert is_of_tests("tests.flows.test_goals.make_goal")
    assert is_of_tests("tests.rest.conftest.owner")
    assert not is_of_tests("tests.support.rules.add_rule")


def test_files__of_tests__are_short() -> None:
    lengths = {str(file.relative_to(TESTS)): len(file.read_text().splitlines()) for file in FILES}

    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}
