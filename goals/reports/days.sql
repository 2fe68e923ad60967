-- Totals of each day since a day, of groups of goals. Visits of several goals do not add up: see united_visits.sql.
--
-- key of the group, day, conversions, visits that began, cancellations
SELECT member.key, d.day, sum(d.conversions) AS conversions, sum(d.visits) AS visits,
       sum(d.cancellations) AS cancellations
  FROM unnest(:keys::bigint[], :ids::bigint[]) AS member (key, goal_id)
  JOIN goals_goalday AS d ON d.site_id = :site AND d.goal_id = member.goal_id
 WHERE d.day >= :month
 GROUP BY member.key, d.day
