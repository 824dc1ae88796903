"""Proves which secrets of the compose file are made, and that none is ever replaced."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from dotenv import dotenv_values

from tools import compose_secrets

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_the_names_are_those_that_the_compose_file_requires() -> None:
    """Each value that has no default there, and no other."""
    text = (ROOT / "docker-compose.yml").read_text()
    assert yaml.safe_load(text)
    required = {part.split(":?")[0] for part in text.split("${")[1:] if ":?" in part.split("}")[0]}
    assert required == set(compose_secrets.NAMES)


def test_all_are_made_once(tmp_path: Path) -> None:
    """In a file that only its owner can read; a second run changes nothing, and two files differ."""
    first, second = tmp_path / "first", tmp_path / "second"
    assert compose_secrets.add_missing(first, {}) == list(compose_secrets.NAMES)
    values = dotenv_values(first)
    assert list(values) == list(compose_secrets.NAMES)
    assert all(value is not None and len(value) == 2 * compose_secrets.BYTES for value in values.values())
    assert len(set(values.values())) == 3
    assert first.stat().st_mode & 0o777 == 0o600
    before = first.read_bytes()
    assert compose_secrets.add_missing(first, {}) == []
    assert first.read_bytes() == before
    compose_secrets.add_missing(second, {})
    assert not set(values.values()) & set(dotenv_values(second).values())


def test_what_is_set_stays(tmp_path: Path) -> None:
    """In the file, whose last line has no end, or in the environment; an empty value is none."""
    file = tmp_path / ".env"
    file.write_text("# mine\nexport POSTGRES_PASSWORD='old one'\nS3_SECRET_ACCESS_KEY=\nGATEWAY_PORT=80")
    file.chmod(0o644)
    assert compose_secrets.add_missing(file, {"S3_ACCESS_KEY_ID": "given"}) == ["S3_SECRET_ACCESS_KEY"]
    values = dotenv_values(file)
    assert values["POSTGRES_PASSWORD"] == "old one"  # noqa: S105 - of this test
    assert values["GATEWAY_PORT"] == "80"
    assert values["S3_SECRET_ACCESS_KEY"]
    assert "S3_ACCESS_KEY_ID" not in values
    assert file.stat().st_mode & 0o777 == 0o600


def test_no_value_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The program names what it wrote."""
    for name in compose_secrets.NAMES:
        monkeypatch.delenv(name, raising=False)
    assert compose_secrets.main(tmp_path / ".env") == 0
    said = capsys.readouterr()
    assert all(name in said.err for name in compose_secrets.NAMES)
    values = [value for value in dotenv_values(tmp_path / ".env").values() if value]
    assert len(values) == 3
    assert not any(value in said.err + said.out for value in values)
