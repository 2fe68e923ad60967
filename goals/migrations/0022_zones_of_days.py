"""Give goals the zone in which their days are counted: UTC until a worker counts them again (goals.day_zones)."""

from django.db import migrations, models

# The first moment of a day. PostgreSQL takes the second one of a midnight that a clock shows twice.
FUNCTIONS = """
CREATE FUNCTION goalpost_day_start(day date, zone text) RETURNS timestamptz LANGUAGE sql STABLE STRICT PARALLEL SAFE
RETURN (
    SELECT CASE WHEN (before.at AT TIME ZONE zone) = day::timestamp THEN least(before.at, usual.at) ELSE usual.at END
      FROM (SELECT day::timestamp AT TIME ZONE zone AS at) AS usual,
           LATERAL (SELECT usual.at - interval '3 hours' AS at) AS earlier,
           -- Midnight by the clock of three hours before.
           LATERAL (SELECT earlier.at + (day::timestamp - (earlier.at AT TIME ZONE zone)) AS at) AS before
);
CREATE FUNCTION goalpost_zone_of_goal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.day_zone := coalesce((SELECT time_zone FROM api_site WHERE id = NEW.site_id), NEW.day_zone);
    RETURN NEW;
END
$$;
CREATE TRIGGER goals_goal_day_zone BEFORE INSERT ON goals_goal
FOR EACH ROW WHEN (NEW.day_zone = 'UTC') EXECUTE FUNCTION goalpost_zone_of_goal();
"""
DROP = """
DROP TRIGGER goals_goal_day_zone ON goals_goal;
DROP FUNCTION goalpost_zone_of_goal;
DROP FUNCTION goalpost_day_start;
"""


class Migration(migrations.Migration):
    dependencies = [("api", "0062_time_zones"), ("goals", "0021_display_names")]

    operations = [
        migrations.AddField(
            "goal",
            "day_zone",
            models.CharField(db_default="UTC", default="UTC", editable=False, max_length=64),
        ),
        migrations.AddIndex(
            "goal",
            models.Index(
                fields=["site", "day_zone"], condition=models.Q(deleted_at__isnull=True), name="goals_goal_day_zone"
            ),
        ),
        migrations.RunSQL(FUNCTIONS, DROP),
    ]
