"""The tour of the README works as printed, against a running server."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.contract.node import needs_curl
from tests.contract.server import Shop

README = (Path(__file__).parents[2] / "README.md").read_text()
TOUR = README.partition("## Five minutes")[2].partition("\n## ")[0]


def printed(language: str) -> list[str]:
    """Return the blocks of the tour in this language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```", TOUR, re.DOTALL | re.MULTILINE)


def run_commands(shop: Shop, directory: Path, commands: str) -> str:
    """Run commands of the tour in a folder with a `.data/first-site.env` of this shop. Return what they print."""
    (directory / ".data").mkdir(exist_ok=True)
    (directory / ".data" / "first-site.env").write_text(
        f"GOALPOST_SITECODE={shop.sitecode}\nGOALPOST_CLIENT_ID={shop.client_id}\n"
        f"GOALPOST_CLIENT_SECRET={shop.secret}\nGOALPOST_WRITE_KEY={shop.write_key}\n"
    )
    script = commands.replace("http://127.0.0.1:8000", shop.server.url)
    done = subprocess.run(
        ["bash", "-euc", script], cwd=directory, capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout.replace(shop.sitecode, "…")


@needs_curl
@pytest.mark.promise("K-36", "K-37")
def test_tour__run_as_printed__answers_as_printed(shop: Shop, tmp_path: Path) -> None:
    prelude, sending, asking, reading = printed("sh")
    sent, read = printed("json")

    assert run_commands(shop, tmp_path, prelude + sending) == sent
    shop.digest()
    asked = run_commands(shop, tmp_path, prelude + asking)
    assert run_commands(shop, tmp_path, prelude + reading) == read

    trace, goals, conversions = parse_all(asked)
    assert trace
    assert [goal["name"] for goal in goals] == ["SegmentIO track – Clicked on Checkout"]
    assert [conversion["visitorCode"] for conversion in conversions["results"]] == ["vc0123456789abcd"]


def parse_all(text: str) -> list[Any]:
    """Return the JSON documents that follow each other in a text."""
    decoder, documents = json.JSONDecoder(), []
    while text := text.strip():
        document, end = decoder.raw_decode(text)
        documents.append(document)
        text = text[end:]
    return documents


@pytest.mark.promise("K-34")
def test_readme__of_plans__says_that_none_is_paid_for() -> None:
    assert "Nothing here needs a paid plan" in README
