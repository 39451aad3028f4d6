"""Filter syntax: from what a user writes to a Filter, and from a Filter to a string. The grammar is drawn in `filter_parser`."""

from __future__ import annotations

from paradox.errors import FilterSyntax
from paradox.model.filter_parser import RESERVED, WORD, FilterParser
from paradox.model.filter_trees import canonical
from paradox.model.filters import And, Between, Compare, Contains, Exists, Expression, Filter, In, Matches, Not, Or, Prefix, Scalar
from paradox.model.schema import Limits


def parse(text: str, limits: Limits) -> Filter:
    """Return the tree that `text` spells, grouped as written: `a and b and c` is one And, `(a and b) and c` is two.

    Cost: O(len(text)), without recursion. Raises FilterSyntax with a caret under the place and what is valid there, also for more than
    `filter_depth_max` nested parentheses and nots, or more than `filter_terms_max` conditions and listed values.
    """
    return FilterParser(text, limits).read()


def as_filter(where: object, limits: Limits) -> Filter | None:
    """Return what a user gave as `where` (None, a string, an Expression or a Filter) as a checked, canonical tree.

    Canonical: no And directly in an And nor Or in an Or, and none of one part, so both spellings of a filter give the same tree. Datetimes
    become ISO 8601 strings, UUIDs text, NumPy scalars plain ones. Raises FilterSyntax.
    """
    if where is None:
        return None
    if isinstance(where, str):
        return canonical(parse(where, limits), limits)
    if isinstance(where, Expression):
        return canonical(where.tree, limits)
    if isinstance(where, Filter):
        return canonical(where, limits)
    raise FilterSyntax(
        f"a filter is of type {type(where).__name__}; expected a string, an expression made with paradox.field(…), or None",
        hint="""write where="year >= 1990 and topic = 'sea'", or where=paradox.field("year") >= 1990""",
    )


def spell(tree: Filter) -> str:
    """Return the string for a tree; `parse` gives the same tree back. The tree is one that `parse` or `as_filter` returned, or as deep."""
    match tree:
        case And(of) | Or(of):
            name = "and" if isinstance(tree, And) else "or"
            if len(of) < 2:
                return f"{'all' if name == 'and' else 'any'}({', '.join(map(spell, of))})"
            return f" {name} ".join(map(_spell_part, of))
        case Not(In(field, values)):
            return f"{_spell_field(field)} not in ({', '.join(map(_spell_value, values))})"
        case Not(of):
            return f"not {_spell_part(of)}"
        case Compare(field, operator, value):
            return f"{_spell_field(field)} {operator} {_spell_value(value)}"
        case In(field, values):
            return f"{_spell_field(field)} in ({', '.join(map(_spell_value, values))})"
        case Between(field, low, high):
            return f"{_spell_field(field)} between {_spell_value(low)} and {_spell_value(high)}"
        case Exists(field):
            return f"exists({_spell_field(field)})"
        case Contains(field, value):
            return f"contains({_spell_field(field)}, {_spell_value(value)})"
        case Prefix(field, value):
            return f"prefix({_spell_field(field)}, {_spell_value(value)})"
        case Matches(field, text):
            return f"matches({_spell_field(field)}, {_spell_value(text)})"


def _spell_part(tree: Filter) -> str:
    return f"({spell(tree)})" if isinstance(tree, (And, Or)) and len(tree.of) > 1 else spell(tree)


def _spell_field(path: str) -> str:
    if WORD.fullmatch(path) and path.lower() not in RESERVED:
        return path
    return "`" + path.replace("`", "``") + "`"


def _spell_value(value: Scalar) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)
