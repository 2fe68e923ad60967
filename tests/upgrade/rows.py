"""Rows of a database as text files, one per table, which people can read and `git diff` can compare."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

LEFT_OUT: Final = {"django_migrations", "django_session"}  # `migrate` makes the first; the second holds secrets
COPY: Final = "(FORMAT text, HEADER true)"


def dump(connection: psycopg.Connection[Any], directory: Path) -> None:
    """Write each table with rows to `<table>.tsv`, in COPY's text format with a header, ordered by primary key.

    Bytes are written in PostgreSQL's escape format, so that a stored JSON body reads as JSON.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.glob("*.tsv"):
        old.unlink()
    connection.execute("SET bytea_output = 'escape'")
    for table, keys in sorted(tables(connection).items()):
        statement = sql.SQL(f"COPY (SELECT * FROM {{table}} ORDER BY {{keys}}) TO STDOUT {COPY}").format(
            table=sql.Identifier(table), keys=sql.SQL(", ").join(map(sql.Identifier, keys))
        )
        with connection.cursor() as cursor, cursor.copy(statement) as copied:
            text = b"".join(bytes(piece) for piece in copied)
        if text.count(b"\n") > 1:  # more than the header
            (directory / f"{table}.tsv").write_bytes(text)


def load(connection: psycopg.Connection[Any], directory: Path) -> None:
    """Replace all rows of a migrated database by those of a dump, and set each sequence behind them.

    Needs a superuser to switch triggers and foreign keys off, because the tables are filled in any order.
    """
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        known = tables(connection)
        connection.execute(
            sql.SQL("TRUNCATE {tables}").format(tables=sql.SQL(", ").join(map(sql.Identifier, sorted(known))))
        )
        for path in sorted(directory.glob("*.tsv")):
            columns = path.read_bytes().partition(b"\n")[0].decode().split("\t")
            statement = sql.SQL(f"COPY {{table}} ({{columns}}) FROM STDIN {COPY}").format(
                table=sql.Identifier(path.stem), columns=sql.SQL(", ").join(map(sql.Identifier, columns))
            )
            with connection.cursor() as cursor, cursor.copy(statement) as copied:
                copied.write(path.read_bytes())
        for table, column in sequences(connection):
            connection.execute(
                sql.SQL(
                    "SELECT setval(pg_get_serial_sequence({name}, {literal}), coalesce(max({column}), 0) + 1, false)"
                    " FROM {table}"
                ).format(
                    name=sql.Literal(table),
                    literal=sql.Literal(column),
                    column=sql.Identifier(column),
                    table=sql.Identifier(table),
                )
            )


def tables(connection: psycopg.Connection[Any]) -> Mapping[str, list[str]]:
    """Return the columns of the primary key by table, for all tables of a dump."""
    rows = connection.execute(
        """
        SELECT c.relname, array_agg(a.attname::text ORDER BY array_position(i.indkey::int2[], a.attnum))
          FROM pg_index i
          JOIN pg_class c ON c.oid = i.indrelid AND c.relkind = 'r'
          JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'
          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY(i.indkey)
         WHERE i.indisprimary
         GROUP BY c.relname
        """
    ).fetchall()
    return {table: keys for table, keys in rows if table not in LEFT_OUT}


def sequences(connection: psycopg.Connection[Any]) -> Iterator[tuple[str, str]]:
    """Yield (table, column) of every identity column."""
    yield from connection.execute(
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND is_identity = 'YES' AND table_name <> ALL(%s)",
        [list(LEFT_OUT)],
    ).fetchall()
