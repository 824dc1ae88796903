"""Proves which files of the home folder the gateway reads at its start."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from gateway import settings

KEYS = b"[default]\naws_access_key_id = AKID\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, outside the folder for temporary files."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    home = tmp_path / "home"
    for name in (".aws", ".mlflow", ".config/gcloud", ".azure", ".ssh"):
        (home / name).mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    return home


def test_what_there_is(home: Path) -> None:
    """The texts of files and the paths of folders; neither is shown with the settings."""
    (home / ".aws" / "credentials").write_bytes(KEYS)
    (home / ".netrc").write_bytes(b"machine x login y password hunter2\n")
    (home / ".mlflow" / "credentials").write_bytes(b"[mlflow]\nmlflow_tracking_token = hunter2\n")
    loaded = settings.load({})
    assert loaded.client_files.contents.keys() == {
        "AWS_SHARED_CREDENTIALS_FILE",
        "NETRC",
        "~/.mlflow/credentials",
    }
    assert loaded.client_files.folders == {
        "AZURE_CONFIG_DIR": str(home / ".azure"),
        "CLOUDSDK_CONFIG": str(home / ".config" / "gcloud"),
        "~/.ssh": str(home / ".ssh"),
    }
    assert loaded.client_files.ignored == ()
    assert loaded.s3.credentials_text.get_secret_value() == KEYS.decode()
    assert "hunter2" in loaded.mlflow.stored_credentials.get_secret_value()
    assert "hunter2" not in repr(loaded)
    assert "AKID" not in repr(loaded)


def test_what_others_can_write_is_ignored(home: Path) -> None:
    """With a sentence for each; the gateway starts without it."""
    (home / ".aws" / "config").write_bytes(KEYS)
    (home / ".aws" / "config").chmod(0o666)
    (home / ".netrc").mkdir()
    (home / ".ssh").chmod(0o777)
    loaded = settings.load({})
    assert loaded.client_files.contents == {}
    assert "~/.ssh" not in loaded.client_files.folders
    assert loaded.client_files.ignored == (
        f"{home / '.aws' / 'config'} is not used: other users can write it: chmod go-w",
        f"{home / '.ssh'} is not used: other users can write to its folder {home / '.ssh'}",
    )


def test_a_home_for_temporary_files(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container with HOME=/tmp: what is there may be a model's."""
    (home / ".aws" / "config").write_bytes(KEYS)
    monkeypatch.setattr(tempfile, "tempdir", str(home))
    loaded = settings.load({})
    assert loaded.client_files.contents == {}
    assert "is for temporary files, which models write too" in loaded.client_files.ignored[0]


def test_a_file_that_the_operator_names(home: Path) -> None:
    """It replaces the default, also if that exists, and must be one that may be used; it need not exist."""
    (home / ".aws" / "config").write_bytes(b"[default]\n")
    named = home / "aws"
    loaded = settings.load({"AWS_CONFIG_FILE": "~/aws"})
    assert loaded.s3.config_text.get_secret_value() == ""
    named.write_bytes(KEYS)
    assert settings.load({"AWS_CONFIG_FILE": "~/aws"}).s3.config_text.get_secret_value() == KEYS.decode()
    named.chmod(0o666)
    with pytest.raises(settings.SettingsError, match=r"aws is not used: other users can write it"):
        settings.load({"AWS_CONFIG_FILE": "~/aws"})
    assert settings.load({"AWS_CONFIG_FILE": "/dev/null"}).client_files.contents == {}
    (home / ".netrc").write_bytes(b"")
    assert settings.load({"NETRC": "/elsewhere"}).client_files.contents.keys() == {"AWS_CONFIG_FILE"}


def test_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without one has no such files."""

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    loaded = settings.load({"GATEWAY_CACHE_DIR": "/x", "XDG_CACHE_HOME": "/x"})
    assert loaded.client_files == type(loaded.client_files)()
