"""The first start makes one site, one credential and one administrator, and prints their secrets once."""

import io
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django import Settings

from api.http.credentials import check_secret, clear_lookups
from api.models import Credential, Site, WriteKey

NAMES = ("SITECODE", "CLIENT_ID", "CLIENT_SECRET", "WRITE_KEY", "ADMIN_USER", "ADMIN_PASSWORD")


@pytest.fixture
def first_start(
    transactional_db: None, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """Return the data directory of an installation without settings in the environment."""
    settings.DATA_DIR = tmp_path / "data"
    for name in NAMES:
        monkeypatch.delenv(f"GOALPOST_{name}", raising=False)
    clear_lookups()
    yield tmp_path / "data" / "first-site.env"
    clear_lookups()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def bootstrap(out: io.StringIO | None = None) -> str:
    out = Terminal() if out is None else out
    call_command("bootstrap", stdout=out)
    return out.getvalue()


def test_bootstrap__first_start__makes_what_its_file_says_and_shows_it_once(first_start: Path) -> None:
    output = bootstrap(Terminal())
    again = bootstrap(Terminal())

    kept = dict(line.split("=", 1) for line in first_start.read_text().splitlines())
    assert set(kept) == {f"GOALPOST_{name}" for name in NAMES}
    assert stat.S_IMODE(first_start.stat().st_mode) == 0o600
    site = Site.objects.get(sitecode=kept["GOALPOST_SITECODE"])
    assert site.public_traits == ["plan"]
    bearer = check_secret(kept["GOALPOST_CLIENT_ID"], kept["GOALPOST_CLIENT_SECRET"])
    assert bearer.site_ids == {site.pk}
    assert WriteKey.objects.get(source__site=site).key == kept["GOALPOST_WRITE_KEY"]
    admin = get_user_model().objects.get(username="admin")
    assert admin.check_password(kept["GOALPOST_ADMIN_PASSWORD"])
    assert kept["GOALPOST_CLIENT_SECRET"] in output
    assert kept["GOALPOST_CLIENT_SECRET"] not in again


@pytest.mark.promise("K-36")
def test_bootstrap__whose_output_is_a_log__tells_no_secret(first_start: Path) -> None:
    output = bootstrap(io.StringIO())

    kept = dict(line.split("=", 1) for line in first_start.read_text().splitlines())
    assert str(first_start) in output
    assert not [
        name for name, value in kept.items() if name.endswith(("SECRET", "KEY", "PASSWORD")) and value in output
    ]


@pytest.mark.promise("A-02", "A-10")
def test_bootstrap__with_names_given__takes_them(first_start: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOALPOST_SITECODE", "1q2w3e4r5t")
    monkeypatch.setenv("GOALPOST_CLIENT_ID", "demo_client")
    monkeypatch.setenv("GOALPOST_CLIENT_SECRET", "demo_secret")
    monkeypatch.setenv("GOALPOST_WRITE_KEY", "demo_write_key")

    bootstrap()

    assert WriteKey.objects.get().key == "demo_write_key"
    assert Site.objects.get().sitecode == "1q2w3e4r5t"
    assert check_secret("demo_client", "demo_secret").client_id == "demo_client"


@pytest.mark.parametrize(
    ("name", "value"), [("SITECODE", "short"), ("CLIENT_ID", "a b"), ("CLIENT_SECRET", "a&b"), ("WRITE_KEY", "é")]
)
def test_bootstrap__with_a_name_that_cannot_be__says_so_and_makes_nothing(
    first_start: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"GOALPOST_{name}", value)

    with pytest.raises(CommandError, match="GOALPOST_"):
        bootstrap()

    assert (Site.objects.count(), Credential.objects.count()) == (0, 0)
    assert not first_start.exists()


def test_bootstrap__where_secrets_cannot_be_kept__makes_nothing(first_start: Path, settings: Settings) -> None:
    settings.DATA_DIR = Path("/proc/nowhere")

    with pytest.raises(CommandError, match="cannot keep"):
        bootstrap()

    assert Site.objects.count() == 0


def test_bootstrap__four_at_once__make_one_site(first_start: Path) -> None:
    def alone(_: int) -> str:
        try:
            return bootstrap()
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as threads:
        outputs = list(threads.map(alone, range(4)))

    assert Site.objects.count() == 1
    assert sum("made the first site" in output for output in outputs) == 1
