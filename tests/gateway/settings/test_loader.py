"""Settings: read once, from the environment and `.env`; anything unknown or wrong is named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gateway import settings
from gateway.domain.refs import Alias, ModelRef, Number

PINS = "wine@champion, forest/2"


def test_defaults_are_the_documented_ones() -> None:
    """Nothing set: loopback, port 8080, and the limits of the contract."""
    got = settings.load({})
    assert (got.host, got.port) == ("127.0.0.1", 8080)
    assert (got.workers_per_model, got.max_loaded_models, got.idle_seconds) == (1, 20, 900)
    assert got.processes == 1
    assert (got.cache_max_bytes, got.max_body_bytes) == (20 * 2**30, 64 * 2**20)
    assert got.artifact_schemes == ("mlflow-artifacts", "s3")
    assert (got.catalog_ttl_seconds, got.request_timeout_seconds, got.load_timeout_seconds) == (5, 60, 300)
    assert (got.max_queue, got.drain_seconds, got.input_checks) == (1024, 30, "strict")
    assert got.model_error_text is False


def test_environment_wins_over_the_file(tmp_path: Path) -> None:
    """`.env` fills in what the environment does not name, and an empty value counts as absent."""
    file = tmp_path / ".env"
    file.write_text("GATEWAY_PORT=1\nGATEWAY_HOST=0.0.0.0\nGATEWAY_MAX_QUEUE=\n# GATEWAY_IDLE_SECONDS=3\n")
    got = settings.load({"GATEWAY_PORT": "2", "GATEWAY_LOG_LEVEL": ""}, env_file=file)
    assert (got.port, got.host, got.max_queue) == (2, "0.0.0.0", 1024)  # noqa: S104 - never listened on here
    assert (got.log_level, got.idle_seconds) == ("info", 900)


def test_a_missing_file_is_no_error(tmp_path: Path) -> None:
    """There need not be a `.env`."""
    assert settings.load({}, env_file=tmp_path / ".env").port == 8080


def test_every_problem_is_named() -> None:
    """All unknown names and all wrong values come in one error, each by its name."""
    wrong = {
        "GATEWAY_PROT": "1",
        "GATEWAY_NOTHING_LIKE_IT": "1",
        "GATEWAY_PORT": "70000",
        "GATEWAY_IDLE_SECONDS": "nan",
        "GATEWAY_REQUEST_TIMEOUT_SECONDS": "0",
        "GATEWAY_PINNED_MODELS": "wine",
        "GATEWAY_ARTIFACT_SCHEMES": "s3:",
        "GATEWAY_ARTIFACT_ROOTS": "models",
        "GATEWAY_BEST_ORDER": "lowest",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "soon",
        "MLFLOW_S3_IGNORE_TLS": "perhaps",
    }
    with pytest.raises(settings.SettingsError) as caught:
        settings.load(wrong)
    assert {problem.split(":")[0] for problem in caught.value.problems} == set(wrong)
    assert "GATEWAY_PROT: there is no such setting; is GATEWAY_PORT meant?" in caught.value.problems


def test_what_does_not_hold_together_is_named_beside_the_rest() -> None:
    """Also where another field is wrong by itself."""
    wrong = {
        "GATEWAY_PORT": "eighty",
        "GATEWAY_ARTIFACT_SCHEMES": "file",
        "GATEWAY_PINNED_MODELS": PINS,
        "GATEWAY_MAX_LOADED_MODELS": "1",
    }
    with pytest.raises(settings.SettingsError) as caught:
        settings.load(wrong)
    named = sorted(problem.split(":")[0] for problem in caught.value.problems)
    assert named == ["GATEWAY_ARTIFACT_ROOTS", "GATEWAY_PINNED_MODELS", "GATEWAY_PORT"]
    with pytest.raises(settings.SettingsError) as caught:
        settings.load({**wrong, "GATEWAY_MAX_LOADED_MODELS": "0", "GATEWAY_ARTIFACT_ROOTS": "models"})
    named = sorted(problem.split(":")[0] for problem in caught.value.problems)
    assert named == ["GATEWAY_ARTIFACT_ROOTS", "GATEWAY_MAX_LOADED_MODELS", "GATEWAY_PORT"]


def test_broken_lines_of_the_file_are_named(tmp_path: Path) -> None:
    """By their numbers, not by what is in them, beside whatever else is wrong."""
    file = tmp_path / ".env"
    file.write_text("# first\n\nGATEWAY_PORT: s3cr3t\nGATEWAY_MAX_QUEUE=no\nexport GATEWAY_HOST='s3cr3t\n")
    with pytest.raises(settings.SettingsError) as caught:
        settings.load({}, env_file=file)
    first, second, third = caught.value.problems
    assert first == ".env: line 3 is not of the form NAME=value"
    assert second == ".env: line 5 is not of the form NAME=value"
    assert third.startswith("GATEWAY_MAX_QUEUE: ")
    with pytest.raises(settings.SettingsError, match="line 3"):
        settings.read_environment({}, file)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    """Refused like a broken line."""
    file = tmp_path / ".env"
    file.write_bytes(b"GATEWAY_HOST=\xff\n")
    with pytest.raises(settings.SettingsError, match=r"\.env is not a text in UTF-8"):
        settings.load({}, env_file=file)
    file.unlink()
    file.mkdir()
    with pytest.raises(settings.SettingsError, match=r"\.env cannot be read: Is a directory"):
        settings.load({}, env_file=file)


def test_other_programs_names_are_left_alone() -> None:
    """`port` or `host` in the environment belong to somebody else; so does an MLflow name unknown here."""
    got = settings.load({"port": "1", "host": "example", "environment": "x", "MLFLOW_FUTURE": "1"})
    assert (got.port, got.host) == (8080, "127.0.0.1")


def test_pinned_models_are_read() -> None:
    """Names with a number or an alias, comma-separated."""
    got = settings.load({"GATEWAY_PINNED_MODELS": PINS})
    assert got.pinned_models == (ModelRef("wine", Alias("champion")), ModelRef("forest", Number(2)))


def test_more_pinned_than_may_be_loaded() -> None:
    """Settings that cannot hold together are refused at the start, not at the third model."""
    with pytest.raises(settings.SettingsError, match="GATEWAY_MAX_LOADED_MODELS is 1"):
        settings.load({"GATEWAY_PINNED_MODELS": PINS, "GATEWAY_MAX_LOADED_MODELS": "1"})


@pytest.mark.parametrize(("models", "processes", "share"), [(20, 1, 20), (20, 2, 10), (7, 3, 2), (4, 4, 1)])
def test_loaded_models_are_shared_out(models: int, processes: int, share: int) -> None:
    """Evenly and rounded down, so that all together never hold more than the setting says."""
    got = settings.load({"GATEWAY_MAX_LOADED_MODELS": str(models), "GATEWAY_PROCESSES": str(processes)})
    assert got.loaded_models_per_process == share


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"GATEWAY_PROCESSES": "0"}, "GATEWAY_PROCESSES: "),
        ({"GATEWAY_PROCESSES": "21"}, "GATEWAY_PROCESSES: is 21, but GATEWAY_MAX_LOADED_MODELS is 20"),
        (
            {"GATEWAY_PROCESSES": "2", "GATEWAY_MAX_LOADED_MODELS": "3", "GATEWAY_PINNED_MODELS": PINS},
            "GATEWAY_PINNED_MODELS: names 2 models, but of GATEWAY_MAX_LOADED_MODELS=3 each of 2 ",
        ),
    ],
)
def test_shares_that_are_too_small(values: dict[str, str], reason: str) -> None:
    """Each process needs a model at least, and room for every pinned one: connections come to all of them."""
    with pytest.raises(settings.SettingsError) as caught:
        settings.load(values)
    (problem,) = caught.value.problems
    assert problem.startswith(reason)


def test_several_processes_need_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere one of them would get every connection."""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert settings.load({"GATEWAY_PROCESSES": "1"}).processes == 1
    with pytest.raises(settings.SettingsError, match="only Linux spreads connections"):
        settings.load({"GATEWAY_PROCESSES": "2"})


def test_files_need_a_root() -> None:
    """`file:` without a root would allow nothing, or everything; it is refused."""
    with pytest.raises(settings.SettingsError, match="GATEWAY_ARTIFACT_ROOTS"):
        settings.load({"GATEWAY_ARTIFACT_SCHEMES": "file"})
    got = settings.load({"GATEWAY_ARTIFACT_SCHEMES": "file,s3", "GATEWAY_ARTIFACT_ROOTS": "/srv/a, /srv/b"})
    assert (got.artifact_schemes, got.artifact_roots) == (("file", "s3"), ("/srv/a", "/srv/b"))


def test_secrets_are_hidden() -> None:
    """No secret in the settings' own text, nor in the error about another setting."""
    secret = "hunter2-hunter2"  # noqa: S105 - a made-up one
    named = {
        "MLFLOW_TRACKING_PASSWORD": secret,
        "MLFLOW_TRACKING_TOKEN": secret,
        "AWS_SECRET_ACCESS_KEY": secret,
    }
    got = settings.load(named)
    assert secret not in repr(got)
    assert got.mlflow.password.get_secret_value() == secret
    with pytest.raises(settings.SettingsError) as caught:
        settings.load({**named, "GATEWAY_PORT": secret})
    assert secret not in str(caught.value)


def test_the_first_of_several_names_wins() -> None:
    """MLflow's name for the S3 server before AWS's."""
    both = {"AWS_ENDPOINT_URL": "http://b", "MLFLOW_S3_ENDPOINT_URL": "http://a"}
    assert settings.load(both).s3.endpoint_url == "http://a"
    assert settings.load({"AWS_DEFAULT_REGION": "eu-central-1"}).s3.region == "eu-central-1"


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Below XDG_CACHE_HOME, else below ~/.cache; `~` in the setting is the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert settings.load({}).cache_dir == tmp_path / ".cache" / "model-invocation-endpoint"
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/somebody")
    assert settings.load({}).cache_dir == Path("/var/cache/somebody/model-invocation-endpoint")
    assert settings.load({"GATEWAY_CACHE_DIR": "~/models"}).cache_dir == tmp_path / "models"


def test_settings_do_not_change() -> None:
    """They are read once; nothing can write to them afterwards."""
    got = settings.load({})
    with pytest.raises(ValueError, match="frozen"):
        got.port = 1  # type: ignore[misc]  # that is what is tested


@pytest.mark.parametrize(
    ("values", "grace"),
    [
        ({}, 2),
        ({"GATEWAY_DRAIN_SECONDS": "3"}, 1.5),
        ({"GATEWAY_DRAIN_SECONDS": "3", "GATEWAY_GRACE_SECONDS": "2"}, 2),
        ({"GATEWAY_DRAIN_SECONDS": "3", "GATEWAY_GRACE_SECONDS": "3"}, 3),
    ],
)
def test_grace_leaves_time_to_drain(values: dict[str, str], grace: float) -> None:
    """By default half of it at least; whoever chooses may take all of it."""
    assert settings.load(values).effective_grace_seconds == grace
