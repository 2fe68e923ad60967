"""Give exposures of users the visitor codes that links give them by now, as the digest does from here on."""

from django.db import migrations

# Kind 1 is a user; 1 is the rule of a user's link, 5 that of a device's.
LINK = """
UPDATE goals_exposure AS e
   SET linked_code = coalesce(i.registers #>> '{visitor,3}', i.registers #>> '{device_visitor,3}'),
       linked_by = CASE WHEN i.registers ? 'visitor' THEN 1 ELSE 5 END
  FROM cohorts_identity i
 WHERE e.is_user AND i.site_id = e.site_id AND i.kind = 1 AND i.value = e.visitor_code
   AND i.registers ?| array['visitor', 'device_visitor']
"""


class Migration(migrations.Migration):
    dependencies = [
        ("api", "0070_events_of_exposures"),
        ("goals", "0026_experiments_of_exposures"),
        ("cohorts", "0021_indexes_of_rechecks"),
    ]

    operations = [migrations.RunSQL(LINK, migrations.RunSQL.noop)]
