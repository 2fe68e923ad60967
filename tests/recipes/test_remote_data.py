"""The recipe "A key family of remote data" of CONTRIBUTING.md."""

from tests.support.throwaway_copy import Copy
from tests.world import World

FAMILY = """
    KeyFamily("TRAITS_", lambda person, reader: profile(person, reader).get("traits", {}), frozenset({"traits"})),"""
READ = """
import asyncio

from api.insight.people import remote_documents
from api.models import Site
from api.http.endpoint import Request
from api.remote_data.map_reads import get_map

site = Site.objects.get()
query = f"siteCode={site.sitecode}&key=TRAITS_user-1".encode()
scope = {"type": "http", "method": "GET", "path": "/map/map", "query_string": query, "headers": []}
answer = asyncio.run(get_map(Request(scope, None)))
print(answer.body.decode(), remote_documents(site, "user-1")[0]["TRAITS_user-1"])
"""


def test_recipe__of_a_key_family__is_served_and_shown(world: World, copy: Copy) -> None:
    world.site.public_traits = ["plan"]
    world.site.save()
    world.send(world.event("identify", traits={"plan": "gold"}))
    copy.insert("cohorts/remote_data.py", FAMILY, after="FAMILIES: Final = (")

    assert copy.run(READ).strip() == """{"plan":"gold"} {'plan': 'gold'}"""
    assert copy.files == {"cohorts/remote_data.py"}
