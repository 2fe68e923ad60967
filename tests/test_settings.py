"""Settings are loud: a bad value is named, in one line, before anything starts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from api.settings import database_from_url, mail_from_url, public_url_from

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GOALPOST_PORT", "http"),
        ("GOALPOST_PORT", "70000"),
        ("GOALPOST_INBOX_LIMIT", "0"),
        ("GOALPOST_DIGEST_BATCH", "-1"),
        ("GOALPOST_KEEP_DONE_DAYS", "6"),
        ("GOALPOST_EMAIL_URL", "mail.example.com"),
        ("GOALPOST_EMAIL_URL", "smtps://mail.example.com:port"),
        ("GOALPOST_WEBHOOK_NETWORKS", "10.0.0.0/8,10.1"),
        ("GOALPOST_PUBLIC_URL", "goalpost.example.com"),
        ("GOALPOST_PUBLIC_URL", "https://example.com/goalpost"),
        ("DATABASE_URL", "mysql://localhost/goalpost"),
        ("DATABASE_URL", "postgresql://localhost:port/goalpost"),
    ],
)
def test_command__bad_setting__names_it_in_one_line(name: str, value: str) -> None:
    refused = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env=os.environ | {name: value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1
    assert name in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_mail_server__with_everything__is_understood() -> None:
    found = mail_from_url("smtp+tls://us%40er:p%2Fw@mail.example.com", "goalpost@example.com")
    expected = {"EMAIL_HOST_USER": "us@er", "EMAIL_HOST_PASSWORD": "p/w", "EMAIL_PORT": 587, "EMAIL_USE_TLS": True}
    assert expected.items() <= found.items()
    assert (found["EMAIL_USE_SSL"], found["DEFAULT_FROM_EMAIL"]) == (False, "goalpost@example.com")


@pytest.mark.parametrize("sender", ["", "goalpost", "a@b.example\nBcc: c@d.example"])
def test_mail_server__without_a_sender__names_the_setting(sender: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="GOALPOST_EMAIL_FROM"):
        mail_from_url("smtp://mail.example.com", sender)


def test_database_address__with_everything__is_understood() -> None:
    found = database_from_url("postgresql://us%40er:p%2Fw@db.internal:6432/goal%20post?sslmode=require")
    expected = {"NAME": "goal post", "USER": "us@er", "PASSWORD": "p/w", "HOST": "db.internal", "PORT": 6432}
    assert expected.items() <= found.items()
    assert found["OPTIONS"]["sslmode"] == "require"


def test_database_address__of_a_socket__is_understood() -> None:
    found = database_from_url("postgresql://postgres@:5432/goalpost?host=/a%20long/path%2Bplus/run")
    assert (found["HOST"], found["PORT"]) == ("/a long/path+plus/run", 5432)
    assert "host" not in found["OPTIONS"]


def test_database_address__wrong__does_not_repeat_the_password() -> None:
    with pytest.raises(ImproperlyConfigured) as refused:
        database_from_url("postgres//user:geheim@db/goalpost")
    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("", ""),
        ("https://goalpost.example.com", "https://goalpost.example.com"),
        (" HTTPS://Goalpost.Example.com/ ", "https://goalpost.example.com"),
        ("https://goalpost.example.com:443", "https://goalpost.example.com"),
        ("http://goalpost.example.com:80/", "http://goalpost.example.com"),
        ("http://goalpost.example.com:443", "http://goalpost.example.com:443"),
        ("https://10.0.0.1:18942", "https://10.0.0.1:18942"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
    ],
)
def test_public_url__written_as_people_do__is_what_a_browser_calls_its_origin(text: str, url: str) -> None:
    assert public_url_from(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "goalpost.example.com",
        "goalpost.example.com:8000",
        "//goalpost.example.com",
        "ftp://goalpost.example.com",
        "https://",
        "https://:8000",
        "https://user:geheim@goalpost.example.com",
        "https://goalpost.example.com:port",
        "https://goalpost.example.com:99999",
        "https://goalpost.example.com?a=b",
        "https://goalpost.example.com#a",
        "https://goal post.example.com",
        "https://*.example.com",
        "https://[::1",
        "https://a..example.com",
    ],
)
def test_public_url__that_is_none__is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="GOALPOST_PUBLIC_URL must look like https://") as refused:
        public_url_from(text)
    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize("text", ["https://example.com/goalpost", "https://example.com/a/b/", "http://h:1//x"])
def test_public_url__with_a_path__says_that_paths_are_not_supported(text: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="does not run under a path"):
        public_url_from(text)
