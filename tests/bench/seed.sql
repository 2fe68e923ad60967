-- Rows that tests/bench/seed.py adds to a site after its goals. Percent signs are doubled for psycopg.

-- A number from 0 to 1 for each row and purpose, whatever the plan and the order.
CREATE OR REPLACE FUNCTION pg_temp.roll(n bigint, purpose int) RETURNS float8 IMMUTABLE LANGUAGE sql AS
    $$SELECT (hashint8extended(n, purpose) & 2147483647) / 2147483648.0::float8$$;
CREATE OR REPLACE FUNCTION pg_temp.code(n bigint) RETURNS text IMMUTABLE LANGUAGE sql AS
    $$SELECT substr(md5('visitor' || n), 1, 16)$$;
CREATE OR REPLACE FUNCTION pg_temp.device(n bigint) RETURNS text IMMUTABLE LANGUAGE sql AS
    $$SELECT md5('device' || n)::uuid::text$$;
CREATE OR REPLACE FUNCTION pg_temp.company(n bigint) RETURNS text IMMUTABLE LANGUAGE sql AS
    $$SELECT 'company-' || floor(%(groups)s * power(pg_temp.roll(n, 1), 2))$$;
CREATE OR REPLACE FUNCTION pg_temp.plan(n bigint) RETURNS text IMMUTABLE LANGUAGE sql AS
    $$SELECT (%(plans)s::text[])[1 + n %% 4]$$;
CREATE OR REPLACE FUNCTION pg_temp.stamp(at timestamptz, said jsonb) RETURNS jsonb IMMUTABLE LANGUAGE sql AS
    $$SELECT jsonb_build_array((extract(epoch FROM at) * 1000000)::bigint, 0, '', said)$$;

-- People: a user, a visitor code and a device each, the code of every second one linked to the user. What events below
-- say of them is known already, and newer.
INSERT INTO cohorts_persona (site_id, name, created_at)
SELECT %(site)s, name, %(now)s FROM unnest(%(personas)s::text[]) AS name;

INSERT INTO cohorts_group (site_id, group_id, registers, created_at, updated_at)
SELECT %(site)s, 'company-' || n,
       jsonb_build_object('traits', jsonb_build_object(
           'name', pg_temp.stamp(%(now)s, to_jsonb('Company ' || n)), 'seats', pg_temp.stamp(%(now)s, to_jsonb(n * 7)),
           'tier', pg_temp.stamp(%(now)s, to_jsonb((ARRAY['gold', 'silver', 'bronze'])[1 + n %% 3])))),
       %(now)s, %(now)s
  FROM generate_series(0, %(groups)s - 1) AS n;

INSERT INTO cohorts_identity (site_id, kind, value, registers, parent_kind, parent_value, created_at, updated_at)
SELECT %(site)s, 1, 'user-' || n,
       jsonb_build_object(
           'traits', jsonb_build_object(
               'plan', pg_temp.stamp(%(now)s, to_jsonb(pg_temp.plan(n))),
               'email', pg_temp.stamp(%(now)s, to_jsonb('user-' || n || '@example.com')),
               'seats', pg_temp.stamp(%(now)s, to_jsonb(n %% 97)),
               'city', pg_temp.stamp(%(now)s, to_jsonb((ARRAY['Paris', 'Zürich', '東京', 'São Paulo'])[1 + n %% 4]))),
           'group', pg_temp.stamp(%(now)s, to_jsonb(pg_temp.company(n))),
           'personas', (SELECT coalesce(jsonb_object_agg(name, pg_temp.stamp(%(now)s, to_jsonb(n %% 5 <> 0))), '{}')
                          FROM unnest(%(personas)s::text[]) WITH ORDINALITY AS persona (name, place)
                         WHERE (n + place * place) %% 17 = 0))
       || CASE WHEN n %% 2 = 0 THEN
              jsonb_build_object('visitor', pg_temp.stamp(
                  %(now)s - interval '1 day' * 2 * %(conversion_days)s, to_jsonb(pg_temp.code(n))))
          ELSE '{}' END,
       NULL, NULL, %(now)s, %(now)s
  FROM generate_series(0::bigint, %(people)s - 1) AS n
 UNION ALL
SELECT %(site)s, 2, pg_temp.code(n),
       CASE WHEN n %% 2 = 0 THEN jsonb_build_object('user', pg_temp.stamp(%(now)s, to_jsonb('user-' || n))) ELSE '{}' END,
       CASE WHEN n %% 2 = 0 THEN 1 END, CASE WHEN n %% 2 = 0 THEN 'user-' || n END, %(now)s, %(now)s
  FROM generate_series(0::bigint, %(people)s - 1) AS n
 UNION ALL
SELECT %(site)s, 3, pg_temp.device(n), '{}', NULL, NULL, %(now)s, %(now)s
  FROM generate_series(0::bigint, %(people)s - 1) AS n;

-- Events: messages in the order of their age, the oldest first, then conversions with pruned messages.
CREATE TEMPORARY TABLE seeded_event AS
SELECT message.*,
       floor(%(people)s * pg_temp.roll(n, %(seed)s + 2))::bigint AS person,
       CASE WHEN kind = 'deferred' THEN -1 - floor(%(waiting)s * pg_temp.roll(n, %(seed)s + 3))::int
            ELSE floor(%(goals)s * power(pg_temp.roll(n, %(seed)s + 3), 3))::int END AS place,
       CASE WHEN kind IN ('identify', 'group') THEN 'user' WHEN pg_temp.roll(n, %(seed)s + 4) < 0.5 THEN 'code'
            WHEN pg_temp.roll(n, %(seed)s + 4) < 0.9 THEN 'user' ELSE 'device' END AS named_by,
       (%(sources)s::bigint[])[1 + floor(3 * pg_temp.roll(n, %(seed)s + 5))::int] AS source_id
  FROM (
        SELECT n,
               CASE WHEN roll < 0.05 THEN 'identify' WHEN roll < 0.065 THEN 'group' WHEN roll < 0.075 THEN 'noise'
                    WHEN roll < 0.1 THEN 'rejected' WHEN roll < 0.103 THEN 'failed' WHEN roll < 0.113 THEN 'deferred'
                    ELSE 'hit' END AS kind,
               %(now)s - interval '12 minutes' - interval '1 day' * %(message_days)s
                   * power((%(messages)s - n + pg_temp.roll(n, %(seed)s + 6)) / %(messages)s, 1.5) AS received_at
          FROM generate_series(1::bigint, %(messages)s) AS n, pg_temp.roll(n, %(seed)s) AS roll) AS message;

INSERT INTO seeded_event
SELECT %(messages)s + n, 'old',
       %(now)s - interval '1 day' * (%(message_days)s + 1
           + (%(conversion_days)s - %(message_days)s) * pg_temp.roll(n, %(seed)s + 7)),
       floor(%(people)s * pg_temp.roll(n, %(seed)s + 8))::bigint,
       floor(%(goals)s * power(pg_temp.roll(n, %(seed)s + 9), 3))::int,
       CASE WHEN n %% 10 < 5 THEN 'code' WHEN n %% 10 < 9 THEN 'user' ELSE 'device' END,
       (%(sources)s::bigint[])[1 + n %% 3]
  FROM generate_series(1, %(conversions)s - (SELECT count(*) FROM seeded_event WHERE kind = 'hit')) AS n;

-- The same with what its event says.
CREATE TEMPORARY TABLE seeded AS
SELECT event.*, goal.goal_id, goal.goal_name,
       CASE kind WHEN 'identify' THEN 'identify' WHEN 'group' THEN 'group' WHEN 'noise' THEN 'track'
            WHEN 'rejected' THEN 'track' ELSE goal.type END AS type,
       CASE WHEN kind = 'noise' THEN %(noise)s ELSE goal.name END AS name,
       'm-' || n AS message_id,
       date_trunc('milliseconds', received_at - interval '3 seconds' * pg_temp.roll(n, %(seed)s + 10)
           - CASE WHEN n %% 50 = 0 THEN interval '5 hours' * pg_temp.roll(n, %(seed)s + 11) ELSE '0' END) AS occurred_at,
       CASE WHEN named_by = 'user' OR (named_by = 'code' AND person %% 2 = 0) THEN 'user-' || person END AS user_id,
       CASE WHEN named_by = 'device' THEN pg_temp.device(person) END AS anonymous_id,
       CASE WHEN named_by = 'code' THEN pg_temp.code(person) END AS code,
       money.revenue, CASE WHEN revenue IS NOT NULL THEN money.currency END AS currency,
       CASE kind WHEN 'rejected' THEN
                (ARRAY['no_identity', 'missing_name', 'name_too_long', 'invalid_json', 'source_off'])[1 + n %% 5]
            WHEN 'failed' THEN (ARRAY['digest_failed', 'worker_died', 'goal_backlog_full'])[1 + n %% 3]
            WHEN 'deferred' THEN 'goal_quota' WHEN 'noise' THEN 'dropped_by_rule' WHEN 'hit' THEN ''
            ELSE 'already_known' END AS reason
  FROM seeded_event AS event
  JOIN seeded_goal AS goal USING (place),
       LATERAL (SELECT CASE WHEN place %% 3 = 2 THEN
                           round((5 + 400 * power(pg_temp.roll(n, %(seed)s + 12), 2))::numeric, 2) END AS revenue,
                       (ARRAY['EUR', 'EUR', 'EUR', 'USD', 'USD', 'GBP', 'JPY'])[1 + n %% 7] AS currency) AS money;

ALTER TABLE seeded ADD properties json;
UPDATE seeded SET properties = json_strip_nulls(json_build_object(
    'plan', pg_temp.plan(person), 'size', (ARRAY['S', 'M', 'L', 'XL'])[1 + n %% 4], 'step', n %% 9,
    'url', 'https://shop.example.com/p/' || n %% 500, 'revenue', revenue, 'currency', currency))
 WHERE type NOT IN ('identify', 'group');

ALTER TABLE seeded ADD id bigint, ADD body bytea;
UPDATE seeded SET id = numbered.id, body = convert_to(CASE WHEN reason = 'invalid_json' THEN '{"type": "track", "event": "Order Comp' ELSE
       json_strip_nulls(json_build_object(
           'type', type, 'messageId', message_id,
           'event', CASE WHEN reason = 'missing_name' THEN NULL WHEN reason = 'name_too_long' THEN repeat(name, 600)
                         WHEN type = 'track' THEN name END,
           'name', CASE WHEN type IN ('page', 'screen') THEN name END,
           'userId', CASE WHEN reason = 'no_identity' THEN NULL ELSE user_id END,
           'anonymousId', CASE WHEN reason = 'no_identity' THEN NULL ELSE anonymous_id END,
           'groupId', CASE WHEN type = 'group' THEN pg_temp.company(person) END,
           'traits', CASE WHEN type = 'identify' THEN json_build_object('plan', pg_temp.plan(person)) END,
           'properties', properties,
           'context', json_build_object(
               'kameleoonVisitorCode', CASE WHEN reason = 'no_identity' THEN NULL ELSE code END,
               'library', json_build_object('name', 'analytics.js', 'version', '4.1.0'), 'locale', 'fr-CH',
               'userAgent', 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0'),
           'timestamp', to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')))::text END,
       'UTF8')
  FROM (SELECT n, nextval(pg_get_serial_sequence('api_message', 'id')) AS id
          FROM (SELECT n FROM seeded WHERE kind <> 'old' ORDER BY n) AS ordered) AS numbered
 WHERE seeded.n = numbered.n;

INSERT INTO api_messagebody (site_id, id, body, content_encoding)
SELECT %(site)s, id, body, '' FROM seeded WHERE kind <> 'old' ORDER BY n;

INSERT INTO api_messagekey (site_id, key, id)
SELECT %(site)s, :key, id FROM seeded WHERE kind NOT IN ('old', 'rejected') AND message_id IS NOT NULL ORDER BY 2;

INSERT INTO api_message (id, site_id, source_id, type, message_id, position, received_at, occurred_at, size, status,
                         reason, detail, warnings, effects, attempts, waiting_for, goal_id, digested_at)
SELECT id, %(site)s, CASE WHEN reason = 'source_off' THEN (%(sources)s::bigint[])[4] ELSE source_id END, type, message_id, 0,
       received_at, occurred_at,
       octet_length(body),
       CASE kind WHEN 'rejected' THEN 'rejected' WHEN 'failed' THEN 'failed' WHEN 'deferred' THEN 'deferred' ELSE 'done' END,
       reason,
       CASE reason WHEN 'digest_failed' THEN E'Traceback (most recent call last):\n  File "api/digest/digest.py", line '
                       || 100 + n %% 7 || E', in digest\nValueError: an example of a failure'
                   WHEN 'dropped_by_rule' THEN 'noise' ELSE '' END,
       CASE WHEN kind = 'hit' AND n %% 50 = 0 THEN '{clock_corrected}' ELSE '{}' END::text[],
       CASE WHEN kind = 'hit' THEN '{converted}' WHEN kind IN ('rejected', 'failed', 'deferred') THEN '{}'
            ELSE '{nothing}' END::text[],
       CASE WHEN reason IN ('digest_failed', 'worker_died') THEN 5 ELSE 0 END,
       CASE WHEN kind = 'deferred' THEN goal_name ELSE '' END,
       CASE WHEN kind = 'hit' THEN goal_id END,
       CASE WHEN reason NOT IN ('invalid_json', 'source_off') THEN
           received_at + interval '1 second' * (0.03 + 0.4 * pg_temp.roll(n, %(seed)s + 13)
               + 20 * power(greatest(pg_temp.roll(n, %(seed)s + 14), 0.5), 60)) END
  FROM seeded WHERE kind <> 'old' ORDER BY n;

INSERT INTO goals_conversion (site_id, goal_id, visitor_code, keyed_by, user_id, anonymous_id, occurred_at, revenue,
                              currency, value, properties, message_key, source_id)
SELECT %(site)s, goal_id,
       CASE WHEN code IS NOT NULL THEN code WHEN user_id IS NULL THEN anonymous_id
            WHEN person %% 2 = 0 THEN pg_temp.code(person) ELSE user_id END,
       CASE WHEN code IS NOT NULL THEN 0 WHEN user_id IS NULL THEN 4 WHEN person %% 2 = 0 THEN 1 ELSE 3 END,
       user_id, anonymous_id, occurred_at, revenue, currency, NULL, properties::jsonb, type || ':' || message_id, source_id
  FROM seeded WHERE kind IN ('hit', 'old') ORDER BY n;

INSERT INTO api_sourcetally (site_id, source_id, hour, received, duplicates, rejected, last_received_at)
SELECT %(site)s, CASE WHEN reason = 'source_off' THEN (%(sources)s::bigint[])[4] ELSE source_id END AS source,
       date_trunc('hour', received_at) AS hour, count(*) + count(*) / 100, count(*) / 100,
       count(*) FILTER (WHERE reason IN ('invalid_json', 'source_off')), max(received_at)
  FROM seeded WHERE kind <> 'old' GROUP BY source, hour;

INSERT INTO api_auditentry (site_id, user_id, who, at, what, before, after)
SELECT %(site)s, 0, 'admin', %(now)s - interval '3 hours' * n, 'Changed the settings of the site',
       jsonb_build_object('goals_per_hour', 1000 + n), jsonb_build_object('goals_per_hour', 999 + n)
  FROM generate_series(%(goals)s / 2, 1, -1) AS n;

INSERT INTO api_erasure (site_id, erased_by, created_at, marker, hashes, sought, identities, usernames, conversions,
                         messages, removed_at, stage, position, finished_at, is_allowed_again)
SELECT %(site)s, 'admin', %(now)s - interval '5 days' * n, 'erased:seed' || n, ARRAY[md5('erased' || n)], '{}',
       3, 1, n * 4, n * 9, %(now)s - interval '5 days' * n, 3, 0, %(now)s - interval '5 days' * n, n = 3
  FROM generate_series(1, 3) AS n;

DROP TABLE seeded, seeded_event, seeded_goal;
