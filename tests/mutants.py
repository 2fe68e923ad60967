"""Mutation testing of the pure modules: each small change of their code has to fail a test.

Nothing is written: a fork of this process runs the changed code in place of the module. `mutants.txt` lists the changes
that need no test. An entry is a line `module: reason`, then one or more changes as a diff, then an empty line.
"""

import ast
import difflib
import io
import os
import re
import resource
import signal
import sys
from collections import defaultdict
from collections.abc import Iterator
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Final

import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names
from hypothesis import HealthCheck, Phase, settings

TESTS: Final = {
    "goals/naming.py": ("tests/goals/test_naming.py", "tests/goals/test_matching.py", "tests/rules"),
    **{f"goals/{name}.py": (f"tests/goals/test_{name}.py",) for name in ("matching", "money", "similar_names")},
    **{f"cohorts/{name}.py": (f"tests/cohorts/test_{name}.py",) for name in ("merge", "value_match", "ids")},
    **{f"api/events/{name}.py": (f"tests/events/test_{name}.py",) for name in ("clock", "splitting")},
    **{str(path): ("tests/rules",) for path in sorted(Path("api/rules").glob("[!_]*.py"))},
}
SAME: Final = ("_Eq_Is", "_NotEq_IsNot", "_Is_Eq", "_IsNot_NotEq")  # for None, members of an enum and short texts
OPTIONS: Final = ("-x", "--noconftest", "-c", os.devnull, "--rootdir=.", "-p", "no:cacheprovider")  # needs no server
SECONDS: Final = 30  # of a test run; a changed loop may have no end
MEMORY: Final = 4 << 30  # bytes of a test run; a changed operator may build a huge number


def list_mutants(source: str) -> Iterator[tuple[int, str, str]]:
    """Yield every change that cosmic-ray makes to this code, each once: its line, its diff and the changed code."""
    seen = {_dump(source)}
    for name in operator_names():
        operator = get_operator(name)
        if operator.arguments() or name.endswith(SAME):
            continue
        spans = [span for node in ast_nodes(get_ast(source)) for span in operator().mutation_positions(node)]
        for occurrence, ((line, _), _) in enumerate(spans):
            code = mutate_code(source, operator(), occurrence)
            if (dump := _dump(code)) not in seen:
                seen.add(dump)
                diff = [row for row in difflib.ndiff(source.splitlines(), code.splitlines()) if row[1:].strip()]
                yield line, "\n".join(f"{row[0]} {row[1:].strip()}" for row in diff if row[0] in "+-"), code


def _dump(code: str) -> str:
    """Return the syntax tree without the parts that mypy checks: annotations, `*`, `/` and arguments of dataclass."""
    try:
        tree = ast.parse(code.replace("/,", "*,"))
    except SyntaxError:
        return code
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign):
            node.annotation = ast.Constant(0)
        elif isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.ClassDef):
            node.decorator_list = []
    return ast.dump(tree)


def passes(path: str, code: str) -> bool:
    """Return True if the tests of a module pass with this code."""
    if pid := os.fork():
        return os.waitpid(pid, 0)[1] == 0
    signal.alarm(SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sys.stdout = sys.stderr = io.StringIO()
    result = 1
    try:
        name = path.removesuffix(".py").replace("/", ".")
        module = sys.modules[name] = module_from_spec(find_spec(name))  # type: ignore[arg-type]  # never None
        setattr(sys.modules[name.rpartition(".")[0]], Path(path).stem, module)
        exec(compile(code, path, "exec"), module.__dict__)
        result = pytest.main([*OPTIONS, *TESTS[path]])
    finally:
        os._exit(result)


def check(path: str, accepted: set[str]) -> bool:
    """Print survivors that the list lacks, and its entries that survive no more. Return True if there are none."""
    source = Path(path).read_text()
    mutants = list(list_mutants(source))
    findings = [] if passes(path, source) else [f"{path}: its tests fail without a change"]
    survivors = {change: line for line, change, code in mutants if passes(path, code)}
    findings += [f"{path}:{survivors[change]} survived:\n{change}" for change in survivors if change not in accepted]
    findings += [f"{path}: remove from the list, because it fails:\n{change}" for change in accepted - survivors.keys()]
    print(f"{path}: {len(mutants) - len(survivors)} killed, {len(survivors)} survived", *findings, sep="\n", flush=True)
    return not findings


def main(paths: list[str]) -> int:
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # pytest-django would want a database
    checks, phases = list(HealthCheck), [Phase.explicit, Phase.generate]  # without a search for a simpler example
    settings.register_profile("mutants", derandomize=True, deadline=None, suppress_health_check=checks, phases=phases)
    settings.load_profile("mutants")  # the same examples in every run, so that the list stays true
    accepted = defaultdict[str, set[str]](set)
    for entry in Path("tests/mutants.txt").read_text().split("\n\n"):
        heading, _, changes = entry.strip().partition("\n")
        found = re.findall(r"(?:^-.*\n)+(?:^\+.*\n)*", f"{changes}\n", re.MULTILINE)
        accepted[heading.partition(":")[0]].update(change.strip() for change in found)
    return sum(not check(path, accepted[path]) for path in paths or TESTS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
