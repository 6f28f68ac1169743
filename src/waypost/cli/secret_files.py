"""Reads secrets from files that environment variables name, as container engines provide secrets."""

from collections.abc import MutableMapping
from pathlib import Path

from waypost.config import rows
from waypost.config.types import BadSetting
from waypost.host.master_key import MASTER_KEY_VARIABLE, PREVIOUS_KEY_VARIABLE
from waypost.host.private_files import UnsafeFile, refuse_replaceable

COPY_TO_VARIABLE = "WAYPOST_COPY_TO_DATABASE"
"""The environment variable with the URL of the database to which `waypost copy` copies."""

VARIABLES = (MASTER_KEY_VARIABLE, PREVIOUS_KEY_VARIABLE, rows.environment_name("database"), COPY_TO_VARIABLE)
"""The environment variables with secrets. For each NAME of these, NAME_FILE can name a file with the value."""

LONGEST = 64 * 1024
"""The maximum size of a file, in bytes, so that a wrong path cannot fill the memory."""


def read_into(environment: MutableMapping[str, str]) -> None:
    """Replace each variable that names a file with a secret by the variable that has the secret itself.

    White space at the end of the file does not belong to the secret. Raises `BadSetting` if a file cannot be used, or
    if both variables are set.
    """
    for name in VARIABLES:
        by_file = f"{name}_FILE"
        if path := environment.get(by_file):
            if environment.get(name):
                raise BadSetting(f"{name} and {by_file} are both set. Set only one of them.")
            environment[name] = _secret(by_file, Path(path))
        environment.pop(by_file, None)


def _secret(variable: str, path: Path) -> str:
    try:
        refuse_replaceable(path)
        with path.open("rb") as file:
            found = file.read(LONGEST + 1)
        text = found.decode("ascii").rstrip()
    except UnsafeFile as error:
        raise BadSetting(f"{variable}: {error}") from error
    except OSError as error:
        raise BadSetting(f"{variable}: {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise BadSetting(f"{variable}: {path} must contain only ASCII characters.") from error
    if len(found) > LONGEST:
        raise BadSetting(f"{variable}: {path} has more than {LONGEST} bytes.")
    if not text or len(text.splitlines()) > 1:
        raise BadSetting(f"{variable}: {path} must contain exactly one line.")
    return text
