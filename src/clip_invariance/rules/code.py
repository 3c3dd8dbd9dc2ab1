"""Pins on the code that the numbers of rules come from, so that it cannot change without an entry in ``editions.toml``.

A pin is a digest over definitions as Python parses them: comments, docstrings, imports, layout, order and the file that a
definition stands in do not count, everything else does. There is one pin for

- each value that a rule reads ("04.c27_kept"): the functions that make rows of values and name it;
- the rest of each chapter but its drawings ("chapter 04"): its arms, steps, tasks and tables;
- what all chapters measure with ("shared").

Trainings, models and worlds are not pinned here: a change of them changes the keys of a run's units (``run/store.py``), and
shows in the published numbers.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clip_invariance.errors import ReportError
from clip_invariance.results import write_json
from clip_invariance.rules.claims import Claim

CODE_FILE = Path(__file__).with_name("code.json")
PACKAGE = Path(__file__).parent.parent
#: Modules that only draw what was measured.
DRAWINGS = re.compile(r"(^|_)(figures?|story)(_|$)")
#: Fewest letters of a name that a pattern such as f"c08_slope_{world}" must spell out.
SPELT_OUT = 4
PIN_LENGTH = 16

_Text = ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef | ast.Module


@dataclass(frozen=True)
class Definition:
    """One top-level statement of a module that defines something.

    Attributes:
        text: what counts of it.
        returns: what a function returns, as text, with the module's own names for types written out; "" for all else.
    """

    name: str
    text: str
    node: ast.stmt
    returns: str

    @property
    def makes_values(self) -> bool:
        """Whether it is a function that returns rows of values."""
        return "NamedValue" in self.returns

    def spells(self, value: str) -> bool:
        """Whether the name of a value stands in it, whole."""
        return any(isinstance(n, ast.Constant) and n.value == value for n in ast.walk(self.node))

    def may_spell(self, value: str) -> bool:
        """Whether a pattern in it can become the name of the value."""
        return any(
            re.fullmatch(p, value) for n in ast.walk(self.node) if isinstance(n, ast.JoinedStr) for p in _pattern(n)
        )

    def names(self) -> set[str]:
        return {n.id for n in ast.walk(self.node) if isinstance(n, ast.Name)}


def pins(claims: Sequence[Claim], package: Path = PACKAGE) -> dict[str, str]:
    """The pins of the code as it is, by what they hold.

    Raises:
        ReportError: if a module cannot be parsed, or a chapter that a rule reads has none.
    """
    shared = [*(package / "measure").rglob("*.py"), *(package / "chapters").glob("*.py")]
    found = {"shared": _digest(_definitions(shared))}
    read = sorted({c.value for claim in claims for c in claim.conditions})
    for chapter in sorted({value.partition(".")[0] for value in read}):
        folders = sorted((package / "chapters").glob(f"c{int(chapter)}_*"))
        if not folders:
            raise ReportError(f"chapter {chapter} has rules, but no folder chapters/c{int(chapter)}_*")
        definitions = list(_definitions([path for folder in folders for path in folder.rglob("*.py")]))
        rows = [d for d in definitions if d.makes_values]
        found[f"chapter {chapter}"] = _digest(d for d in definitions if not d.makes_values)
        for value in read:
            if value.startswith(f"{chapter}."):
                found[value] = _digest(_makers(value.partition(".")[2], rows))
    return found


def read_pins(path: Path | None = None) -> dict[str, str]:
    """The recorded pins.

    Raises:
        ReportError: if the file is missing or malformed.
    """
    path = path or CODE_FILE
    try:
        return {str(k): str(v) for k, v in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError) as error:
        raise ReportError(f"{path} cannot be read: {error}") from None


def write_pins(found: dict[str, str], path: Path | None = None) -> None:
    """Record pins."""
    write_json(path or CODE_FILE, found)


def digest_of(found: dict[str, str]) -> str:
    """One digest for all pins: what an entry in ``editions.toml`` vouches for."""
    return hashlib.sha256(json.dumps(sorted(found.items())).encode()).hexdigest()[:PIN_LENGTH]


def changed_pins(recorded: dict[str, str], now: dict[str, str]) -> list[str]:
    """What differs between two sets of pins, by name."""
    return sorted(name for name in recorded.keys() | now.keys() if recorded.get(name) != now.get(name))


def _makers(value: str, rows: Sequence[Definition]) -> list[Definition]:
    """The functions that name a value, and those among the makers of values that they call; all, if none names it."""
    makers = [d for d in rows if d.spells(value)] or [d for d in rows if d.may_spell(value)] or list(rows)
    by_name = {d.name: d for d in rows}
    found: dict[str, Definition] = {}
    while makers:
        maker = makers.pop()
        if maker.name not in found:
            found[maker.name] = maker
            makers += [by_name[name] for name in sorted(maker.names() & by_name.keys()) if _is_helper(by_name[name])]
    return list(found.values())


def _is_helper(definition: Definition) -> bool:
    """Whether it makes one value, as a function that others call for each; those that make lists are looked up by name."""
    return bool(definition.returns) and not re.search("List|list|Iterator|Sequence", definition.returns)


def _pattern(joined: ast.JoinedStr) -> Iterator[str]:
    """A regular expression for what an f-string can become; nothing if it spells too little out."""
    literal = [p.value for p in joined.values if isinstance(p, ast.Constant) and isinstance(p.value, str)]
    if sum(map(len, literal)) >= SPELT_OUT:
        yield "".join(
            re.escape(p.value) if isinstance(p, ast.Constant) and isinstance(p.value, str) else ".*"
            for p in joined.values
        )


def _digest(definitions: Iterable[Definition]) -> str:
    texts = sorted(d.text for d in definitions)
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:PIN_LENGTH]


def _definitions(modules: Sequence[Path]) -> Iterator[Definition]:
    for path in sorted(modules):
        try:
            module = ast.parse(path.read_text(encoding="utf-8"))
        except (OSError, SyntaxError) as error:
            raise ReportError(f"{path} cannot be parsed: {error}") from None
        types = {
            target.id: ast.dump(node.value)
            for node in module.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name) and "NamedValue" in ast.dump(node.value)
        }
        for node in module.body:
            if not isinstance(node, ast.Import | ast.ImportFrom) and not _is_text(node):
                text = _dump(_without_docstrings(node))
                found = Definition(getattr(node, "name", ""), text, node, _returned(node, types))
                if found.makes_values or not DRAWINGS.search(path.stem):
                    yield found


def _returned(node: ast.stmt, types: Mapping[str, str]) -> str:
    if not isinstance(node, ast.FunctionDef) or node.returns is None:
        return ""
    named = [types[n.id] for n in ast.walk(node.returns) if isinstance(n, ast.Name) and n.id in types]
    return " ".join([ast.dump(node.returns), *named])


def _dump(node: object) -> str:
    """A syntax tree as text, the same in every version of Python, which ``ast.dump`` is not."""
    if isinstance(node, ast.AST):
        fields = [(name, value) for name, value in ast.iter_fields(node) if name == "value" or value not in (None, [])]
        return f"{type(node).__name__}({', '.join(f'{name}={_dump(value)}' for name, value in fields)})"
    if isinstance(node, list):
        return f"[{', '.join(map(_dump, node))}]"
    return repr(node)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _without_docstrings(node: ast.stmt) -> ast.stmt:
    for inner in ast.walk(node):
        if isinstance(inner, _Text) and inner.body and _is_text(inner.body[0]):
            inner.body = inner.body[1:] or [ast.Pass()]
    return node
