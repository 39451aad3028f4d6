"""Filter parser: from a string to a Filter.

    filter    = chain { "or" chain }                chain = operand { "and" operand }
    operand   = { "not" } ( "(" filter ")" | ( "all" | "any" ) "(" [ filter { "," filter } ] ")" | condition )
    condition = field ( "=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">=" ) value
              | field [ "not" ] ( "in" "(" [ value { "," value } ] ")" | "between" value "and" value )
              | field [ "not" ] ( "contains" value | "prefix" text | "matches" text )
              | "exists" "(" field ")" | "contains" "(" field "," value ")" | ( "prefix" | "matches" ) "(" field "," text ")"
    field     = dotted names such as meta.year; `odd names` in backticks
    value     = text | number | "true" | "false" | "null"
    text      = 'quoted' or "quoted"; a doubled quote stands for one

Keywords are read in any case. `all()` and `any()` spell an And or an Or of fewer than two parts, which `and` and `or` cannot.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isfinite
from typing import NoReturn

import msgspec

from paradox.errors import FilterSyntax
from paradox.model.filter_trees import INTEGER_MAX, INTEGER_MIN, is_unicode, joined
from paradox.model.filters import And, Between, Compare, Contains, Exists, Filter, In, Matches, Not, Operator, Or, Prefix, Scalar
from paradox.model.schema import Limits

_NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w.+-])"
WORD = re.compile(r"[^\W\d]\w*(?:\.\w+)*")
_PIECE = re.compile(r"`((?:[^`]++|``)++)`|(\w+)")
_FIELD = re.compile(r"(?:`(?:[^`]++|``)++`|[^\W\d]\w*)(?:\.(?:`(?:[^`]++|``)++`|\w+))*")
_LITERAL = rf"(?:'((?:[^']++|'')*+)'|\"((?:[^\"]++|\"\")*+)\"|({_NUMBER})|((?i:true|false|null))(?![\w.]))"
_VALUE = re.compile(_LITERAL)
_LISTED = re.compile(rf"{_LITERAL}\s*([,)])\s*")
_OPERATOR = re.compile(r"==|=|!=|<>|<=|<|>=|>")
_SPACE = re.compile(r"\s*")
_UNREADABLE = re.compile(r"[^\s(),'\"`]+")

_OPERATORS: Mapping[str, Operator] = {"=": "=", "==": "=", "!=": "!=", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_FUNCTIONS = ("exists", "contains", "prefix", "matches", "all", "any")
RESERVED = frozenset({"and", "or", "not", "in", "between", "true", "false", "null", *_FUNCTIONS})
_NO_FIELD = frozenset({"and", "or", "in", "between", "true", "false", "null"})
_CONSTANTS: Mapping[str, Scalar] = {"true": True, "false": False, "null": None}

_OPERAND_DUE = ("a field", "not", "'('", "exists(…)", "contains(…)", "prefix(…)", "matches(…)")
_OPERATOR_DUE = ("=", "!=", "<", "<=", ">", ">=", "in", "not in", "between", "contains", "prefix", "matches")
_VALUE_DUE = ("text in quotes", "a number", "true", "false", "null")
_TEXT_DUE = ("text in quotes",)
_FOREIGN: Mapping[str, str] = {
    "&&": "write 'and'",
    "&": "write 'and'",
    "||": "write 'or'",
    "|": "write 'or'",
    "!": "write 'not'",
    "is": "write exists(field) or not exists(field)",
    "like": "write prefix(field, 'start') or matches(field, 'words')",
    "ilike": "write matches(field, 'words')",
}
_BEFORE, _AFTER = 48, 28
"""Characters of the filter that an error shows on either side of the place."""
_DIGITS_MAX = 4000
"""Python refuses to read integers of more digits; far beyond 64 bits in any case."""


class _Group(msgspec.Struct):
    """What has been read inside one pair of parentheses: finished `or` parts, the running `and` chain, the nots before the next operand."""

    place: int
    name: str = ""
    ors: list[Filter] = []
    ands: list[Filter] = []
    nots: int = 0
    parts: list[Filter] = []

    def close_chain(self) -> None:
        self.ors.append(joined(And, self.ands))
        self.ands = []

    def close_part(self) -> None:
        self.close_chain()
        self.parts.append(joined(Or, self.ors))
        self.ors = []

    def finished(self) -> Filter:
        match self.name:
            case "all":
                return And(tuple(self.parts))
            case "any":
                return Or(tuple(self.parts))
            case _:
                return self.parts[0]


class FilterParser:
    """Reads one filter from left to right; open groups stand on a list, so that nesting costs no recursion."""

    def __init__(self, text: str, limits: Limits) -> None:
        self.text = text
        self.limits = limits
        self.place = 0
        self.depth = 0
        self.terms = 0
        self.groups = [_Group(0)]

    def read(self) -> Filter:
        """Return the tree of the whole text."""
        if not is_unicode(self.text):
            raise FilterSyntax("the filter is not valid Unicode text", hint="remove lone surrogates, such as '\\ud800'")
        self._skip()
        while True:
            operand = self._operand()
            while operand is not None:
                self._add(operand)
                operand = self._after_operand()
                if not self.groups:
                    assert operand is not None
                    return operand

    # Operands: what may stand between `and`, `or` and parentheses.

    def _operand(self) -> Filter | None:
        """Read a condition; or open a group or take a `not`, and return None because an operand is still due."""
        start = self.place
        if self._take("("):
            self._open(_Group(start))
            return None
        word = self._word()
        if word == "not":
            self._deepen(start)
            self._advance(len(word))
            self.groups[-1].nots += 1
            return None
        if word and self._called(word):
            return self._function(word)
        if word in _NO_FIELD:
            self._fail(start, _OPERAND_DUE, hint=f"if {word!r} is a field, put it in backticks: `{word}`")
        return self._condition(self._field(_OPERAND_DUE))

    def _function(self, name: str) -> Filter | None:
        start = self.place
        self._advance(len(name))
        self._take("(")
        if name in ("all", "any"):
            self._open(_Group(start, name))
            return self._close() if self._take(")") else None
        field = self._field(("a field",))
        made: Filter
        if name == "exists":
            made = Exists(field)
        else:
            self._expect(",")
            made = self._worded(name, field)
        self._expect(")")
        return self._counted(made, 1, start)

    def _condition(self, field: str) -> Filter:
        start = self.place
        symbol = _OPERATOR.match(self.text, self.place)
        if symbol:
            self._advance(symbol.end() - start)
            return self._counted(Compare(field, _OPERATORS[symbol[0]], self._value()), 1, start)
        word = self._word()
        negated = word == "not"
        if negated:
            self._advance(len(word))
            word = self._word()
        if word not in ("in", "between", "contains", "prefix", "matches"):
            self._fail(self.place, _OPERATOR_DUE[6:7] + _OPERATOR_DUE[8:] if negated else _OPERATOR_DUE)
        self._advance(len(word))
        made: Filter
        if word == "in":
            values = self._values()
            made = self._counted(In(field, values), len(values), start)
        elif word == "between":
            low = self._value()
            if self._word() != "and":
                self._fail(self.place, ("and",))
            self._advance(len("and"))
            made = self._counted(Between(field, low, self._value()), 1, start)
        else:
            made = self._counted(self._worded(word, field), 1, start)
        if negated:
            self._deepen(start)
            self.depth -= 1
            return Not(made)
        return made

    def _worded(self, name: str, field: str) -> Filter:
        match name:
            case "contains":
                return Contains(field, self._value())
            case "prefix":
                return Prefix(field, self._quoted())
            case _:
                return Matches(field, self._quoted())

    # Groups.

    def _open(self, group: _Group) -> None:
        self._deepen(group.place)
        self.groups.append(group)

    def _close(self) -> Filter:
        self.depth -= 1
        return self.groups.pop().finished()

    def _add(self, operand: Filter) -> None:
        group = self.groups[-1]
        for _ in range(group.nots):
            operand = Not(operand)
        self.depth -= group.nots
        group.nots = 0
        group.ands.append(operand)

    def _after_operand(self) -> Filter | None:
        """Read what follows an operand; return the group that ends here, or None when another operand is due."""
        group = self.groups[-1]
        if self.place == len(self.text):
            if len(self.groups) > 1:
                self._fail(group.place, ("')'",), "the '(' opened here is never closed")
            group.close_part()
            return self.groups.pop().finished()
        word = self._word()
        if word == "and":
            self._advance(len(word))
        elif word == "or":
            self._advance(len(word))
            group.close_chain()
        elif group.name and self._take(","):
            group.close_part()
        elif len(self.groups) > 1 and self._take(")"):
            group.close_part()
            return self._close()
        else:
            closing = "')'" if len(self.groups) > 1 else "the end of the filter"
            self._fail(self.place, ("and", "or", *(("','",) if group.name else ()), closing))
        return None

    # Words and values.

    def _skip(self) -> None:
        space = _SPACE.match(self.text, self.place)
        assert space
        self.place = space.end()

    def _advance(self, length: int) -> None:
        self.place += length
        self._skip()

    def _take(self, sign: str) -> bool:
        taken = self.text.startswith(sign, self.place)
        if taken:
            self._advance(len(sign))
        return taken

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            self._fail(self.place, (f"'{sign}'",))

    def _word(self) -> str:
        """Return the word that starts here in lower case, without taking it; empty when there is none."""
        word = WORD.match(self.text, self.place)
        return word[0].lower() if word and len(word[0].lower()) == len(word[0]) else ""

    def _called(self, word: str) -> bool:
        """Tell whether `word`, which starts here, is a function. Raises FilterSyntax when it is called like one but is none."""
        space = _SPACE.match(self.text, self.place + len(word))
        if not space or not self.text.startswith("(", space.end()) or word in _NO_FIELD:
            return False
        if word not in _FUNCTIONS:
            self._fail(self.place, tuple(f"{name}(…)" for name in _FUNCTIONS), f"{word!r} is no function")
        return True

    def _field(self, due: tuple[str, ...]) -> str:
        found = _FIELD.match(self.text, self.place)
        if not found:
            if self.text.startswith("`", self.place):
                self._fail(self.place, ("a name and a closing `",), "the name opened here is empty or never closed")
            is_value = _VALUE.match(self.text, self.place)
            self._fail(self.place, due, hint="the field stands first, the value after the operator: year >= 1990" if is_value else "")
        self._advance(found.end() - found.start())
        if "`" not in found[0]:
            return found[0]
        return ".".join(quoted.replace("``", "`") or plain for quoted, plain in _PIECE.findall(found[0]))

    def _quoted(self) -> str:
        start = self.place
        value = self._value(_TEXT_DUE)
        if not isinstance(value, str):
            self._fail(start, _TEXT_DUE)
        return value

    def _value(self, due: tuple[str, ...] = _VALUE_DUE) -> Scalar:
        found = _VALUE.match(self.text, self.place)
        if not found:
            if self.text.startswith(("'", '"'), self.place):
                self._fail(self.place, (f"a closing {self.text[self.place]}",), "the text opened here is never closed")
            wrong = _UNREADABLE.match(self.text, self.place)
            plain = wrong and wrong[0][0].isalnum() and wrong[0].lower() not in RESERVED
            self._fail(self.place, due, hint=f"put quotes around text and times: '{wrong[0]:.40}'" if wrong and plain else "")
        self._advance(found.end() - found.start())
        return self._literal(found)

    def _literal(self, found: re.Match[str]) -> Scalar:
        single, double, digits, constant = found.group(1, 2, 3, 4)
        if single is not None:
            return single.replace("''", "'")
        if double is not None:
            return double.replace('""', '"')
        return self._number(digits, found.start()) if digits is not None else _CONSTANTS[constant.lower()]

    def _number(self, digits: str, start: int) -> int | float:
        if digits.lstrip("+-").isdigit():
            number = int(digits) if len(digits) <= _DIGITS_MAX else INTEGER_MAX + 1
            if not INTEGER_MIN <= number <= INTEGER_MAX:
                self._fail(start, (), f"a whole number does not fit 64 bits; expected {INTEGER_MIN} to {INTEGER_MAX}")
            return number
        real = float(digits)
        if not isfinite(real):
            self._fail(start, (), "a number is too large; expected one of 64 bits, below 1.8e308")
        return real

    def _values(self) -> tuple[Scalar, ...]:
        self._expect("(")
        values: list[Scalar] = []
        if self._take(")"):
            return ()
        allowed = self.limits.filter_terms_max - self.terms
        while True:
            if len(values) >= allowed:
                self._fail_terms(self.place)
            found = _LISTED.match(self.text, self.place)
            if not found:
                self._value()
                self._fail(self.place, ("','", "')'"))
            values.append(self._literal(found))
            self.place = found.end()
            if found[5] == ")":
                return tuple(values)

    # Limits and errors.

    def _counted(self, made: Filter, terms: int, start: int) -> Filter:
        self.terms += max(1, terms)
        if self.terms > self.limits.filter_terms_max:
            self._fail_terms(start)
        return made

    def _deepen(self, place: int) -> None:
        self.depth += 1
        if self.depth > self.limits.filter_depth_max:
            limit = self.limits.filter_depth_max
            self._fail(place, (), f"the filter nests deeper than filter_depth_max = {limit}", hint="write it flatter: a or b or c")

    def _fail_terms(self, place: int) -> NoReturn:
        limit = self.limits.filter_terms_max
        self._fail(place, (), f"the filter has more conditions and listed values than filter_terms_max = {limit}", hint="ask in parts")

    def _fail(self, place: int, due: tuple[str, ...], what: str = "", *, hint: str = "") -> NoReturn:
        """Raise FilterSyntax with a window of the text, a caret under `place`, and what is valid there."""
        if not self.text.strip():
            what, hint = "the filter is empty", "leave where out to filter nothing"
        elif place == len(self.text) and not what:
            what = "the filter ends too early"
        wrong = _UNREADABLE.match(self.text, place)
        hint = hint or (_FOREIGN.get(wrong[0].lower(), "") if wrong else "")
        start, end = max(0, place - _BEFORE), place + _AFTER
        lead, tail = "…" if start else "", "…" if end < len(self.text) else ""
        window = "".join(sign if sign.isprintable() else " " for sign in self.text[start:end])
        lines = [
            f"{what or 'the filter cannot be read'}, at character {place + 1}:",
            f"  {lead}{window}{tail}",
            f"  {' ' * (len(lead) + place - start)}^",
        ]
        if due:
            lines.append(f"expected one of: {', '.join(due)}" if len(due) > 1 else f"expected {due[0]}")
        raise FilterSyntax("\n".join(lines), hint=hint)
