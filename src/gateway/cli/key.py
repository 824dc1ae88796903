"""`gateway key`: make, list and check API keys."""

from __future__ import annotations

import argparse
import re
import sys
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway import settings
from gateway.auth.access_file.key import digest, is_well_formed, new_key
from gateway.auth.access_file.key_parser import parse_expiry
from gateway.auth.access_file.model import NEVER
from gateway.auth.access_file.problems import AccessFileError, suggest
from gateway.auth.access_file.reader import read_access_file
from gateway.cli.access_file import FILE_SETTING
from gateway.cli.key_entry import NewEntry, add_entry
from gateway.cli.key_prompt import NoKeyTyped, read_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.auth.access_file.model import AccessFile, KeyEntry

    Command = Callable[[argparse.Namespace, Path | None], int]

_EXIT_INVALID_KEY: Final = 1
_EXIT_USAGE: Final = 2
_DAY_SECONDS: Final = 86_400
_PLACE: Final = re.compile(r"line \d+: key \d+(?: \([^)]*\))?: ")  # of a problem


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser], env_file: Path) -> None:
    """Add `gateway key` and its own commands; `env_file` may name the access file."""
    parser = commands.add_parser("key", help="make, list and check API keys")
    parser.set_defaults(run=partial(_print_help, parser))
    own = parser.add_subparsers(title="commands", metavar="COMMAND")
    new = _add_command(own, "new", new_command, env_file=env_file, summary="print a new key and its entry")
    new.add_argument("id", metavar="ID", help="name of the key in logs and metrics, such as billing-2026")
    new.add_argument("--expires", metavar="DATE", help="last day of the key (UTC), such as 2027-01-31")
    new.add_argument("--role", help="role of the access file")
    new.add_argument(
        "--grant",
        metavar="ACTION=PATTERNS",
        action="append",
        default=[],
        type=_parse_grant,
        help="read, invoke, manage or status, and models: invoke=wine,team-* (repeatable)",
    )
    new.add_argument("--rate", help="most requests in a time: 50/s, 600/min or 1000/h")
    new.add_argument("--add", action="store_true", help="add the entry to the access file")
    _add_command(own, "list", list_command, env_file=env_file, summary="list the keys of the access file")
    summary = "check the access file, and a key that is typed or piped in"
    _add_command(own, "check", check_command, env_file=env_file, summary=summary)


def new_command(options: argparse.Namespace, path: Path | None) -> int:
    """Print a new key to standard output, and to standard error what the access file must have of it."""
    key, sha256 = new_key()
    entry = NewEntry(
        key_id=options.id,
        sha256=sha256,
        expires=options.expires,
        role=options.role,
        grants=_unite(options.grant),
        rate=options.rate,
    )
    _check_new(entry, path)
    if not options.add:
        where = FILE_SETTING if path is None else path
        _tell(f"Add this to the keys in {where}:", "", entry.yaml(), end="")
    elif path is None:
        raise AccessFileError([f"--add needs --file, or {FILE_SETTING}"])
    else:
        add_entry(path, entry)
        _tell(f"{entry.key_id} was added to {path}. Running gateways accept it within seconds.")
    _tell("", "The key, which is not shown again:")
    sys.stdout.write(f"{key}\n")
    return 0


def list_command(_options: argparse.Namespace, path: Path | None) -> int:
    """Print the keys of the access file, without their hashes."""
    file = read_access_file(_require(path))
    now = time.time()
    rows = [("ID", "EXPIRES", "LEFT", "ROLE", "MAY")]
    rows += [
        (
            entry.principal.id,
            _moment(entry.expires_at),
            _left(entry, now),
            entry.role or "-",
            str(entry.entitlement),
        )
        for entry in file.keys.values()
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        line = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        sys.stdout.write(f"{line.rstrip()}\n")
    return 0


def check_command(_options: argparse.Namespace, path: Path | None) -> int:
    """Check the file, and a key from a prompt or standard input, never from what other processes can read.

    Return 1 if the key is not valid. Without a file, only its checksum is looked at.
    """
    file = None if path is None else read_access_file(path)
    if file is not None:
        _tell(f"{path}: {len(file.keys)} keys, {len(file.roles)} roles, no problems", *file.warnings)
    try:
        text = read_key()
    except NoKeyTyped as error:
        _tell(str(error))
        return error.status
    if text:
        return _check_key(text, file)
    if file is None:
        raise AccessFileError([f"there is no key to check, and no file: set {FILE_SETTING}, or give --file"])
    return 0


def _check_key(text: str, file: AccessFile | None) -> int:
    entry = None if file is None else file.keys.get(digest(text))
    if entry is None:
        if not is_well_formed(text):
            _say("not a key: its form or its checksum is wrong; it is mistyped or cut off")
            return _EXIT_INVALID_KEY
        if file is None:
            _say("well-formed; no file says more of it")
            return 0
        _say("well-formed, but the file does not have it")
        return _EXIT_INVALID_KEY
    if not is_well_formed(text):
        _tell("Warning: `gateway key new` did not make this key. A key that a person chose can be guessed.")
    expired = entry.expires_at <= time.time()
    _say(f"{entry.principal.id}: {'expired' if expired else 'valid'}")
    _say(f"expires: {_moment(entry.expires_at)}")
    _say(f"role: {entry.role or '-'}")
    _say(f"may: {entry.entitlement}")
    return _EXIT_INVALID_KEY if expired else 0


def _add_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    command: Command,
    *,
    env_file: Path,
    summary: str,
) -> argparse.ArgumentParser:
    description = f"{summary[0].upper()}{summary[1:]}. Without --file, {FILE_SETTING} names the access file."
    parser = commands.add_parser(name, help=summary, description=description)
    parser.add_argument("--file", type=Path, metavar="PATH", help=f"access file (default: {FILE_SETTING})")
    parser.set_defaults(run=partial(_run, command, env_file))
    return parser


def _run(
    command: Command,
    env_file: Path,
    options: argparse.Namespace,
    environ: Mapping[str, str],
) -> int:
    """Run a command with the path of the access file; return 2 if the file or an argument is wrong."""
    path: Path | None = options.file
    if path is None:
        # Of the settings only this one: the first key is made before GATEWAY_AUTH says keys.
        named = settings.read_environment(environ, env_file).get(FILE_SETTING)
        path = None if named is None else Path(named).expanduser()
    try:
        return command(options, path)
    except AccessFileError as error:
        sys.stderr.write("".join(f"gateway: {problem}\n" for problem in error.problems))
        return _EXIT_USAGE


def _print_help(parser: argparse.ArgumentParser, *_: object) -> int:
    parser.print_help()
    return 0


def _check_new(entry: NewEntry, path: Path | None) -> None:
    """Raise AccessFileError if the entry is wrong, by itself or in the file."""
    if not entry.grants and entry.role is None:
        raise AccessFileError(["it may do nothing: give it --grant or --role"])
    try:
        entry.check()
    except AccessFileError as error:
        raise AccessFileError([_PLACE.sub("", problem) for problem in error.problems]) from error
    if entry.expires is not None and parse_expiry(entry.expires) <= time.time():
        raise AccessFileError([f"expires: {entry.expires} is past"])
    if path is None or not path.exists():
        return
    file = read_access_file(path)
    if any(known.principal.id == entry.key_id for known in file.keys.values()):
        raise AccessFileError([f"{path} has a key {entry.key_id}; each needs an id of its own"])
    if entry.role is not None and entry.role not in file.roles:
        hint = suggest(entry.role, file.roles)
        raise AccessFileError([f"{path} has no role {entry.role!r}; {hint}"])


def _require(path: Path | None) -> Path:
    if path is None:
        raise AccessFileError([f"there is no file: set {FILE_SETTING}, or give --file"])
    return path


def _parse_grant(text: str) -> tuple[str, list[str]]:
    action, separator, patterns = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form invoke=wine,team-*")
    return action, [pattern.strip() for pattern in patterns.split(",")]


def _unite(grants: Sequence[tuple[str, list[str]]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for action, patterns in grants:
        found.setdefault(action, []).extend(patterns)
    return found


def _left(entry: KeyEntry, now: float) -> str:
    if entry.expires_at == NEVER:
        return "-"
    seconds = entry.expires_at - now
    return "expired" if seconds <= 0 else f"{int(seconds // _DAY_SECONDS)} days"


def _moment(seconds: float) -> str:
    return "never" if seconds == NEVER else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _tell(*lines: str, end: str = "\n") -> None:
    sys.stderr.write("\n".join(lines) + end)
