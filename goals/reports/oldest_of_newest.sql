-- Time of the oldest of the newest conversions, and that of the one before it. Two rows only if there are more.
--
-- occurred_at
SELECT c.occurred_at
  FROM unnest(:goals::bigint[]) AS member (id)
  JOIN LATERAL (
    SELECT occurred_at FROM goals_conversion
     WHERE site_id = :site AND goal_id = member.id AND occurred_at >= :since AND occurred_at < :until
     ORDER BY occurred_at DESC LIMIT :newest + 1) AS c ON true
 ORDER BY c.occurred_at DESC LIMIT 2 OFFSET :newest - 1
