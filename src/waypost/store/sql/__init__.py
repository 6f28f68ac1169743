"""Named queries: `-- name: NAME`, a comment that says why it is there, the SQL. Same names in every dialect."""

import re
from importlib import resources

_QUERY = re.compile(r"^-- name: (?P<name>\w+)\n(?P<sql>.*?)(?=^-- name: |\Z)", re.MULTILINE | re.DOTALL)


def load(dialect: str) -> dict[str, str]:
    """The queries of a dialect by name, without their comments."""
    return {match["name"]: _bare(match["sql"]) for text in texts(dialect) for match in _QUERY.finditer(text)}


def texts(dialect: str) -> list[str]:
    """The files of a dialect, in the order of their names."""
    files = sorted(resources.files(__name__).iterdir(), key=lambda file: file.name)
    return [file.read_text(encoding="utf-8") for file in files if file.name.endswith(f".{dialect}.sql")]


def _bare(sql: str) -> str:
    lines = (line for line in sql.splitlines() if not line.startswith("--"))
    return "\n".join(lines).strip().rstrip(";")
