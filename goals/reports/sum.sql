-- Conversions, cancellations and revenue of goals together, since ever. Visits and visitors do not add up.
--
-- conversions, cancellations, revenue by currency
WITH total AS (SELECT * FROM goals_goaltotal WHERE site_id = :site AND goal_id = ANY(:goals))
SELECT (SELECT sum(conversions) FROM total) AS conversions, (SELECT sum(cancellations) FROM total) AS cancellations,
       (SELECT jsonb_object_agg(currency, amount)::text
          FROM (SELECT item.key AS currency, sum(item.value::numeric)::text AS amount
                  FROM total, jsonb_each_text(total.revenue) AS item
                 GROUP BY item.key) AS money) AS revenue
