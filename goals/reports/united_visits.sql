-- Visits of several goals that count as one, by the day of their zone on which they began.
--
-- key of the group, day, visits
SELECT key, day, sum(visit) AS visits
  FROM (SELECT member.key, (c.occurred_at AT TIME ZONE g.day_zone)::date AS day,
               coalesce(c.occurred_at >= lag(c.occurred_at) OVER visitor + :visit_gap::interval, true)::int AS visit
          FROM unnest(:keys::bigint[], :ids::bigint[]) AS member (key, goal_id)
          JOIN goals_goal AS g ON g.site_id = :site AND g.id = member.goal_id
          -- OFFSET 0 makes the planner read each goal's index once, not once for each visitor.
          JOIN LATERAL (SELECT visitor_code, occurred_at FROM goals_conversion
                         WHERE site_id = :site AND goal_id = member.goal_id OFFSET 0) AS c ON true
        WINDOW visitor AS (PARTITION BY member.key, c.visitor_code ORDER BY c.occurred_at)) AS hit
 GROUP BY key, day
