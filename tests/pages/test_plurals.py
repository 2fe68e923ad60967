"""No page says "1 events"."""

import re
from pathlib import Path
from typing import Final

import pytest
from django.template import Context, Template

import api
from api.http.wording import count_of

API: Final = Path(api.__file__).parent
VERBS: Final = "(?:is|was|has|this|of)"
# A number, then the plural of a noun, which is wrong for one: {{ count|number }} goals, f"{count:,} goals".
IN_TEMPLATES: Final = re.compile(
    r"\|(?:number|length) }}(?:</b>|\+|{% endif %})*(?: |<span>)(?:[a-z]+ )?(?!" + VERBS + r"\b)[a-z]+s\b(?! })"
)
IN_CODE: Final = re.compile(r"{(?![A-Z_.a-z]*[A-Z]{2,}[A-Z_]*:)[^{}]*:,} (?:[a-z]+ )?(?!" + VERBS + r"\b)[a-z]+s\b")
GUARDED: Final = {"tokens.html"}  # asks for more than one


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 identities"), (1, "1 identity"), (2, "2 identities"), (1234, "1,234 identities")],
)
def test_count__of_a_number__agrees_with_its_noun(number: int, text: str) -> None:
    page = Template("{% load figures %}{{ number|count:'identity,identities' }}")

    assert count_of(number, "identity", "identities") == text
    assert page.render(Context({"number": number})) == text


def test_count__of_nothing__is_empty() -> None:
    assert Template("{% load figures %}{{ missing|count:'goal' }}").render(Context({"missing": None})) == ""


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (IN_TEMPLATES, "{{ count|number }} goals"),
        (IN_TEMPLATES, "<b>{{ count|number }}</b><span>new goals left</span>"),
        (IN_TEMPLATES, "{{ rows|length }} converting visits"),
        (IN_CODE, 'f"{len(rows):,} goals"'),
    ],
)
def test_pattern__of_a_fixed_plural__finds_it(pattern: re.Pattern[str], text: str) -> None:
    assert pattern.search(text)


def test_templates__numbers__agree_with_their_nouns() -> None:
    wrong = [
        (path.name, found)
        for path in sorted((API / "templates").rglob("*.html"))
        if path.name not in GUARDED
        for found in IN_TEMPLATES.findall(path.read_text())
    ]
    assert wrong == []


@pytest.mark.parametrize("folder", ["alerts", "insight", "pages"])
def test_sentences__numbers__agree_with_their_nouns(folder: str) -> None:
    wrong = [
        (path.name, found)
        for path in sorted((API / folder).rglob("*.py"))
        for found in IN_CODE.findall(path.read_text())
    ]
    assert wrong == []
