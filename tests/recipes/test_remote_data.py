"""The recipe "A key family of remote data" of CONTRIBUTING.md."""

from tests.support.throwaway_copy import Copy
from tests.world import World

FAMILY = """
    KeyFamily("GROUP_", lambda person, _: {"group": person["group"][3]} if "group" in person else {}),"""
READ = """
from api.insight.people import remote_documents
from api.models import Site
from api.http.endpoint import Request
from api.remote_data.map_reads import get_map

site = Site.objects.get()
answer = get_map(Request({"QUERY_STRING": f"siteCode={site.sitecode}&key=GROUP_user-1", "REQUEST_METHOD": "GET"}))
print(answer.body.decode(), remote_documents(site, "user-1")[0]["GROUP_user-1"])
"""


def test_recipe__of_a_key_family__is_served_and_shown(world: World, copy: Copy) -> None:
    world.send(world.event("group", groupId="acme"))
    copy.insert("cohorts/remote_data.py", FAMILY, after="FAMILIES: Final = (")

    assert copy.run(READ).strip() == """{"group":"acme"} {'group': 'acme'}"""
    assert copy.files == {"cohorts/remote_data.py"}
