"""Judgement of SQL statements: each relation with rows of sites is pinned to one site by a constant.

PostgreSQL's own grammar parses the statement. An equality between two columns of one scope passes a pin on, as
PostgreSQL's equivalence classes do. An equality with a column of another scope does not.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Final

from pglast import ast as nodes
from pglast import parse_sql
from pglast.enums import A_Expr_Kind, BoolExprType, JoinType, NullTestType, OnConflictAction, SetOperation

ast: Final[Any] = nodes  # without types: to mypy, each attribute of a node may be None
SITE: Final = "site_id"
SITES: Final = "api_site"  # its key is the site of its rows
PLACEHOLDER: Final = re.compile(r"%(?:(?P<percent>%)|(?:\((?P<name>\w+)\))?[sbt])")
# PostgreSQL evaluates them where it runs the statement, so that a distributed one refuses them in DO UPDATE.
NOT_IMMUTABLE: Final = {"now", "clock_timestamp", "statement_timestamp", "transaction_timestamp", "make_interval"}

Parameter = int | str  # the index of a positional parameter, or the name of another


@dataclass(frozen=True, slots=True)
class Fault:
    """A part of a statement that breaks a law, and the table that it is about."""

    table: str
    text: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """The faults of a statement, and the parameters that are its site."""

    faults: tuple[Fault, ...]
    site_parameters: tuple[Parameter, ...]

    def name_sites(self, parameters: Any) -> set[Any]:
        """Return the sites that a statement with these parameters names."""
        keyed: Any = parameters if isinstance(parameters, Mapping) else list(parameters or ())
        return {keyed[parameter] for parameter in self.site_parameters}


def judge(sql: str, tables: AbstractSet[str], *, has_parameters: bool) -> Judgement:
    """Judge a text for psycopg. `tables` have rows of sites. Raises pglast.parser.ParseError."""
    parameters: list[Parameter] = []
    verdict = _Verdict(tables)
    for raw in parse_sql(_number_placeholders(sql, parameters) if has_parameters else sql):
        verdict.judge_query(raw.stmt, frozenset())
    used = [parameters[number - 1] for number in verdict.parameters if has_parameters]
    return Judgement(tuple(dict.fromkeys(verdict.faults)), tuple(dict.fromkeys(used)))


def _number_placeholders(sql: str, parameters: list[Parameter]) -> str:
    """Return psycopg's placeholders as PostgreSQL's, and append the key of each to `parameters`."""
    numbers: dict[Parameter, int] = {}  # a statement of bulk_create() has thousands

    def number(match: "re.Match[str]") -> str:
        if match["percent"]:
            return "%"
        key: Parameter = match["name"] or len(numbers)
        if key not in numbers:
            numbers[key] = len(numbers) + 1
            parameters.append(key)
        return f"${numbers[key]}"

    return PLACEHOLDER.sub(number, sql)


@dataclass
class _Scope:
    """The relations of one SELECT, UPDATE or DELETE, and the equalities that pin them."""

    tables: AbstractSet[str]
    ctes: AbstractSet[str]
    relations: dict[str, str] = field(default_factory=dict)  # alias -> table
    nullable: set[str] = field(default_factory=set)  # IS NULL is also true for a row that an outer join added
    pinned: set[str] = field(default_factory=set)
    passes: set[tuple[str, str]] = field(default_factory=set)  # a pin of the first alias pins the second
    parameters: list[int] = field(default_factory=list)

    def add_item(self, item: Any) -> set[str]:
        """Add an item of a FROM clause and return its aliases."""
        if isinstance(item, ast.JoinExpr):
            return self._add_join(item)
        if not isinstance(item, ast.RangeVar) or (item.relname in self.ctes and item.schemaname is None):
            return set()
        alias = item.alias.aliasname if item.alias else item.relname
        if item.relname not in self.tables and item.relname != SITES:
            return set()
        self.relations[alias] = item.relname
        return {alias}

    def _add_join(self, join: Any) -> set[str]:
        left, right = self.add_item(join.larg), self.add_item(join.rarg)
        # An outer join's condition restricts only the side whose columns may be NULL.
        restricted = {
            JoinType.JOIN_INNER: left | right,
            JoinType.JOIN_LEFT: right,
            JoinType.JOIN_RIGHT: left,
        }.get(join.jointype, set())
        if join.jointype != JoinType.JOIN_INNER:
            self.nullable |= (left | right) if join.jointype == JoinType.JOIN_FULL else restricted
        if any(name.sval == SITE for name in join.usingClause or ()):
            self._pass_on({(one, other) for one in left for other in right}, restricted)
        if join.quals:
            self.add_condition(join.quals, restricted)
        return left | right

    def add_condition(self, condition: Any, restricted: AbstractSet[str] | None = None) -> None:
        """Add the equalities that hold for every row. `restricted` are the aliases whose rows they restrict."""
        restricted = self.relations.keys() if restricted is None else restricted
        for one, other in _list_equalities(condition):
            for column, value in ((one, other), (other, one)):
                alias = self._find_alias(column)
                number = _read_constant(value)
                if alias is None or alias not in restricted or number is None:
                    continue
                if not (alias in self.nullable and isinstance(value, ast.A_Const) and value.isnull):
                    self.pinned.add(alias)
                    self.parameters += [number] if number else []
            aliases = self._find_alias(one), self._find_alias(other)
            if aliases[0] and aliases[1]:
                self._pass_on({(aliases[0], aliases[1])}, restricted)

    def _pass_on(self, pairs: set[tuple[str, str]], restricted: AbstractSet[str]) -> None:
        for one, other in pairs:
            self.passes |= {(a, b) for a, b in ((one, other), (other, one)) if b in restricted}

    def _find_alias(self, column: Any) -> str | None:
        """Return the alias whose column of the site this is."""
        if not isinstance(column, ast.ColumnRef) or not all(isinstance(part, ast.String) for part in column.fields):
            return None
        *prefix, name = (part.sval for part in column.fields)
        if not prefix:  # PostgreSQL refuses a name that several relations have, unless USING merged them
            own = [alias for alias, table in self.relations.items() if table != SITES]
            return own[0] if name == SITE and own else None
        alias = prefix[-1]
        return (
            alias
            if name == ("id" if self.relations.get(alias) == SITES else SITE) and alias in self.relations
            else None
        )

    def settle(self) -> None:
        """Pass pins on until nothing changes."""
        while new := {other for one, other in self.passes if one in self.pinned} - self.pinned:
            self.pinned |= new

    def is_site(self, value: Any) -> bool:
        """Return True for a constant, and for a column that is pinned to one."""
        number = _read_constant(value)
        if number:
            self.parameters.append(number)
        return number is not None or self._find_alias(value) in self.pinned


class _Verdict:
    """Walk through a statement and its subqueries, with the faults that were found."""

    def __init__(self, tables: AbstractSet[str]) -> None:
        self.tables = tables
        self.faults: list[Fault] = []
        self.parameters: list[int] = []

    def judge_query(self, query: Any, ctes: AbstractSet[str]) -> None:
        """Judge a query and everything inside. `ctes` are the names of WITH queries around it."""
        if isinstance(query, ast.SelectStmt | ast.InsertStmt | ast.UpdateStmt | ast.DeleteStmt):
            if query.withClause:
                ctes = ctes | {cte.ctename for cte in query.withClause.ctes}
            self._judge_level(query, ctes)
        elif isinstance(query, ast.CopyStmt):
            self._judge_copy(query)
        elif isinstance(query, ast.MergeStmt):
            self.faults.append(Fault(query.relation.relname, "MERGE is not read here: write UPDATE, then INSERT"))
        for inner in _list_queries(query):
            self.judge_query(inner, ctes)

    def _judge_level(self, query: Any, ctes: AbstractSet[str]) -> None:
        if isinstance(query, ast.InsertStmt):
            self._judge_insert(query, ctes)
            return
        if isinstance(query, ast.SelectStmt):
            items, condition = query.fromClause or (), query.whereClause
        else:
            others = query.fromClause if isinstance(query, ast.UpdateStmt) else query.usingClause
            items, condition = (query.relation, *(others or ())), query.whereClause
            self._judge_choices(query, others or ())
        self._fault_unpinned(self._read_scope(items, condition, ctes))

    def _read_scope(self, items: Sequence[Any], condition: Any, ctes: AbstractSet[str]) -> _Scope:
        scope = _Scope(self.tables, ctes)
        for item in items:
            scope.add_item(item)
        if condition:
            scope.add_condition(condition)
        scope.settle()
        self.parameters += scope.parameters
        return scope

    def _fault_unpinned(self, scope: _Scope) -> None:
        for alias, table in scope.relations.items():
            if alias not in scope.pinned and table != SITES:
                self.faults.append(Fault(table, f"{alias}.{SITE} = <constant> is missing"))

    def _judge_choices(self, query: Any, others: Sequence[Any]) -> None:
        """Refuse rows chosen by a locking subquery with a LIMIT, which may run once a row and choose too many."""
        sublinks = [
            node.subselect
            for node in _walk(query.whereClause)
            if isinstance(node, ast.SubLink) and node.subLinkType.name in {"ANY_SUBLINK", "EXISTS_SUBLINK"}
        ]
        subselects = [item.subquery for item in others if isinstance(item, ast.RangeSubselect)]
        if any(chosen.lockingClause and chosen.limitCount for chosen in (*sublinks, *subselects)):
            self.faults.append(
                Fault(query.relation.relname, "a subquery with LIMIT and a lock may run once a row: put it into WITH")
            )

    def _judge_insert(self, query: Any, ctes: AbstractSet[str]) -> None:
        table = query.relation.relname
        if table not in self.tables:
            return
        columns = [column.name for column in query.cols or ()]
        if SITE not in columns or query.selectStmt is None:
            self.faults.append(Fault(table, f"INSERT gives no {SITE}"))
            return
        if not self._gives_site(query.selectStmt, columns.index(SITE), ctes):
            self.faults.append(Fault(table, f"INSERT gives {SITE} from rows, not as a constant"))
        conflict = query.onConflictClause
        if conflict:
            self._judge_conflict(table, conflict)

    def _gives_site(self, select: Any, place: int, ctes: AbstractSet[str]) -> bool:
        """Return True if each row of a SELECT or VALUES has a constant at this place."""
        if select.op != SetOperation.SETOP_NONE:
            return all(self._gives_site(arm, place, ctes) for arm in (select.larg, select.rarg))
        if select.withClause:
            ctes = ctes | {cte.ctename for cte in select.withClause.ctes}
        scope = self._read_scope(select.fromClause or (), select.whereClause, ctes)
        count = len(scope.parameters)
        rows = select.valuesLists or [[target.val for target in select.targetList]]
        answers = [place < len(row) and scope.is_site(row[place]) for row in rows]
        self.parameters += scope.parameters[count:]
        return all(answers)

    def _judge_conflict(self, table: str, conflict: Any) -> None:
        target = conflict.infer
        if target and target.indexElems and SITE not in {element.name for element in target.indexElems}:
            self.faults.append(Fault(table, f"ON CONFLICT names a key without {SITE}"))
        if conflict.action == OnConflictAction.ONCONFLICT_UPDATE:
            nodes = list(_walk(conflict.targetList))
            if any(isinstance(node, ast.SubLink) for node in nodes):
                self.faults.append(Fault(table, "DO UPDATE contains a subquery: write UPDATE, then INSERT"))
            if any(_is_not_immutable(node) for node in nodes):
                self.faults.append(
                    Fault(table, "DO UPDATE reads a clock or adds an interval: pass or insert the value")
                )

    def _judge_copy(self, copy: Any) -> None:
        if copy.relation is None or copy.relation.relname not in self.tables:
            return
        if not copy.is_from or SITE not in [column.sval for column in copy.attlist or ()]:
            self.faults.append(Fault(copy.relation.relname, f"COPY gives no {SITE}"))


def _walk(node: Any) -> Iterator[Any]:
    """Yield a node and all nodes inside."""
    if isinstance(node, ast.Node):
        yield node
        for name in node:
            yield from _walk(getattr(node, name))
    elif isinstance(node, list | tuple):
        for item in node:
            yield from _walk(item)


def _list_queries(query: Any) -> Iterator[Any]:
    """Yield the outermost queries inside a query: of WITH, FROM, UNION, INSERT and expressions."""

    def search(node: Any) -> Iterator[Any]:
        if isinstance(node, ast.SelectStmt | ast.InsertStmt | ast.UpdateStmt | ast.DeleteStmt | ast.MergeStmt):
            yield node
        elif isinstance(node, ast.Node):
            for name in node:
                yield from search(getattr(node, name))
        elif isinstance(node, list | tuple):
            for item in node:
                yield from search(item)

    for name in query:
        yield from search(getattr(query, name))


def _list_equalities(condition: Any) -> Iterator[tuple[Any, Any]]:
    """Yield both sides of each equality that a condition implies. `x IS NULL` is one with NULL."""
    if isinstance(condition, ast.BoolExpr) and condition.boolop == BoolExprType.AND_EXPR:
        for part in condition.args:
            yield from _list_equalities(part)
    elif isinstance(condition, ast.NullTest) and condition.nulltesttype == NullTestType.IS_NULL:
        yield condition.arg, ast.A_Const(isnull=True)
    elif (
        isinstance(condition, ast.A_Expr)
        and condition.kind == A_Expr_Kind.AEXPR_OP
        and [name.sval for name in condition.name] == ["="]
    ):
        one, other = condition.lexpr, condition.rexpr
        if isinstance(one, ast.RowExpr) and isinstance(other, ast.RowExpr):
            yield from zip(one.args, other.args, strict=True)
        else:
            yield one, other


def _read_constant(value: Any) -> int | None:
    """Return the number of a parameter, 0 for a literal, or None for anything else."""
    while isinstance(value, ast.TypeCast):
        value = value.arg
    if isinstance(value, ast.ParamRef):
        return int(value.number)
    return 0 if isinstance(value, ast.A_Const) else None


def _is_not_immutable(node: Any) -> bool:
    if isinstance(node, ast.FuncCall):
        return node.funcname[-1].sval in NOT_IMMUTABLE
    if isinstance(node, ast.SQLValueFunction):  # CURRENT_TIMESTAMP and its like
        return True
    return isinstance(node, ast.TypeName) and node.names[-1].sval == "interval"
