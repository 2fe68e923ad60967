r"""Reader of the queries that have a file of their own, with variables as psql knows them.

To see a plan: `\set goals '''{1,2}'''` for each variable in psql, then EXPLAIN and the text of the file.
"""

import re
from pathlib import Path
from typing import Final

VARIABLE: Final = re.compile(r"(?<![:\w]):([a-z_]+)\b")
FOLDER: Final = Path(__file__).parent


def read_query(name: str) -> str:
    """Return the query of `goals/{name}.sql` with psycopg's named parameters. Call it at import, once a query."""
    text = (FOLDER / f"{name}.sql").read_text()
    return VARIABLE.sub(r"%(\1)s", text.replace("%", "%%"))
