"""Finds every regular expression in the source of the program, and whether it is used to search."""

import ast
import importlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import waypost

SOURCE = Path(waypost.__file__).parent
SEARCHING = {"search", "sub", "subn", "split", "findall", "finditer"}
ANCHORED = {"match", "fullmatch"}
IMPORT = re.compile(r"^ *import re\b", re.MULTILINE)


@dataclass(frozen=True)
class Expression:
    """A regular expression in the source."""

    place: str
    """Its module and name, or, if it has no name, its module and text."""
    pattern: "re.Pattern[Any] | None"
    """The compiled expression; None if it is built at run time."""
    searches: bool
    """Whether it is searched for at every position of a text, or may be."""


def all_of_them() -> list[Expression]:
    """Return the expressions of all modules, without duplicates."""
    return list(dict.fromkeys(_all()))


def _all() -> Iterator[Expression]:
    for path in sorted(SOURCE.rglob("*.py")):
        name = ".".join(["waypost", *path.relative_to(SOURCE).with_suffix("").parts]).removesuffix(".__init__")
        source = path.read_text(encoding="utf-8")
        if IMPORT.search(source):  # parsing all modules would take a long time
            yield from _of_module(name, ast.parse(source))


def _of_module(module: str, tree: ast.Module) -> Iterator[Expression]:
    nodes = list(ast.walk(tree))
    used = _methods_by_name(nodes)
    named = {id(statement.value): _name(statement) for statement in tree.body if _name(statement)}
    inside = {id(node): _name(statement) for statement in tree.body if _name(statement) for node in ast.walk(statement)}
    for node in nodes:
        function = _function_of_re(node)
        if not function or not isinstance(node, ast.Call) or function in {"escape", "purge"}:
            continue
        if function != "compile":
            yield Expression(f"{module}: {ast.unparse(node.args[0])}", _literal(node), function in SEARCHING)
        elif id(node) in named:
            name = named[id(node)]
            methods = used.get(name, set())
            pattern = getattr(importlib.import_module(module), name)
            yield Expression(f"{module}: {name}", pattern, not methods or bool(methods & SEARCHING) or "" in methods)
        elif id(node) in inside:  # an expression in a table
            table = getattr(importlib.import_module(module), inside[id(node)])
            methods = used.get(inside[id(node)], set())
            searches = not methods or bool(methods - ANCHORED)
            for key, pattern in table.items():
                yield Expression(f"{module}: {inside[id(node)]}[{key!r}]", pattern, searches)
        else:
            yield Expression(f"{module}: {ast.unparse(node)}", _literal(node), searches=True)


def _name(statement: ast.stmt) -> str:
    target = statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
    return target.id if isinstance(target, ast.Name) else ""


def _function_of_re(node: ast.AST) -> str:
    function = node.func if isinstance(node, ast.Call) else None
    is_of_re = (
        isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id == "re"
    )
    return function.attr if is_of_re else ""


def _literal(call: ast.Call) -> "re.Pattern[Any] | None":
    """Return the compiled expression of a call; None if its text is not a literal."""
    try:
        source = ast.literal_eval(call.args[0])
    except ValueError:
        return None
    flags = 0
    for word in (*call.args[1:], *(keyword.value for keyword in call.keywords)):
        for node in ast.walk(word):
            if isinstance(node, ast.Attribute) and isinstance(getattr(re, node.attr, None), re.RegexFlag):
                flags |= getattr(re, node.attr)
    return re.compile(source, flags)


def _methods_by_name(nodes: Sequence[ast.AST]) -> dict[str, set[str]]:
    """Return the methods that are called on each name. An empty string means that the name is used in another way."""
    used: dict[str, set[str]] = {}
    of_methods: dict[int, str] = {}
    for node in nodes:
        if isinstance(node, ast.Attribute):
            of_one = node.value.value if isinstance(node.value, ast.Subscript) else node.value  # an element of a table
            of_methods[id(of_one)] = node.attr
    for node in nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            used.setdefault(node.id, set()).add(of_methods.get(id(node), ""))
    return used
