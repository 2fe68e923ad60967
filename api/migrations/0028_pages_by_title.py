"""Let sites that exist go on with a goal for each page title; new ones begin without."""

from django.db import migrations, models

NAME = "a goal for each page title"
HELP = (
    "A page or screen without a name is called by its title; otherwise all of them count for the one goal Unnamed page "
    "or Unnamed screen. Scripts in browsers send a title with every page."
)


class Migration(migrations.Migration):
    dependencies = [("api", "0027_refused_keys")]

    operations = [
        migrations.AddField(
            model_name="site",
            name="names_pages_by_title",
            field=models.BooleanField(NAME, default=True, db_default=True, help_text=HELP),
        ),
        migrations.AlterField(
            model_name="site",
            name="names_pages_by_title",
            field=models.BooleanField(NAME, default=False, db_default=False, help_text=HELP),
        ),
    ]
