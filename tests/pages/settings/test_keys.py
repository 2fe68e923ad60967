"""The page of all keys: which one is needed, what each did last, and its end."""

from datetime import UTC, datetime

from django.contrib.auth.models import User
from django.test import Client

from api.http.tokens import make_token
from api.ingest.provisioning import create_credential, create_source, revoke_credential, revoke_write_key
from api.models import Site, SourceCount
from tests.support.pages import Enter
from tests.support.settings_pages import look
from tests.world import owner_of


def test_keys__to_an_owner__are_all_live_ones_with_their_use(owner: Client, site: Site) -> None:
    now = datetime.now(UTC)
    source = create_source(site, name="Shop server", kind="server")
    SourceCount.objects.create(
        site=site,
        source=source,
        hour=now.replace(minute=0, second=0, microsecond=0),
        received=1_234,
        duplicates=0,
        rejected=56,
        last_received_at=now,
    )
    create_credential([site], name="Server SDK", scopes=["read"])
    make_token([site], description="Deployment", role="viewer", made_by=owner_of(site), expires_at=None)

    shown = look(owner, "keys/")

    assert "Which one do I need?" in shown
    for part in (source.write_keys.get().key, "1,234", "56", "Server SDK", "Deployment"):
        assert part in shown
    assert shown.count(">Revoke…</button>") == 2 + site.credentials.count() + 1


def test_keys__that_have_ended__are_left_out(owner: Client, site: Site) -> None:
    source = create_source(site, name="Shop server", kind="server", write_key="a-key-that-has-ended")
    credential = create_credential([site], name="Server SDK", scopes=["read"]).credential
    token, _ = make_token(
        [site],
        description="Deployment",
        role="viewer",
        made_by=owner_of(site),
        expires_at=datetime(2020, 1, 1, tzinfo=UTC),
    )
    now = datetime.now(UTC)
    eve = User.objects.create_user("eve")  # no member
    gone, _ = make_token([site], description="Of eve", role="viewer", made_by=eve, expires_at=None)
    revoke_write_key(source.write_keys.get(), now=now)
    revoke_credential(credential, now=now)

    shown = look(owner, "keys/")

    for part in ("a-key-that-has-ended", "Server SDK", token.description, gone.description):
        assert part not in shown


def test_keys__to_a_viewer__are_write_keys_without_buttons(enter: Enter, site: Site) -> None:
    create_credential([site], name="Server SDK", scopes=["read"])

    shown = look(enter("viewer"), "keys/")

    assert site.sources.get().write_keys.get().key in shown
    assert "Server SDK" not in shown
    assert ">Revoke…</button>" not in shown
