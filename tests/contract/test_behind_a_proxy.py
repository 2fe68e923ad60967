"""Sign-in behind proxies that hide parts of the address, with and without GOALPOST_PUBLIC_URL."""

import html
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import httpx
import pytest
from django.contrib.auth.models import User

from api.ingest.provisioning import create_source
from api.models import Site, Source
from tests.contract.server import Server, Shop, running_server

pytestmark = pytest.mark.xdist_group("proxy")  # one server with a public address

PASSWORD = "a long password"
HOST = "goalpost.example:18942"
PUBLIC = f"https://{HOST}"
# Headers that reach the server from a browser at PUBLIC, by proxy.
PROXIES: dict[str, dict[str, str]] = {
    "as docker/README.md says": {"host": HOST, "x-forwarded-proto": "https"},
    "nginx's $host": {"host": "goalpost.example", "x-forwarded-proto": "https"},
    "no scheme": {"host": HOST},
    "neither port nor scheme": {"host": "goalpost.example"},
    "upstream's name": {"host": "web:8000", "x-forwarded-host": HOST, "x-forwarded-proto": "https"},
    "upstream's name, no port": {"host": "web:8000", "x-forwarded-host": "goalpost.example"},
    "two proxies": {"host": "web:8000", "x-forwarded-host": f"{HOST}, inner.example", "x-forwarded-proto": "https"},
}


@pytest.fixture(scope="module")
def public_server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:  # only for its start: the session's server may start meanwhile
            patch.setenv("GOALPOST_PUBLIC_URL", f"{PUBLIC}/")
            server = stack.enter_context(running_server(tmp_path_factory.mktemp("public")))
        yield server


def sign_in(server: Server, headers: Mapping[str, str], *, origin: str = PUBLIC) -> httpx.Response:
    """Sign in as a browser that got the form from `origin`."""
    User.objects.create_superuser("admin", password=PASSWORD)
    with httpx.Client(base_url=server.url, headers=headers, timeout=30) as browser:
        form = browser.get("/admin/login/")
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form.text)
        given = {"username": "admin", "password": PASSWORD, "csrfmiddlewaretoken": token[1] if token else ""}
        return browser.post(
            "/admin/login/", data=given, headers={"origin": origin, "referer": f"{origin}/admin/login/"}
        )


@pytest.mark.parametrize("proxy", PROXIES)
def test_sign_in__at_the_public_address__works_whatever_the_proxy_hides(
    transactional_db: None, public_server: Server, proxy: str
) -> None:
    answer = sign_in(public_server, PROXIES[proxy])

    assert (answer.status_code, answer.headers.get("location")) == (302, "/admin/"), answer.text


def test_sign_in__from_another_origin__is_refused(transactional_db: None, public_server: Server) -> None:
    for headers in PROXIES.values():
        User.objects.all().delete()
        assert sign_in(public_server, headers, origin="https://evil.example").status_code == 403


def test_page__asked_for_by_a_made_up_forwarded_host__is_refused(transactional_db: None, public_server: Server) -> None:
    headers = {"host": "web:8000", "x-forwarded-host": "evil.example"}

    answer = httpx.get(f"{public_server.url}/admin/login/", headers=headers)

    text = html.unescape(answer.text)
    assert answer.status_code == 400
    assert all(part in text for part in ("evil.example", "web:8000", "GOALPOST_PUBLIC_URL", "GOALPOST_ALLOWED_HOSTS"))
    assert "goalpost.example" not in text


@pytest.mark.parametrize("proxy", ["nginx's $host", "neither port nor scheme"])
def test_sign_in__without_a_public_address__says_what_was_seen_and_what_to_set(
    transactional_db: None, server: Server, proxy: str
) -> None:
    answer = sign_in(server, {**PROXIES[proxy], "host": "localhost"}, origin="https://localhost:18942")

    text = html.unescape(answer.text)
    assert answer.status_code == 403
    assert "Nothing was changed." in text
    assert "GOALPOST_PUBLIC_URL=https://localhost:18942" in text  # the value to set
    assert re.search(r"Origin</th><td><code>https://localhost:18942<", text)  # the address that the server received
    assert re.search(r"Host</th><td><code>localhost<", text)
    assert re.search(r"Scheme</th><td><code>https?<", text)
    assert PASSWORD not in text
    assert "no-store" in answer.headers["cache-control"]


@pytest.mark.parametrize("proxy", PROXIES)
def test_settings__of_a_write_key_at_the_public_address__name_it(
    transactional_db: None, public_server: Server, proxy: str
) -> None:
    site = Site.objects.create(name="Shop", sitecode="0123456789")
    key = create_source(site, name="Web", kind=Source.Kind.BROWSER).write_keys.get().key

    answer = httpx.get(f"{public_server.url}/v1/projects/{key}/settings", headers=PROXIES[proxy])

    segment = answer.json()["integrations"]["Segment.io"]
    assert (segment["protocol"], segment["apiHost"]) == ("https", f"{HOST}/v1")


@pytest.mark.parametrize("host", ["events.example", "goalpost.example:9"])
def test_settings__of_a_write_key_at_another_name__name_that(
    transactional_db: None, public_server: Server, host: str
) -> None:
    site = Site.objects.create(name="Shop", sitecode="0123456789")
    key = create_source(site, name="Web", kind=Source.Kind.BROWSER).write_keys.get().key
    headers = {"host": host, "x-forwarded-host": "evil.example", "x-forwarded-proto": "https"}

    answer = httpx.get(f"{public_server.url}/v1/projects/{key}/settings", headers=headers)

    assert answer.json()["integrations"]["Segment.io"]["apiHost"] == f"{host}/v1"


def test_form__without_its_cookie__says_that_cookies_are_missing(shop: Shop) -> None:
    answer = shop.client.post("/admin/login/", data={"username": "a", "password": PASSWORD})

    assert answer.status_code == 403
    assert "The browser sent no cookie with the form." in answer.text
    assert PASSWORD not in answer.text


def test_form__of_an_older_session__says_to_load_it_again(shop: Shop) -> None:
    shop.client.get("/admin/login/")

    answer = shop.client.post("/admin/login/", data={"username": "a", "csrfmiddlewaretoken": "x" * 64})

    assert answer.status_code == 403
    assert "Reload the page" in answer.text
