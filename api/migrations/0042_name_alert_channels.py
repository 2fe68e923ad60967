import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models

import api.models.alerts


class Migration(migrations.Migration):
    dependencies = [
        ("api", "0041_describe_fields_of_ingest"),
    ]

    operations = [
        migrations.AlterField(
            model_name="alertdelivery",
            name="way",
            field=models.CharField(
                choices=[("email", "e-mail"), ("webhook", "webhook")], db_column="way", max_length=7
            ),
        ),
        migrations.RenameField(
            model_name="alertdelivery",
            old_name="way",
            new_name="channel",
        ),
        migrations.AlterField(
            model_name="alert",
            name="told_at",
            field=models.DateTimeField(
                db_column="told_at",
                editable=False,
                help_text="The last notification that the alert fires.",
                null=True,
            ),
        ),
        migrations.RenameField(model_name="alert", old_name="told_at", new_name="notified_at"),
        migrations.AlterField(
            model_name="alert",
            name="condition",
            field=models.CharField(
                choices=[
                    ("success", "success rate under"),
                    ("lag", "lag over"),
                    ("silence", "source silent for"),
                    ("quota", "new-goal limit reached"),
                ],
                max_length=8,
                verbose_name="when",
            ),
        ),
        migrations.AlterField(
            model_name="alert",
            name="emails",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.EmailField(max_length=254),
                blank=True,
                default=list,
                size=None,
                verbose_name="e-mail addresses",
            ),
        ),
        migrations.AlterField(
            model_name="alert",
            name="finding",
            field=models.TextField(
                blank=True,
                editable=False,
                help_text="The result of the last check. While the alert fires, the last result that held.",
            ),
        ),
        migrations.AlterField(
            model_name="alert",
            name="held_at",
            field=models.DateTimeField(
                editable=False, help_text="The last check that found the condition true.", null=True
            ),
        ),
        migrations.AlterField(
            model_name="alert",
            name="is_enabled",
            field=models.BooleanField(default=True, verbose_name="enabled"),
        ),
        migrations.AlterField(
            model_name="alert",
            name="secret",
            field=models.CharField(
                default=api.models.alerts.make_signing_secret,
                editable=False,
                help_text="The key that signs webhook requests.",
                max_length=64,
            ),
        ),
        migrations.AlterField(
            model_name="alert",
            name="source",
            field=models.ForeignKey(
                blank=True,
                help_text="For the success rate and for silence. Empty: all sources. Silence then means any of them.",
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="api.source",
            ),
        ),
        migrations.AlterField(
            model_name="alert",
            name="threshold",
            field=models.FloatField(
                blank=True,
                help_text="Percent of the success rate, seconds of lag, minutes of silence. Empty for the goal limit.",
                null=True,
            ),
        ),
        migrations.AlterField(
            model_name="alert",
            name="webhook_url",
            field=models.CharField(
                blank=True,
                help_text="A public address with https:// or http://. Requests are signed.",
                max_length=500,
                verbose_name="webhook URL",
            ),
        ),
        migrations.AlterField(
            model_name="alertdelivery",
            name="address",
            field=models.CharField(
                blank=True, help_text="Empty if only the alert may hold the address.", max_length=254
            ),
        ),
        migrations.AlterField(
            model_name="alertdelivery",
            name="at",
            field=models.DateTimeField(help_text="The time of the event."),
        ),
        migrations.AlterField(
            model_name="alertdelivery",
            name="detail",
            field=models.CharField(blank=True, help_text="The result of the last attempt.", max_length=500),
        ),
        migrations.AlterField(
            model_name="alertdelivery",
            name="event",
            field=models.CharField(
                choices=[("fired", "firing"), ("reminder", "still firing"), ("resolved", "resolved"), ("test", "test")],
                max_length=8,
            ),
        ),
        migrations.AlterField(
            model_name="alertdelivery",
            name="outcome",
            field=models.CharField(
                choices=[("waiting", "queued"), ("sent", "sent"), ("failed", "failed")], default="waiting", max_length=7
            ),
        ),
    ]
