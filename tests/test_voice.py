"""The prose of the repository reads as `tests/voice.py` asks, and no class of the product shares its name."""

import pytest

from tests import voice


def test_prose__of_all_files__has_no_findings() -> None:
    assert [finding for path, source in voice.read_files() for finding in voice.check(path, source)] == []


def test_classes__of_the_product__have_names_of_their_own() -> None:
    assert voice.list_homonyms(voice.read_files()) == []
    assert voice.list_homonyms([("goals/a.py", "class Row: ..."), ("api/b.py", "class Row: ...")]) == [
        "Row: goals/a.py:1, api/b.py:1"
    ]


LONG = "one " * 26


@pytest.mark.parametrize(
    ("path", "source", "finding"),
    [
        ("a.py", '"""What an event becomes."""', "begins with What"),
        ("a.py", 'def get_goal(site: Site) -> Goal:\n    """Return the goal of a site."""', "repeats its definition"),
        ("a.py", 'def too_large():\n    """413."""', "repeats its definition"),
        ("a.py", "x = 1  # which row it is", "begins with which"),
        ("a.py", "# One line of a comment\n# says that nobody asks.", "says `nobody`"),
        ("a.py", f"# noqa: S105 - {LONG}", "has a sentence of 26 words"),
        ("a.py", 'raise Refusal(400, f"A name {name} is told twice.")', "says `told`"),
        ("a.py", 'SQL = """\nSELECT 1 FROM goals  -- that stands here\n"""', "says `stands`"),
        ("a.html", '<p title="So many {{ goals }} of them">{{ sum }}</p>', "says `So many`"),
        ("a.html", "<p>Each event is <b>told</b> once.</p>", "says `told`"),
        ("a.html", f"<p>{LONG}{{% if a %}}<b>more</b>{{% endif %}}.</p>", "has a sentence of 27 words"),
        ("a.yml", "a: 1  # as we told\nb: 2", "says `told`"),
        ("a.js", "  // One line\n  // says that nobody asks.", "says `nobody`"),
        ("a.md", f"- An item.\n- {LONG}\n  and more", "has a sentence of 28 words"),
        ("a.md", "Sentence one. Whose goal it is, matters.", "begins a sentence with whose"),
    ],
)
def test_check__prose_of_a_refused_shape__is_found(path: str, source: str, finding: str) -> None:
    (found,) = voice.check(path, source)

    assert finding in found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("a.py", 'def get_goal(site):\n    """Return the goal, or None once it is deleted."""'),
        ("a.py", '"""Reads `told` and `Whose?` as senders of 2019 wrote them."""'),
        ("a.py", f'"""Counts {"goals, " * 30}and people."""'),
        ("a.py", f'"""Reads:\n\n- {"one " * 20}\n- {"one " * 20}\n"""'),
        ("a.py", 'WORDS = "null nil nobody".split()'),
        ("tests/a.py", 'send("Nobody has told them so many times.")'),
        ("a.html", f"<p>{'one ' * 20}</p><p>{'one ' * 20}</p><code>told</code>{{% url 'heard' %}}"),
        ("a.py", f"x = 1  # {'one ' * 20}\ny = 2  # {'one ' * 20}"),
        ("a.yml", f"# Run:\n#\n#     nobody {LONG}"),
        ("a.md", f"```\nnobody {LONG}\n```\n| {'one ' * 20} | {'one ' * 20} |"),
    ],
)
def test_check__plain_prose__has_no_findings(path: str, source: str) -> None:
    assert voice.check(path, source) == []
