"""Fold names for search and key them for the order of lists. Rewrites their tables: a second for 20,000.

The functions have parsed bodies (RETURN): a dump restores its generated columns with an empty search_path.
"""

from django.db import migrations, models

# Dashes, quotes and letters without a decomposition, each with what a keyboard has instead; then what is left out:
# combining accents, and characters without width that come along when text is pasted.
FOLDED = {
    "\u2010\u2011\u2012\u2013\u2014\u2015\u2212": "-------",
    "\u2018\u2019\u201a\u201b\u2032": "'''''",
    "\u201c\u201d\u201e\u201f\u2033": '"""""',
    "øłđħŧıς": "oldhtiσ",
}
LEFT_OUT = "".join(map(chr, (0xAD, *range(0x200B, 0x2010), 0x2060, 0xFEFF, *range(0x300, 0x370))))
FROM, TO = "".join(FOLDED) + LEFT_OUT, "".join(FOLDED.values()).replace("'", "''")

FUNCTIONS = f"""
CREATE FUNCTION goalpost_fold(name text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN replace(replace(replace(replace(
    translate(lower(normalize(name, NFKD)), '{FROM}', '{TO}'), 'ß', 'ss'), 'æ', 'ae'), 'œ', 'oe'), 'þ', 'th');

-- Numbers have 20 digits, so that 9 comes before 10; as many characters as an entry of an index has room for.
CREATE FUNCTION goalpost_sort_key(name text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN left(regexp_replace(
    regexp_replace(goalpost_fold(name), '([0-9]+)', '{"0" * 19}\\1', 'g'),
    '[0-9]*([0-9]{{20}})(?![0-9])', '\\1', 'g'), 600);
"""


def column(function, collation=None):
    output = models.TextField(db_collation=collation)
    expression = models.Func("name", function=function, output_field=output)
    return models.GeneratedField(db_persist=True, expression=expression, output_field=output)


class Migration(migrations.Migration):
    dependencies = [("goals", "0008_device_links")]

    operations = [
        migrations.RunSQL(FUNCTIONS, "DROP FUNCTION goalpost_sort_key; DROP FUNCTION goalpost_fold;"),
        migrations.AddField("goal", "search_key", column("goalpost_fold")),
        migrations.AddField("goal", "sort_key", column("goalpost_sort_key", "C")),
        migrations.AddField("tag", "sort_key", column("goalpost_sort_key", "C")),
        migrations.AlterModelOptions("tag", {"ordering": ["sort_key", "name"]}),
    ]
