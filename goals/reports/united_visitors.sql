-- Visitors of several goals that count as one: since ever, and those of the last days by the zone of each goal.
--
-- key of the group, visitors, visitors of the month
SELECT key, count(*) AS visitors, count(*) FILTER (WHERE is_of_month) AS month_visitors
  FROM (SELECT member.key, bool_or(v.last_at >= month.begin) AS is_of_month
          FROM unnest(:keys::bigint[], :ids::bigint[]) AS member (key, goal_id)
          JOIN goals_goal AS g ON g.site_id = :site AND g.id = member.goal_id
         CROSS JOIN LATERAL (
            SELECT goalpost_day_start(
                       (:now::timestamptz AT TIME ZONE g.day_zone)::date - :days_before::int, g.day_zone) AS begin
         ) AS month
          JOIN goals_goalvisitor AS v ON v.site_id = :site AND v.goal_id = member.goal_id
         GROUP BY member.key, v.visitor_code) AS visitor
 GROUP BY key
