"""Keep the keys by which events count once in a slim table, which no update of a message touches.

Some 10 s for a million messages, during which events wait.
"""

import django.db.models.deletion
from django.db import migrations, models

FORWARD = """
LOCK TABLE api_message IN ACCESS EXCLUSIVE MODE;
CREATE TABLE api_messagekey (site_id bigint NOT NULL, key uuid NOT NULL, id bigint NOT NULL);
INSERT INTO api_messagekey (site_id, key, id)
SELECT site_id, CASE WHEN status = 'rejected' THEN refusal_key ELSE
       encode(substr(sha256(convert_to(type || ':' || message_id, 'UTF8')), 1, 16), 'hex')::uuid END, id
  FROM api_message
 WHERE CASE WHEN status = 'rejected' THEN refusal_key IS NOT NULL ELSE message_id IS NOT NULL END;
ALTER TABLE api_messagekey ADD CONSTRAINT api_messagekey_pkey PRIMARY KEY (site_id, key);
CREATE INDEX api_messagekey_message ON api_messagekey (site_id, id);
DROP INDEX api_message_key, api_message_refusal;
ANALYZE api_messagekey;
"""
BACKWARD = """
CREATE UNIQUE INDEX api_message_key ON api_message (site_id, type, message_id)
 WHERE message_id IS NOT NULL AND NOT status = 'rejected';
CREATE UNIQUE INDEX api_message_refusal ON api_message (site_id, refusal_key)
 WHERE refusal_key IS NOT NULL AND status = 'rejected';
DROP TABLE api_messagekey;
"""


class Migration(migrations.Migration):
    dependencies = [("api", "0047_message_bodies")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(FORWARD, BACKWARD)],
            state_operations=[
                migrations.CreateModel(
                    name="MessageKey",
                    fields=[
                        ("key", models.UUIDField(primary_key=True, serialize=False)),
                        (
                            "message_number",
                            models.BigIntegerField(db_column="id", help_text="The id of the message."),
                        ),
                        (
                            "site",
                            models.ForeignKey(
                                db_constraint=False,
                                db_index=False,
                                on_delete=django.db.models.deletion.CASCADE,
                                related_name="+",
                                to="api.site",
                            ),
                        ),
                    ],
                    options={
                        "indexes": [models.Index(fields=["site", "message_number"], name="api_messagekey_message")]
                    },
                ),
                migrations.RemoveConstraint(model_name="message", name="api_message_key"),
                migrations.RemoveConstraint(model_name="message", name="api_message_refusal"),
            ],
        ),
    ]
