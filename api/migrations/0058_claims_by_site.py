"""Put the site first in the key of workers' notes. The table has a row for each worker."""

from django.db import migrations

FORWARD = """
ALTER TABLE api_claim DROP CONSTRAINT api_claim_pkey, ADD PRIMARY KEY (site_id, worker);
"""
BACKWARD = """
DELETE FROM api_claim;
ALTER TABLE api_claim DROP CONSTRAINT api_claim_pkey, ADD PRIMARY KEY (worker);
"""


class Migration(migrations.Migration):
    dependencies = [("api", "0057_sdk_configuration")]

    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
