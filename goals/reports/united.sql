-- Visits and visitors of several goals that count as one, by the day of a goal's zone: an index has all that is read.
--
-- key of the group, day, visits that began, visitors whose first conversion is of this day, visitors whose first
-- conversion of the month is of this day
WITH member AS MATERIALIZED (  -- the month of goals of several zones begins once
    SELECT member.key, member.goal_id, g.day_zone AS zone,
           min(goalpost_day_start((:now::timestamptz AT TIME ZONE g.day_zone)::date - :days_before::int, g.day_zone))
               OVER (PARTITION BY member.key) AS month_begin
      FROM unnest(:keys::bigint[], :ids::bigint[]) AS member (key, goal_id)
      JOIN goals_goal AS g ON g.site_id = :site AND g.id = member.goal_id
)
SELECT key, (occurred_at AT TIME ZONE zone)::date AS day,
       count(*) FILTER (WHERE coalesce(occurred_at >= before_at + :visit_gap::interval, true)) AS visits,
       count(*) FILTER (WHERE before_at IS NULL) AS visitors,
       count(*) FILTER (WHERE occurred_at >= month_begin AND coalesce(before_at < month_begin, true)) AS month_visitors
  FROM (SELECT member.key, member.zone, member.month_begin, c.occurred_at,
               lag(c.occurred_at) OVER (PARTITION BY member.key, c.visitor_code ORDER BY c.occurred_at) AS before_at
          FROM member
          -- OFFSET 0 makes the planner read each goal's index once, not once for each visitor.
          JOIN LATERAL (SELECT visitor_code, occurred_at FROM goals_conversion
                         WHERE site_id = :site AND goal_id = member.goal_id OFFSET 0) AS c ON true) AS hit
 GROUP BY key, day
