"""A bad setting stops the start with one line that names it."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from environs import EnvError

from api.runtime.sdk_hosts import sdk_domains_from
from api.runtime.secret_files import read_secret_key, write_secret
from api.settings import (
    hosts_from,
    mail_from_url,
    public_url_from,
    read_addresses,
    read_database,
    redis_url_from,
)

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
        ("REDIS_URL", "localhost:6379"),
        ("GOALPOST_SDK_DOMAINS", "shop.example,https://other.example"),
        ("GOALPOST_HOOKS", "no_such_module"),
    ],
)
def test_command__bad_setting__names_it_in_one_line(name: str, value: str) -> None:
    assert name in refusal("manage.py", "check", **{name: value})


@pytest.mark.parametrize("program", [("-c", "import api.asgi"), ("-m", "celery", "-A", "api.celery", "report")])
def test_web_and_worker__bad_setting__name_it_in_one_line(program: tuple[str, ...]) -> None:
    assert "GOALPOST_KEEP_DONE_DAYS" in refusal(*program, GOALPOST_KEEP_DONE_DAYS="1")


@pytest.mark.parametrize("text", ["h:6379", "redis://", "redis://h:99999/0", "redis://:geheim@h/zero", "http://h"])
def test_redis_address__wrong__is_refused_without_repeating_the_password(text: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="REDIS_URL") as refused:
        redis_url_from(text)
    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize("text", ["redis://127.0.0.1:6379/0", "rediss://u:p%2Fw@h:1/15", "redis://:p@[::1]"])
def test_redis_address__right__is_taken(text: str) -> None:
    assert redis_url_from(text) == text


@pytest.mark.parametrize("name", ["https://a.example", "a.example:8000", "a.example/", "a_b.example", "*.a.example"])
def test_allowed_hosts__one_that_never_matches__is_named(name: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="GOALPOST_ALLOWED_HOSTS"):
        hosts_from(["localhost", name])


def test_allowed_hosts__as_django_knows_them__are_taken() -> None:
    assert hosts_from([" A.example", ".example.com", "[::1]", "*", ""]) == ["a.example", ".example.com", "[::1]", "*"]


def test_database_address__option_that_no_client_knows__is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://localhost/goalpost?ssl=yes")
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL has an option"):
        read_database()


def refusal(*program: str, **environment: str) -> str:
    """Run Python with these arguments and variables, which must fail; return the last line of its output."""
    refused = subprocess.run(
        [sys.executable, *program], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    return line


@pytest.mark.parametrize("kept", [b"", b"short", b"\0" * 67, b"\xff" * 67, b"two words, and more, of a certain length"])
def test_secret_key__file_is_damaged__is_named_and_left_as_it_is(tmp_path: Path, kept: bytes) -> None:
    path = tmp_path / "secret-key"
    path.write_bytes(kept)

    with pytest.raises(ImproperlyConfigured, match="holds no secret key") as refused:
        read_secret_key(tmp_path, given="")

    assert str(path) in str(refused.value)
    assert path.read_bytes() == kept


def test_secret_key__blank_in_the_environment__is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match="GOALPOST_SECRET_KEY must be printable"):
        read_secret_key(tmp_path, given="  ")


def test_command__secret_key_or_addresses_are_damaged__says_so_in_one_line(tmp_path: Path) -> None:
    directory = {"GOALPOST_SECRET_KEY": "", "GOALPOST_DATA_DIR": str(tmp_path)}
    for name, words in (("servers.env", "does not hold the addresses"), ("secret-key", "holds no secret key")):
        (tmp_path / name).write_bytes(b"\0" * 100)
        assert f"{tmp_path / name} {words}" in refusal("manage.py", "check", **directory)
        (tmp_path / name).unlink()


def test_secret_key__made_at_the_first_start__is_kept_whole_and_found_again(tmp_path: Path) -> None:
    made, place = read_secret_key(tmp_path / "data", given="")

    assert (len(made), place) == (67, str(tmp_path / "data" / "secret-key"))
    assert read_secret_key(tmp_path / "data", given="") == (made, place)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["secret-key"]
    assert stat.S_IMODE(Path(place).stat().st_mode) == 0o600


def test_secret_key__written_by_hand_with_a_line_end__stays_what_it_was(tmp_path: Path) -> None:
    """The line end is part of the key that has signed; without it every hash would differ."""
    (tmp_path / "secret-key").write_text("k" * 50 + "\n")

    assert read_secret_key(tmp_path, given="")[0] == "k" * 50 + "\n"


def test_secret_key__four_starts_at_once__agree(tmp_path: Path) -> None:
    environment = os.environ | {"GOALPOST_SECRET_KEY": "", "GOALPOST_DATA_DIR": str(tmp_path / "data")}
    command = [sys.executable, "-c", "import api.settings as s; print(s.SECRET_KEY)"]
    started = [subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE) for _ in range(4)]

    (key,) = {process.communicate()[0] for process in started}
    assert len(key.strip()) == 67


@pytest.mark.parametrize(
    "kept", [b"DATABASE_URL\n", b"\0" * 200, b"\xff\xfe", b"PATH=/tmp\n", b"REDIS_URL=\n", b"{not: env}\n"]
)
def test_addresses_of_embedded_servers__file_is_damaged__is_named(tmp_path: Path, kept: bytes) -> None:
    path = tmp_path / "servers.env"
    path.write_bytes(kept)

    with pytest.raises(ImproperlyConfigured, match=r"servers\.env does not hold the addresses"):
        read_addresses(path)


def test_addresses_of_embedded_servers__well_kept__are_used_where_none_are_set(tmp_path: Path) -> None:
    written = {"DATABASE_URL": "postgresql://postgres@:5432/goalpost?host=/a%20b/run", "REDIS_URL": "redis://:p@h:1/0"}
    write_secret(tmp_path / "servers.env", "".join(f"{n}={v}\n" for n, v in written.items()), replace=True)

    assert read_addresses(tmp_path / "servers.env") == written
    assert read_addresses(tmp_path / "no" / "servers.env") == {}


@pytest.mark.parametrize(
    ("scheme", "port", "is_tls_later", "is_tls_at_once"),
    [("smtp", 25, False, False), ("smtp+tls", 587, True, False), ("smtps", 465, False, True)],
)
def test_mail_server__with_everything__is_understood(
    *, scheme: str, port: int, is_tls_later: bool, is_tls_at_once: bool
) -> None:
    mail = mail_from_url(f"{scheme}://us%40er:p%2Fw@mail.example.com", "goalpost@example.com")
    expected = {"EMAIL_HOST_USER": "us@er", "EMAIL_HOST_PASSWORD": "p/w", "DEFAULT_FROM_EMAIL": "goalpost@example.com"}
    assert expected.items() <= mail.items()
    assert (mail["EMAIL_PORT"], mail["EMAIL_USE_TLS"], mail["EMAIL_USE_SSL"]) == (port, is_tls_later, is_tls_at_once)


@pytest.mark.parametrize("sender", ["", "goalpost", "a@b.example\nBcc: c@d.example"])
def test_mail_server__without_a_sender__names_the_setting(sender: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="GOALPOST_EMAIL_FROM"):
        mail_from_url("smtp://mail.example.com", sender)


def test_database_address__with_everything__is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "DATABASE_URL", "postgresql://us%40er:p%2Fw@db.internal:6432/goal%20post?sslmode=require&sslpassword=0012"
    )
    database = read_database()
    expected = {"NAME": "goal post", "USER": "us@er", "PASSWORD": "p/w", "HOST": "db.internal", "PORT": 6432}
    assert expected.items() <= database.items()
    assert (
        database["OPTIONS"].items()
        >= {"sslmode": "require", "sslpassword": "0012", "server_side_binding": True}.items()
    )


def test_database_address__of_a_socket__is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://postgres@:5432/goalpost?host=/a%20long/path%2Bplus/run")
    database = read_database()
    assert (database["HOST"], database["PORT"]) == ("/a long/path+plus/run", 5432)
    assert "host" not in database["OPTIONS"]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "postgres//user:geheim@db/goalpost",
        "postgresql://user:geheim@db",
        "postgresql://user:geheim@db:port/goalpost",
        "postgresql://user:geheim@[::1/goalpost",
        "postgresql://user:pass/geheim@db/goalpost",
        "postgresql://user:geheim@db/goalpost?ssl=yes",
        "mysql://user:geheim@db/goalpost",
        "redshift://user:geheim@db/goalpost",
        "sqlite:///geheim",
    ],
)
def test_database_address__wrong__does_not_repeat_the_password(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises((ImproperlyConfigured, EnvError), match="DATABASE_URL") as refused:
        read_database()
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


@pytest.mark.parametrize(
    ("names", "public_host", "domains"),
    [
        ([], "", []),
        ([], "goalpost.example:8443", ["goalpost.example"]),
        ([], "api.goalpost.example", ["goalpost.example"]),
        ([], "127.0.0.1:8000", []),
        ([], "[::1]:8000", []),
        (["Shop.Example", " data.other.example ", "", "goalpost.example"], "api.goalpost.example", None),
    ],
)
def test_sdk_domains__of_the_public_address_and_others__are_names_without_sdk_labels(
    names: list[str], public_host: str, domains: list[str] | None
) -> None:
    expected = ["goalpost.example", "shop.example", "other.example"] if domains is None else domains
    assert sdk_domains_from(names, public_host) == expected


@pytest.mark.parametrize("name", ["https://shop.example", "shop.example:443", "shop.example/", "a b", "shop..example!"])
def test_sdk_domain__that_sdks_cannot_use__is_refused(name: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="GOALPOST_SDK_DOMAINS"):
        sdk_domains_from([name], "")
