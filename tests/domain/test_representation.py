"""Objects with secrets do not show them in logs and tracebacks."""

import ast
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from waypost.app.deployment import Deployment
from waypost.domain.mailauth.mail_secrets import Generation

SOURCES = Path(__file__).parents[2] / "src"


def fields_with_secrets():
    """Yield the file, the class and the name of each field of a struct that is named like a secret.

    A key that is text is not a secret: it is the key of an email address, a tag or a condition.
    """
    for path in sorted(SOURCES.glob("**/*.py")):
        for one in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(one, ast.ClassDef) and any(ast.unparse(base).endswith("Struct") for base in one.bases):
                for field in one.body:
                    if isinstance(field, ast.AnnAssign) and is_secret(field):
                        yield path.relative_to(SOURCES), one, field.target.id


def is_secret(field):
    name, kind = field.target.id, ast.unparse(field.annotation).removesuffix(" | None")
    named_key = re.fullmatch(r"(\w+_)?key", name) and kind == "bytes"
    return named_key or (re.fullmatch(r"(\w+_)?(secret|password)", name) and kind in {"bytes", "str"})


@pytest.mark.parametrize(
    ("of", "name"), [pytest.param(of, name, id=f"{of.name}.{name}") for _, of, name in fields_with_secrets()]
)
def test_each_struct_with_a_secret_leaves_it_out_of_its_representation(of, name):
    methods = [each for each in of.body if isinstance(each, ast.FunctionDef) and each.name == "__repr__"]
    hidden = {each.value for method in methods for each in ast.walk(method) if isinstance(each, ast.Constant)}
    assert name in hidden, f"{of.name} needs a __repr__ without {name} (domain.representation)"


def test_a_deployment_shows_neither_its_secrets_nor_those_of_other_generations():
    at = datetime(2026, 12, 1, tzinfo=UTC)
    now = Generation(at, b"a loop key", {1: b"a recorded secret"})
    other = Generation(at, b"another loop key", root=b"a root")
    shown = repr(Deployment("mx.example", b"a loop key", srs_key=now.srs_key, other_secrets=(other,)))
    assert shown.startswith("Deployment(hostname='mx.example', routes=(), ")
    assert not re.search("loop key|recorded|root", shown)
