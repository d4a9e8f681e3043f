"""A statement compiled once and run on the driver's own cursor.

SQLAlchemy's way from a statement to its rows takes several times as long as SQLite takes for them: that is worth
avoiding where every object that is received pays for it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from sqlalchemy import ClauseElement, Connection
from sqlalchemy.exc import OperationalError
from sqlalchemy.sql.compiler import SQLCompiler


class Prepared:
    """Runs in the transaction of the connection it is given; its rows are as the driver gives them."""

    def __init__(self, statement_for: Callable[[str], ClauseElement]) -> None:
        """statement_for: gives the statement in the dialect of that name."""
        self._statement_for = statement_for
        self._compiled: dict[str, _Compiled] = {}

    def run(self, connection: Connection, values: Mapping[str, object]) -> Sequence[tuple[Any, ...]]:
        """All rows. values: the same names each time. Raises OperationalError for whatever the driver raises."""
        compiled = self._compiled.get(connection.dialect.name) or self._compile(connection, values)
        cursor = connection.connection.cursor()
        try:
            cursor.execute(compiled.text, compiled.bind(values))
            return cursor.fetchall() if cursor.description else ()
        except connection.dialect.loaded_dbapi.Error as error:
            raise OperationalError(compiled.text, None, error) from error
        finally:
            cursor.close()

    def _compile(self, connection: Connection, values: Mapping[str, object]) -> "_Compiled":
        dialect = connection.dialect
        statement = self._statement_for(dialect.name)
        compiled = cast(SQLCompiler, statement.compile(dialect=dialect, column_keys=list(values)))
        found = {name: each.type.dialect_impl(dialect).bind_processor(dialect) for name, each in compiled.binds.items()}
        converters = {name: converter for name, converter in found.items() if converter is not None}
        known = self._compiled[dialect.name] = _Compiled(str(compiled), converters, compiled.positiontup)
        return known


class _Compiled(NamedTuple):
    text: str
    converters: Mapping[str, Callable[[Any], Any]]  # of the values that the driver does not take as they are
    order: Sequence[str] | None  # of the names, where the driver counts its parameters

    def bind(self, values: Mapping[str, object]) -> Any:
        bound = {**values, **{name: convert(values[name]) for name, convert in self.converters.items()}}
        return bound if self.order is None else [bound[name] for name in self.order]
