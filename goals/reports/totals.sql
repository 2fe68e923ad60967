-- Totals of groups of goals since ever, and figures of a month that its days do not give.
--
-- key of the group, conversions, visits, visitors, revenue by currency; cancellations; visitors and revenue of the
-- month; last time
WITH member AS MATERIALIZED (
    SELECT key, goal_id, count(*) OVER (PARTITION BY key) > 1 AS is_of_several, month.day AS month,
           goalpost_day_start(month.day, g.day_zone) AS month_begin
      FROM unnest(:keys::bigint[], :ids::bigint[]) AS member (key, goal_id)
      JOIN goals_goal AS g ON g.site_id = :site AND g.id = member.goal_id,
           LATERAL (SELECT (:now::timestamptz AT TIME ZONE g.day_zone)::date - :days_before::int AS day) AS month
), total AS (
    SELECT key, sum(conversions) AS conversions, sum(visits) AS visits, sum(visitors) AS visitors,
           sum(cancellations) AS cancellations
      FROM member JOIN goals_goaltotal AS t ON t.site_id = :site AND t.goal_id = member.goal_id
     GROUP BY key
), money AS (
    SELECT key, jsonb_object_agg(currency, amount)::text AS revenue
      FROM (SELECT member.key, item.key AS currency, sum(item.value::numeric)::text AS amount
              FROM member
              JOIN goals_goaltotal AS t ON t.site_id = :site AND t.goal_id = member.goal_id,
                   jsonb_each_text(t.revenue) AS item
             GROUP BY member.key, item.key) AS amount
     GROUP BY key
), month_money AS (
    SELECT key, jsonb_object_agg(currency, amount)::text AS revenue
      FROM (SELECT member.key, item.key AS currency, sum(item.value::numeric)::text AS amount
              FROM member
              JOIN goals_goalday AS d ON d.site_id = :site AND d.goal_id = member.goal_id,
                   jsonb_each_text(d.revenue) AS item
             WHERE d.day >= member.month
             GROUP BY member.key, item.key) AS amount
     GROUP BY key
), visitor AS (  -- of one goal each: several goals share visitors, see united.sql
    SELECT key, sum(of_month.visitors) AS month_visitors, max(latest.last_at) AS last_at
      FROM member
      JOIN LATERAL (
        SELECT count(*) AS visitors FROM goals_goalvisitor AS v
         WHERE NOT member.is_of_several AND v.site_id = :site AND v.goal_id = member.goal_id
               AND v.last_day >= (member.month_begin AT TIME ZONE 'UTC')::date AND v.last_at >= member.month_begin
      ) AS of_month ON true
      LEFT JOIN LATERAL (
        SELECT c.occurred_at AS last_at FROM goals_conversion AS c
         WHERE c.site_id = :site AND c.goal_id = member.goal_id
         ORDER BY c.occurred_at DESC LIMIT 1) AS latest ON true
     GROUP BY key
)
SELECT key, total.conversions, total.visits, total.visitors, money.revenue, total.cancellations,
       visitor.month_visitors, month_money.revenue AS month_revenue, visitor.last_at
  FROM visitor
  LEFT JOIN total USING (key)
  LEFT JOIN money USING (key)
  LEFT JOIN month_money USING (key)
