-- Number of the newest conversions whose stored properties take at most a number of bytes. Reads no large value.
--
-- count
SELECT count(*)
  FROM (SELECT sum(c.size) OVER (ORDER BY c.occurred_at DESC, c.id DESC) AS so_far
          FROM unnest(:goals::bigint[]) AS member (id)
          JOIN LATERAL (
            SELECT id, occurred_at, pg_column_size(properties) AS size FROM goals_conversion
             WHERE site_id = :site AND goal_id = member.id AND occurred_at >= :since AND occurred_at < :until
             ORDER BY occurred_at DESC, id DESC LIMIT :newest) AS c ON true
         ORDER BY c.occurred_at DESC, c.id DESC LIMIT :newest) AS sized
 WHERE so_far <= :most_bytes
