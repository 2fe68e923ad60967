"""A site may take the company for the group."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0006_source_figures")]

    operations = [
        migrations.AddField(
            model_name="site",
            name="company_is_group",
            field=models.BooleanField(
                default=False,
                help_text="The id of the trait `company` is the group of people of whom no group call tells.",
            ),
        ),
    ]
