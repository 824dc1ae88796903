"""Access files for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.auth.access_file.key import digest, new_key

if TYPE_CHECKING:
    from pathlib import Path


def entry(key: str, key_id: str, *fields: str) -> str:
    """Return the YAML of a key, with more fields, or with the grant to invoke all models."""
    lines = [f"id: {key_id}", f"sha256: {digest(key).hex()}", *(fields or ('grants: {invoke: "*"}',))]
    return "  - " + "\n    ".join(lines) + "\n"


def keys(**by_id: str) -> str:
    """Return the YAML of a file with these keys by their ids."""
    return "keys:\n" + "".join(entry(key, key_id) for key_id, key in by_id.items())


def many_keys(count: int) -> str:
    """Return the YAML of a file with `count` keys, each with rights of its own."""
    texts = (
        entry(
            new_key()[0],
            f"service-{number}",
            "expires: 2999-01-31",
            f"grants: {{invoke: [wine, model-{number}], read: '*'}}",
            "rate: 50/s",
        )
        for number in range(count)
    )
    return "keys:\n" + "".join(texts)


def write(path: Path, text: str) -> Path:
    """Write a file that only its user may read."""
    path.touch(mode=0o600)
    path.write_text(text)
    return path
