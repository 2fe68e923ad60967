"""The documents of the repository: paths, modules, links and settings that they name exist."""

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from django.core.management import get_commands

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docker/*.md")])
# Written by operators.
UNTRACKED = {"docker/.env", "docker/hooks/shop_hooks.py"}
FOLDERS = {".ci", "api", "cohorts", "docker", "goals", "tests"}


@cache
def read_prose(document: Path) -> str:
    """Return a document without its JSON and Mermaid blocks."""
    return re.sub(r"^```(?:json|mermaid)\n.*?^```", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)


def list_paths(document: Path) -> Iterator[str]:
    """Yield what looks like a path of the repository, with a slash or a suffix."""
    for quoted in re.findall(r"`([^`\n]+)`", read_prose(document)):
        for word in quoted.split():
            if "/" in word and word.partition("/")[0] in FOLDERS:
                yield re.sub(r"^(\w+)/(\d{4})$", r"\1/migrations/\2_*.py", word)
    yield from re.findall(r"(?<![\w./])(?:docker|tests|api)/[\w.-]+(?:/[\w.-]+)*", "\n".join(list_commands(document)))


def list_commands(document: Path) -> list[str]:
    """Return the shell blocks."""
    return re.findall(r"^ *```sh\n(.*?)^ *```", read_prose(document), flags=re.DOTALL | re.MULTILINE)


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_paths__of_a_document__exist(document: Path) -> None:
    missing = [path for path in list_paths(document) if path not in UNTRACKED and not list(ROOT.glob(path.rstrip("/")))]

    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_modules_and_commands__of_a_document__exist(document: Path) -> None:
    run = re.findall(r"python -m (tests[\w.]*)", read_prose(document))
    commands = set(re.findall(r"manage\.py (\w+)", read_prose(document)))
    files = set(re.findall(r"`(\w+\.py)`", read_prose(document))) - {"shop_hooks.py"}
    folders = [ROOT.glob("*.py"), *((ROOT / folder).rglob("*.py") for folder in FOLDERS)]
    modules = {path.name for paths in folders for path in paths}

    assert [name for name in run if find_spec(name) is None] == []
    assert files - modules == set()
    assert commands - get_commands().keys() == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links__of_a_document__lead_to_a_file_and_a_heading(document: Path) -> None:
    for path, _, anchor in (link.partition("#") for link in re.findall(r"\]\(([^)\s]+)\)", read_prose(document))):
        if path.startswith("https://"):
            continue
        target = document.parent / path if path else document
        assert target.is_file(), f"{document.name} leads to {path}"
        if anchor:
            assert anchor in {slug(heading) for heading in re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)}


def test_settings__of_the_table__are_those_of_the_code() -> None:
    source = (ROOT / "api/settings.py").read_text() + (ROOT / "docker/entrypoint").read_text()
    table = (ROOT / "docker/README.md").read_text().partition("| variable |")[2].partition("\n\n")[0]
    named = set(re.findall(r"\b(?:GOALPOST_\w+|DATABASE_URL|REDIS_URL)\b", table))
    example = set(re.findall(r"^(GOALPOST_\w+)=", (ROOT / "docker/env.example").read_text(), flags=re.MULTILINE))

    assert set(re.findall(r"\bGOALPOST_[A-Z_]+\b", source)) - named == {"GOALPOST_STATIC_ROOT"}  # set by the image
    assert example - named == {"GOALPOST_DOMAIN", "GOALPOST_PORT", "GOALPOST_TAG"} - named


def test_files__of_the_repository__cite_no_document_from_elsewhere() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    files = [ROOT / name for name in listed.split("\0") if name and name != "tests/test_documents.py"]
    cited = re.compile(r"\bwire-(?:segment|kameleoon)\b|\bdesign (?:\"|\.md)|\b(?:design|style|promises)\.md\b")

    assert [str(path) for path in files if path.is_file() and cited.search(path.read_text(errors="replace"))] == []
