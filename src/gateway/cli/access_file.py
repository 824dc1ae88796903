"""The access file before anything is started: a command that needs it ends with what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway import settings
from gateway.auth.access_file.problems import AccessFileError
from gateway.auth.access_file.reader import read_access_file

if TYPE_CHECKING:
    from pathlib import Path

FILE_SETTING: Final = "GATEWAY_API_KEYS_FILE"
HOW_TO_MAKE: Final = "`gateway key new ID --grant … --add` makes it"


def require_access_file(path: Path | None) -> None:
    """Raise SettingsError with every problem of the file, if the settings name one."""
    try:
        if path is not None:
            read_access_file(path)
    except AccessFileError as error:
        hint = f"; {HOW_TO_MAKE}" if is_missing(error) else ""
        raise settings.SettingsError(
            [f"{FILE_SETTING}: {problem}{hint}" for problem in error.problems]
        ) from error


def is_missing(error: AccessFileError) -> bool:
    """Return whether the problem is that there is no such file."""
    return isinstance(error.__cause__, FileNotFoundError)
