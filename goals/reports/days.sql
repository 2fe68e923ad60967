-- Totals of the last days, each by the zone of its goal, of groups of goals. Visits of several goals do not add up: see
-- united.sql.
--
-- key of the group, day, conversions, visits that began, cancellations
SELECT member.key, d.day, sum(d.conversions) AS conversions, sum(d.visits) AS visits,
       sum(d.cancellations) AS cancellations
  FROM unnest(:keys::bigint[], :ids::bigint[]) AS member (key, goal_id)
  JOIN goals_goal AS g ON g.site_id = :site AND g.id = member.goal_id
  JOIN goals_goalday AS d ON d.site_id = :site AND d.goal_id = g.id
 WHERE d.day >= (:now::timestamptz AT TIME ZONE g.day_zone)::date - :days_before::int
 GROUP BY member.key, d.day
