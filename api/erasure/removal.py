"""Removal of personas, groups, segments and whole sites.

A persona or group leaves the lists and `common` at once. A worker removes it from its members, a chunk of identities at
a time. A segment is gone at once. Then a worker deletes its members, entries and exits. A site refuses events and
readers at once. Then a worker deletes its rows table by table, and the site last, so that another worker can continue
after a crash. The audit log stays.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from django.db import connection, transaction
from django.db.models import Max, Min

from api.digest import segments
from api.models import Removal, Site, WriteKey
from api.models.audit import write_audit
from cohorts.models import Group, Identity, Persona
from cohorts.segments import upkeep
from sessions import is_older_writer_at_work
from site_rows import delete_row, lock_first

CHUNK: Final = 5_000
MOST_WAITING: Final = 20  # removals that a sweep passes over
LOOKUPS_LAST: Final = timedelta(seconds=10)  # processes remember deleted keys for 5 s (api.http.credentials)

# The tables of a site that may be large, in the order in which they are emptied, each with its rows of the site. The
# others go with the site.
TABLES: Final[Mapping[str, str]] = {
    "api_message": "site_id = %(site)s",
    "api_messagebody": "site_id = %(site)s",
    "api_messagekey": "site_id = %(site)s",
    "goals_conversion": "site_id = %(site)s",
    "goals_cancellation": "site_id = %(site)s",
    "goals_visitfact": "site_id = %(site)s",
    "goals_visitactivity": "site_id = %(site)s",
    "goals_exposure": "site_id = %(site)s",
    "goals_variation": "site_id = %(site)s",
    "goals_experimentgoal": "site_id = %(site)s",
    "goals_experimentphase": "site_id = %(site)s",
    "goals_experiment": "site_id = %(site)s",
    "goals_goalvisitor": "site_id = %(site)s",
    "goals_goalday": "site_id = %(site)s",
    "goals_goaltotal": "site_id = %(site)s",
    "goals_waitingname": "site_id = %(site)s",
    "goals_goalcreation": "site_id = %(site)s",
    "goals_goalbinding": "site_id = %(site)s",
    "goals_goal_tags": "site_id = %(site)s",
    "goals_goal": "site_id = %(site)s",
    "goals_tag": "site_id = %(site)s",
    "cohorts_personafact": "site_id = %(site)s",
    "cohorts_segmentmember": "site_id = %(site)s",
    "cohorts_segmentchange": "site_id = %(site)s",
    "cohorts_segmentrecheck": "site_id = %(site)s",
    "cohorts_segment": "site_id = %(site)s",
    "api_latelink": "site_id = %(site)s",
    "cohorts_link": "site_id = %(site)s",
    "cohorts_username": "site_id = %(site)s",
    "cohorts_searchtext": "site_id = %(site)s",
    "cohorts_identity": "site_id = %(site)s",
    "cohorts_group": "site_id = %(site)s",
    "cohorts_ownkey": "site_id = %(site)s",
    "cohorts_persona": "site_id = %(site)s",
    "api_sourcetally": "site_id = %(site)s",
    "api_sourceuse": "site_id = %(site)s",
    "api_refusaltally": "site_id = %(site)s",
    "api_alertdelivery": "site_id = %(site)s",
}
SEGMENT_TABLES: Final[Mapping[str, str]] = {
    "cohorts_segmentmember": "site_id = %(site)s AND segment_id = %(segment)s",
    "cohorts_segmentchange": "site_id = %(site)s AND segment_id = %(segment)s",
    "cohorts_segmentrecheck": "site_id = %(site)s AND segment_id = %(segment)s AND identity_id IS NULL",
}
COUNTED: Final[Mapping[str, str]] = {
    "events": "api_message",
    "goals": "goals_goal",
    "conversions": "goals_conversion",
    "identifiers of people": "cohorts_identity",
    "groups": "cohorts_group",
    "personas": "cohorts_persona",
}
MOST_COUNTED: Final = 1_000_000  # rows of a table that a page counts


def remove_persona(persona: Persona, *, by: str, now: datetime) -> Removal:
    """Remove a persona from `common` at once, and from all identities in the background."""
    with transaction.atomic():
        removal = _begin(persona.site, Removal.Of.PERSONA, persona.name, by=by, now=now)
        removal.number = persona.pk
        removal.save(update_fields=["number"])
        # Its history may have millions of rows, which Django's cascade would load.
        Persona.objects.filter(site_id=persona.site_id, pk=persona.pk)._raw_delete(using="default")  # noqa: SLF001
    return removal


def remove_group(group: Group, *, by: str, now: datetime) -> Removal:
    """Delete a group and its traits at once, and the memberships in the background."""
    with transaction.atomic():
        removal = _begin(group.site, Removal.Of.GROUP, group.group_id, by=by, now=now)
        upkeep.note_all(group.site_id)  # of those whose company it is, no identity changes
        group.delete()
    return removal


def remove_site(site: Site, *, by: str, now: datetime) -> Removal | None:
    """Remove an empty site at once and return None, or remove it in the background and return the removal.

    The site then accepts no events, except for the seconds that other processes remember its keys. Only administrators
    see it.
    """
    with transaction.atomic():
        if not any(count_rows(site).values()):
            _finish_site(site, by=by)
            return None
        begun = Removal.objects.filter(site=site, of=Removal.Of.SITE).first()
        if begun is not None:
            return begun
        WriteKey.objects.filter(source__site=site).delete()
        site.credentials.clear()
        site.management_tokens.clear()
        site.memberships.all().delete()
        site.alerts.update(is_enabled=False)
        return _begin(site, Removal.Of.SITE, site.sitecode, by=by, now=now)


def count_rows(site: Site) -> dict[str, int]:
    """Return the number of rows of a site by kind, a million at most. One query per kind."""
    rows = {}
    with connection.cursor() as cursor:
        for name, table in COUNTED.items():
            cursor.execute(
                f"SELECT count(*) FROM (SELECT 1 FROM {table} WHERE site_id = %s LIMIT %s) AS counted",
                [site.pk, MOST_COUNTED],
            )
            rows[name] = cursor.fetchone()[0]
    return rows


def sweep(*, now: datetime) -> bool:
    """Do one step of the oldest unfinished removal that no other worker has locked and that need not wait.

    Return True if there was one among the oldest MOST_WAITING.
    """
    rows = Removal.objects.filter(finished_at=None).select_related("site").order_by("pk")
    waiting: list[int] = []
    with transaction.atomic():
        while len(waiting) < MOST_WAITING and (removal := lock_first(rows.exclude(pk__in=waiting))) is not None:
            if _step(removal, now=now):
                return True
            waiting.append(removal.pk)
    return False


def _step(removal: Removal, *, now: datetime) -> bool:
    """Do one step of a removal. Return False if it waits."""
    match removal.of:
        case Removal.Of.SITE:
            return _step_site(removal, now=now)
        case Removal.Of.SEGMENT:
            return _step_segment(removal, now=now)
    return _step_members(removal, now=now)


def _begin(site: Site, of: Removal.Of, name: str, *, by: str, now: datetime) -> Removal:
    ends = Identity.objects.filter(site=site).aggregate(first=Min("pk"), last=Max("pk"))
    position, until = (ends["first"] or 1) - 1, ends["last"] or 0  # ids of a site begin anywhere
    return Removal.objects.create(
        site=site, of=of, name=name, removed_by=by, created_at=now, position=position, until=until
    )


def _step_members(removal: Removal, *, now: datetime) -> bool:
    """Remove a persona or a group from a chunk of identities. After the last chunk, delete the persona's history."""
    if removal.position < removal.until:
        begin, removal.position = removal.position, removal.position + CHUNK
        removal.rows += _forget(removal, begin, removal.position)
    elif removal.of == Removal.Of.GROUP or not _delete_some(
        "cohorts_personafact",
        "site_id = %(site)s AND persona_id = %(persona)s",
        {"site": removal.site_id, "persona": removal.number},
    ):
        removal.finished_at = now
    removal.save()
    return True


def _forget(removal: Removal, begin: int, end: int) -> int:
    """Remove the register from some identities, locked in the digest's order. Return how many had it."""
    has, without = "registers #>> '{group,3}' = %(name)s", "registers - 'group'"
    if removal.of == Removal.Of.PERSONA:
        has = "registers -> 'personas' ? %(name)s"
        without = """
            CASE WHEN (registers -> 'personas') - %(name)s = '{}' THEN registers - 'personas'
                 ELSE registers #- ARRAY['personas', %(name)s] END
        """
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH mine AS MATERIALIZED (
                SELECT id FROM cohorts_identity
                 WHERE id > %(begin)s AND id <= %(end)s AND site_id = %(site)s AND {has}
                 ORDER BY kind, value COLLATE "C" FOR UPDATE
            )
            UPDATE cohorts_identity SET registers = {without}, updated_at = now()
             WHERE site_id = %(site)s AND id IN (SELECT id FROM mine)
            RETURNING id
            """,
            {"begin": begin, "end": end, "site": removal.site_id, "name": removal.name},
        )
        changed = [id_ for (id_,) in cursor.fetchall()]
    segments.note_people(removal.site_id, changed)
    return len(changed)


def _step_segment(removal: Removal, *, now: datetime) -> bool:
    """Delete a chunk of the rows of a segment. A batch that read it before it was removed may still add some."""
    if _delete_chunk(removal, SEGMENT_TABLES, {"site": removal.site_id, "segment": removal.number}):
        return True
    if _may_get_rows(removal, now=now):
        return False
    removal.finished_at = now
    removal.save()
    return True


def _step_site(removal: Removal, *, now: datetime) -> bool:
    """Delete a chunk of the first table that has rows of the site. If none has any, delete the site.

    A process may still remember a key, or store an event that it accepted before. The digest is no concern here: the
    deletions wait for the events that it has locked.
    """
    if _delete_chunk(removal, TABLES, {"site": removal.site_id}):
        return True
    if _may_get_rows(removal, now=now):
        return False
    _finish_site(removal.site, by=removal.removed_by)
    return True


def _delete_chunk(removal: Removal, tables: Mapping[str, str], parameters: Mapping[str, int]) -> bool:
    """Delete a chunk of the first of these tables that has rows. Return False if none has any."""
    for table, condition in tables.items():
        deleted = _delete_some(table, condition, parameters)
        if deleted:
            removal.rows += deleted
            removal.save()
            return True
    return False


def _may_get_rows(removal: Removal, *, now: datetime) -> bool:
    """Return True as long as a process that looked something up before the removal may write."""
    closed_at = removal.created_at + LOOKUPS_LAST
    return now < closed_at or is_older_writer_at_work(closed_at)


def _delete_some(table: str, condition: str, parameters: Mapping[str, int]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            DELETE FROM {table} WHERE {condition} AND ctid = ANY(ARRAY(
                SELECT ctid FROM {table} WHERE {condition} LIMIT {CHUNK} FOR UPDATE))
            """,
            parameters,
        )
        return int(cursor.rowcount)


def _finish_site(site: Site, *, by: str) -> None:
    name, sitecode = site.name, site.sitecode
    delete_row(site)
    write_audit(by, None, f"Removed the site {sitecode}", {"name": name, "sitecode": sitecode}, None)
