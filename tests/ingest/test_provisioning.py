"""Creation of sites and credentials."""

import base64
import json
import re

import pytest
from django.core.exceptions import ValidationError

from api.http.credentials import encode_api_key, generate_secret, generate_sitecode
from api.ingest.provisioning import create_credential, create_site
from api.models import Source


@pytest.mark.promise("W3", "W2")
def test_generated_names__of_any_number__fit_what_senders_take() -> None:
    assert all(re.fullmatch(r"[a-z0-9]{10}", generate_sitecode()) for _ in range(100))
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{32}", generate_secret()) for _ in range(100))


@pytest.mark.promise("K-36", "W2")
def test_api_key__of_id_and_secret__is_base64_of_json() -> None:
    assert json.loads(base64.b64decode(encode_api_key("an-id", "a-secret"))) == {"id": "an-id", "secret": "a-secret"}


@pytest.mark.promise("W3")
@pytest.mark.parametrize("sitecode", ["short", "elevenchars", "UPPERCASE0", "with space", "abcdefghij\n", "éééééééééé"])
def test_site__with_a_sitecode_that_no_sender_takes__is_refused(transactional_db: None, sitecode: str) -> None:
    with pytest.raises(ValidationError):
        create_site(name="Shop", sitecode=sitecode)


def test_site__new__has_its_destination_with_a_write_key(transactional_db: None) -> None:
    site = create_site(name="Shop")

    source = Source.objects.get(site=site)
    assert (source.kind, source.is_enabled) == ("destination", True)
    assert source.write_keys.get().key


@pytest.mark.promise("W2")
@pytest.mark.parametrize("client_id", ["a b", "a&b", "a+b", "é", "a\n"])
def test_credential__with_an_id_that_breaks_in_a_url__is_refused(transactional_db: None, client_id: str) -> None:
    with pytest.raises(ValidationError):
        create_credential([], name="x", client_id=client_id)


@pytest.mark.promise("K-35")
def test_credential__new__stores_no_secret(transactional_db: None) -> None:
    new = create_credential([], name="x")

    assert new.secret not in str(vars(new.credential))
    assert len(new.credential.secret_hash) == 64
