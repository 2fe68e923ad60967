import django.contrib.postgres.fields
import django.core.validators
from django.db import migrations, models

import api.models.sites


class Migration(migrations.Migration):
    dependencies = [
        ("api", "0044_describe_receipts"),
    ]

    operations = [
        migrations.AlterField(
            model_name="site",
            name="auto_tag",
            field=models.CharField(default="segment.io", max_length=100, verbose_name="tag for automatic goals"),
        ),
        migrations.AlterField(
            model_name="site",
            name="company_is_group",
            field=models.BooleanField(
                default=False, help_text="Use the `company` trait's id as the group if no group call is sent."
            ),
        ),
        migrations.AlterField(
            model_name="site",
            name="entered_event_names",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=500),
                blank=True,
                default=api.models.sites.entered_event_names,
                size=None,
                verbose_name="persona entered",
            ),
        ),
        migrations.AlterField(
            model_name="site",
            name="exited_event_names",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=500),
                blank=True,
                default=api.models.sites.exited_event_names,
                size=None,
                verbose_name="persona left",
            ),
        ),
        migrations.AlterField(
            model_name="site",
            name="goals_per_10_seconds",
            field=models.PositiveIntegerField(
                default=50,
                validators=[django.core.validators.MinValueValidator(1)],
                verbose_name="new goals per 10 seconds",
            ),
        ),
        migrations.AlterField(
            model_name="site",
            name="goals_per_hour",
            field=models.PositiveIntegerField(
                default=1000,
                validators=[django.core.validators.MinValueValidator(1)],
                verbose_name="new goals per hour",
            ),
        ),
        migrations.AlterField(
            model_name="site",
            name="keeps_done_days",
            field=models.PositiveSmallIntegerField(
                blank=True,
                help_text="Processed and rejected events are deleted then, failed ones after 90 days at the earliest. "
                "Goals, conversions and people stay. At least 7. Empty: the default of this installation.",
                null=True,
                validators=[
                    django.core.validators.MinValueValidator(7),
                    django.core.validators.MaxValueValidator(3650),
                ],
                verbose_name="event retention (days)",
            ),
        ),
        migrations.AlterField(
            model_name="site",
            name="link_event_names",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=500),
                blank=True,
                default=api.models.sites.link_event_names,
                size=None,
                verbose_name="identifiers linked",
            ),
        ),
        migrations.AlterField(
            model_name="site",
            name="max_waiting_names",
            field=models.PositiveIntegerField(default=20000, verbose_name="queue size for new goals"),
        ),
        migrations.AlterField(
            model_name="site",
            name="names_pages_by_title",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="For pages and screens without a name, which otherwise count for one goal.",
                verbose_name="a goal for each page title",
            ),
        ),
        migrations.AlterField(
            model_name="site",
            name="public_traits",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=255),
                blank=True,
                default=list,
                help_text="Readers without a token get these traits only.",
                size=None,
            ),
        ),
        migrations.AlterField(
            model_name="site",
            name="requires_token",
            field=models.BooleanField(default=False, verbose_name="require a token to read remote data"),
        ),
        migrations.AlterField(
            model_name="site",
            name="rules_changed_at",
            field=models.DateTimeField(
                editable=False,
                help_text="The last change of its rules, its settings or the events that its sources count.",
                null=True,
            ),
        ),
        migrations.AlterField(
            model_name="site",
            name="trait_event_names",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=500),
                blank=True,
                default=api.models.sites.trait_event_names,
                size=None,
                verbose_name="trait computed",
            ),
        ),
        migrations.AlterField(
            model_name="site",
            name="user_id_is_visitor_code",
            field=models.BooleanField(default=False, help_text="If an event has no visitor code, its user id is used."),
        ),
    ]
