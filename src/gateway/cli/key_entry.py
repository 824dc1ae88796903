"""The entry of a new key in an access file: its YAML, and how it is added to the file."""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.auth.access_file.parser import parse_access_file
from gateway.auth.access_file.problems import AccessFileError, Problems
from gateway.auth.access_file.reader import read_content
from gateway.auth.access_file.yaml_tree import Collection, Scalar, read_tree

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.auth.access_file.model import AccessFile

_INDENT: Final = "  "
_PLAIN: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/:+-]*[A-Za-z0-9])?")
_BY_HAND: Final = (
    "nothing was added, because the list of keys has an unusual form: "
    "run it without --add, and add the entry by hand"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEntry:
    """What an access file has of a new key."""

    key_id: str
    sha256: str
    expires: str | None
    role: str | None
    grants: Mapping[str, Sequence[str]]
    rate: str | None

    def yaml(self, indent: str = _INDENT) -> str:
        """Return the lines of the entry in the list of keys."""
        fields = {"id": self.key_id, "sha256": self.sha256, "expires": self.expires, "role": self.role}
        texts = {name: _quote(value) for name, value in fields.items() if value is not None}
        if self.grants:
            texts["grants"] = json.dumps(self.grants)
        if self.rate is not None:
            texts["rate"] = _quote(self.rate)
        lines = [f"{name}: {value}\n" for name, value in texts.items()]
        return f"{indent}- " + f"{indent}{_INDENT}".join(lines)

    def check(self) -> None:
        """Raise AccessFileError if a field is wrong; whether the role exists only its file knows."""
        roles = f"roles: {{{json.dumps(self.role)}: {{grants: {{}}}}}}\n" if self.role is not None else ""
        parse_access_file(f"{roles}keys:\n{self.yaml()}".encode())


def add_entry(path: Path, entry: NewEntry) -> None:
    """Add an entry to the file, which is created if there is none; its comments stay.

    Raise AccessFileError if the file cannot be used or written, or has a form in which nothing can be added.
    """
    try:
        _add(path.resolve(), entry)
    except OSError as error:
        raise AccessFileError([f"{path} cannot be written: {_reason(path, error)}"]) from error


def _reason(path: Path, error: OSError) -> str:
    folder = path.resolve().parent
    if isinstance(error, FileNotFoundError) and not folder.exists():
        return f"there is no folder for it; make one: mkdir -p -m 700 {shlex.quote(str(folder))}"
    return str(error.strerror)


def _add(path: Path, entry: NewEntry) -> None:
    if not path.exists():
        _create(path, f"keys:\n{entry.yaml()}".encode())
        return
    content = read_content(path)
    before = parse_access_file(content.data)
    changed = _insert(content.data.decode("utf-8-sig"), entry).encode()
    if not _adds_one_key(before, changed, entry):
        raise AccessFileError([_BY_HAND])
    if read_content(path).digest != content.digest:
        raise AccessFileError(["nothing was added, because the file has just been changed: try again"])
    _write(path, changed, like=path.stat())


def _quote(text: str) -> str:
    """Return a text as YAML's, in quotation marks unless it is plain."""
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


def _insert(text: str, entry: NewEntry) -> str:
    """Return the text with the entry as the first of its keys."""
    lines = text.splitlines(keepends=True)
    section = _find_section(text)
    if section is None:
        return f"{text.rstrip()}\n\nkeys:\n{entry.yaml()}"
    name, node = section
    first = node.nodes[0].line - 1 if isinstance(node, Collection) and node.nodes else None
    dash = None if first is None else _find_dash(lines[name.line : first + 1])
    indent = _INDENT if dash is None else dash[: -len(dash.lstrip(" "))]
    lines[name.line - 1] = "keys:\n" if first is None else lines[name.line - 1]
    return "".join([*lines[: name.line], entry.yaml(indent), *lines[name.line :]])


def _find_dash(lines: Sequence[str]) -> str | None:
    """Return the line that begins an item, the last of which is in `lines`."""
    return next((line for line in reversed(lines) if line.lstrip(" ").startswith("-")), None)


def _find_section(text: str) -> tuple[Scalar, Scalar | Collection] | None:
    root = read_tree(text.encode(), Problems())
    pairs = root.pairs() if isinstance(root, Collection) and root.is_mapping else ()
    named = ((name, node) for name, node in pairs if isinstance(name, Scalar) and name.text == "keys")
    return next(named, None)


def _adds_one_key(before: AccessFile, changed: bytes, entry: NewEntry) -> bool:
    """Return whether the changed file has what it had, and the new key."""
    try:
        after = parse_access_file(changed)
    except AccessFileError:
        return False
    new = after.keys.get(bytes.fromhex(entry.sha256))
    others = {digest: one.principal.id for digest, one in after.keys.items() if one is not new}
    return (
        new is not None
        and new.principal.id == entry.key_id
        and others == {digest: one.principal.id for digest, one in before.keys.items()}
        and (after.roles.keys(), after.token_holders.keys(), after.certificates.keys())
        == (before.roles.keys(), before.token_holders.keys(), before.certificates.keys())
    )


def _create(path: Path, content: bytes) -> None:
    """Write a file that no gateway has read yet; remove it if its folder is one where none would read it."""
    _write(path, content, like=None)
    try:
        read_content(path)
    except AccessFileError:
        path.unlink()
        raise


def _write(path: Path, content: bytes, *, like: os.stat_result | None) -> None:
    """Replace the file at once; a gateway that watches it sees the old or the new one."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            if like is not None:
                os.fchown(file.fileno(), like.st_uid, like.st_gid)
                os.fchmod(file.fileno(), stat.S_IMODE(like.st_mode))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
