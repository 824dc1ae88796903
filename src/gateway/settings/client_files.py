"""What stores' clients read in the user's home folder, as it was when the gateway started.

Each of these clients looks there at its first use. By then a model may have created the file: it runs as the
same user. AWS' client even executes commands that its file names.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import Field

from gateway.settings.types import SettingsGroup, expand
from gateway.system.trusted_files import UntrustedFileError, check_trusted_folder, read_trusted_file

if TYPE_CHECKING:
    from collections.abc import Mapping

AWS_CONFIG: Final = "AWS_CONFIG_FILE"
AWS_CREDENTIALS: Final = "AWS_SHARED_CREDENTIALS_FILE"
MLFLOW_CREDENTIALS: Final = "~/.mlflow/credentials"  # no variable names it
# Each variable names the file or folder, whose default is below the home folder.
_FILES: Final = {
    AWS_CONFIG: ".aws/config",
    AWS_CREDENTIALS: ".aws/credentials",
    "NETRC": ".netrc",
    "DATABRICKS_CONFIG_FILE": ".databrickscfg",
    MLFLOW_CREDENTIALS: ".mlflow/credentials",
}
_FOLDERS: Final = {"AZURE_CONFIG_DIR": ".azure", "CLOUDSDK_CONFIG": ".config/gcloud", "~/.ssh": ".ssh"}


class ClientFiles(SettingsGroup):
    """The files and folders that existed and that no other user could have written.

    `contents` has files by the variable that names them, and `folders` the paths of folders. `ignored` has
    a sentence for each that may not be used.
    """

    contents: dict[str, bytes] = Field(default_factory=dict, repr=False)
    folders: dict[str, str] = Field(default_factory=dict)
    ignored: tuple[str, ...] = ()

    def text(self, name: str) -> str:
        """Return the content of a file, empty if there is none."""
        return self.contents.get(name, b"").decode(errors="replace")


def read_client_files(values: Mapping[str, str]) -> tuple[ClientFiles, list[str]]:
    """Return what there is now, and the problems of AWS' files that `values` name.

    A file that another variable names is left to its client: the operator chose the path, and it may change.
    """
    chosen = {AWS_CONFIG, AWS_CREDENTIALS} & values.keys()
    paths, wrong = _expand_all({name: values[name] for name in sorted(chosen)})
    named = {name: path for name, path in paths.items() if path != Path(os.devnull)}  # which means: none
    contents, problems = _read(named, allow_temporary=True)
    problems += wrong
    home = _home()
    if home is None:
        return ClientFiles(contents=contents), problems
    defaults = {name: home / path for name, path in _FILES.items() if name not in values}
    found, ignored = _read(defaults, allow_temporary=False)
    folders = {name: home / path for name, path in _FOLDERS.items() if name not in values}
    trusted, also_ignored = _trusted_folders(folders)
    files = ClientFiles(contents=contents | found, folders=trusted, ignored=(*ignored, *also_ignored))
    return files, problems


def _expand_all(values: Mapping[str, str]) -> tuple[dict[str, Path], list[str]]:
    paths, problems = {}, []
    for name, value in values.items():
        try:
            paths[name] = expand(Path(value))
        except ValueError as error:
            problems.append(f"{name} {error}")
    return paths, problems


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:  # the user has none
        return None


def _read(files: Mapping[str, Path], *, allow_temporary: bool) -> tuple[dict[str, bytes], list[str]]:
    """Return the contents of those that exist, and why others may not be used."""
    contents: dict[str, bytes] = {}
    problems: list[str] = []
    for name, path in files.items():
        try:
            contents[name] = read_trusted_file(path, allow_temporary=allow_temporary)
        except UntrustedFileError as error:
            problems.append(f"{path} is not used: {error}")
        except OSError as error:
            if allow_temporary and not isinstance(error, FileNotFoundError):  # the operator's own choice
                problems.append(f"{name}: {path} cannot be read: {error.strerror}")
    return contents, problems


def _trusted_folders(folders: Mapping[str, Path]) -> tuple[dict[str, str], list[str]]:
    """Return those that exist, and why others may not be used."""
    trusted: dict[str, str] = {}
    problems: list[str] = []
    for name, path in folders.items():
        try:
            if path.is_dir():
                check_trusted_folder(path)
                trusted[name] = str(path)
        except UntrustedFileError as error:
            problems.append(f"{path} is not used: {error}")
        except PermissionError:
            continue
    return trusted, problems
