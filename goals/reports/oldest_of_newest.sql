-- Times of the last of a number of newest conversions and of the one after it; one row or none if there are no more.
-- occurred_at
SELECT c.occurred_at
  FROM unnest(:goals::bigint[]) AS member (id)
  JOIN LATERAL (
    SELECT occurred_at FROM goals_conversion
     WHERE goal_id = member.id AND occurred_at >= :since AND occurred_at < :until
     ORDER BY occurred_at DESC LIMIT :newest + 1) AS c ON true
 ORDER BY c.occurred_at DESC LIMIT 2 OFFSET :newest - 1
