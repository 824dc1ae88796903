"""Log what a newly read access file changes, by the names of its keys, roles and principals."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.auth.access_file.model import AccessFile
    from gateway.auth.access_file.problems import AccessFileError

    Changes = dict[str, list[str]]

logger = logging.getLogger(__name__)

_MAX_NAMED: Final = 20


def find_changes(before: AccessFile, found: AccessFile) -> Changes:
    """Return the names of the keys, roles and principals that were added, removed and changed."""
    old, new = _by_name(before), _by_name(found)
    return {
        "added": sorted(new.keys() - old.keys()),
        "removed": sorted(old.keys() - new.keys()),
        "changed": sorted(name for name in new.keys() & old.keys() if new[name] != old[name]),
    }


def log_loaded(found: AccessFile, changes: Changes | None) -> None:
    """Log the numbers of what the file has, and what changed, which is None if it is the first one.

    At most twenty names of each kind of change are in the line, and the numbers of all.
    """
    principals = len(found.token_holders) + len(found.certificates)
    logger.log(
        logging.INFO if changes is None else logging.WARNING,
        "Access file loaded: %s, %s, %s%s",
        _count(len(found.keys), "key"),
        _count(len(found.roles), "role"),
        _count(principals, "principal"),
        "".join(f"; {what}: {_names(names)}" for what, names in (changes or {}).items() if names),
        extra={
            "event": "access_file_loaded",
            "keys": len(found.keys),
            "roles": len(found.roles),
            "principals": principals,
            **{what: names[:_MAX_NAMED] for what, names in (changes or {}).items()},
            **{f"{what}_count": len(names) for what, names in (changes or {}).items()},
        },
    )
    if found.warnings:
        logger.warning(
            "Access file: %s",
            "; ".join(found.warnings[:_MAX_NAMED]),
            extra={"event": "access_file_warnings", "warnings": found.warnings[:_MAX_NAMED]},
        )


def log_rejected(error: AccessFileError, kept: AccessFile) -> None:
    """Log every problem of a file that is not used."""
    logger.error(
        "The access file cannot be used; the %s of before %s in force: %s",
        _count(len(kept.keys), "key"),
        "stays" if len(kept.keys) == 1 else "stay",
        "; ".join(error.problems),
        extra={"event": "access_file_rejected", "problems": error.problems, "keys": len(kept.keys)},
    )


def _by_name(file: AccessFile) -> dict[str, object]:
    """Return what defines each key by its id, and each role and principal by its name in the file."""
    entitlements = {
        **{f"role {name}": found for name, found in file.roles.items()},
        **{str(holder): found for holder, found in file.token_holders.items()},
        **{f"mtls:{name}": found for name, found in file.certificates.items()},
    }
    keys = {
        entry.principal.id: (digest, entry.expires_at, entry.entitlement.patterns, entry.entitlement.limits)
        for digest, entry in file.keys.items()
    }
    return {**keys, **{name: (found.patterns, found.limits) for name, found in entitlements.items()}}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _names(names: list[str]) -> str:
    more = len(names) - _MAX_NAMED
    return ", ".join(names[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
