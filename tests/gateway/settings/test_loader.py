"""Proves how settings are read from the environment and `.env`, and that every problem is reported."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gateway import settings
from gateway.domain.refs import Alias, ModelRef, Number
from gateway.settings.worker_environment import worker_environment

PINS = "wine@champion, forest/2"


def test_defaults_are_the_documented_ones() -> None:
    """If nothing is set: loopback, port 8080, and the documented limits."""
    loaded = settings.load({})
    assert (loaded.hosts, loaded.port) == (("127.0.0.1",), 8080)
    assert (loaded.workers_per_model, loaded.max_loaded_models, loaded.idle_seconds) == (1, 20, 900)
    assert (loaded.processes, loaded.preload) == (1, "full")
    assert (loaded.cache_max_bytes, loaded.max_body_bytes) == (20 * 2**30, 64 * 2**20)
    assert loaded.artifact_schemes == ("mlflow-artifacts", "s3")
    assert (loaded.catalog_ttl_seconds, loaded.request_timeout_seconds, loaded.load_timeout_seconds) == (
        5,
        60,
        300,
    )
    assert (loaded.max_queue, loaded.drain_seconds, loaded.input_checks) == (1024, 30, "strict")
    assert loaded.model_error_text is False


def test_environment_wins_over_the_file(tmp_path: Path) -> None:
    """`.env` adds what the environment does not have, and an empty value counts as not set."""
    file = tmp_path / ".env"
    file.write_text(
        "GATEWAY_PORT=1\nGATEWAY_HOST=0.0.0.0\nGATEWAY_AUTH=none\n"
        "GATEWAY_MAX_QUEUE=\n# GATEWAY_IDLE_SECONDS=3\n"
    )
    loaded = settings.load({"GATEWAY_PORT": "2", "GATEWAY_LOG_LEVEL": ""}, env_file=file)
    assert (loaded.port, loaded.hosts, loaded.max_queue) == (2, ("0.0.0.0",), 1024)  # noqa: S104 - never listened on here
    assert (loaded.log_level, loaded.idle_seconds) == ("info", 900)


def test_a_missing_file_is_no_error(tmp_path: Path) -> None:
    """`.env` is optional."""
    assert settings.load({}, env_file=tmp_path / ".env").port == 8080


def test_every_problem_is_reported() -> None:
    """One error has all unknown names and all invalid values, each with its name."""
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


def test_contradictions_are_reported_with_the_rest() -> None:
    """Even if another field is invalid by itself."""
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


def test_broken_lines_of_the_file_are_reported(tmp_path: Path) -> None:
    """By their numbers without their content, together with all other problems."""
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


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    """It is a problem like a broken line; so is a folder of that name."""
    file = tmp_path / ".env"
    file.write_bytes(b"GATEWAY_HOST=\xff\n")
    with pytest.raises(settings.SettingsError, match=r"\.env is not UTF-8 text"):
        settings.load({}, env_file=file)
    file.unlink()
    file.mkdir()
    with pytest.raises(settings.SettingsError, match=r"\.env cannot be read: Is a directory"):
        settings.load({}, env_file=file)


@pytest.mark.parametrize(
    ("file_mode", "folder_mode", "reason"),
    [
        (0o666, 0o755, "other users can write it: chmod go-w"),
        (0o644, 0o1777, "other users can write to its folder"),
    ],
)
def test_a_file_that_others_can_write_is_rejected(
    tmp_path: Path, file_mode: int, folder_mode: int, *, reason: str
) -> None:
    """Nothing of it is used, and the problem is reported with the others."""
    file = tmp_path / ".env"
    file.write_text("GATEWAY_PORT=1\n")
    file.chmod(file_mode)
    tmp_path.chmod(folder_mode)
    with pytest.raises(settings.SettingsError) as caught:
        settings.load({"GATEWAY_PROT": "1"}, env_file=file)
    first, second = caught.value.problems
    assert first.startswith(f".env is not read: {reason}")
    assert second.startswith("GATEWAY_PROT")


def test_a_file_in_the_cache_is_rejected(tmp_path: Path) -> None:
    """Also below it, and if the file itself names the cache."""
    file = tmp_path / "v1" / ".env"
    file.parent.mkdir()
    file.write_text(f"GATEWAY_CACHE_DIR={tmp_path}\n")
    with pytest.raises(
        settings.SettingsError, match=r"^\.env is not read: its folder is in GATEWAY_CACHE_DIR$"
    ):
        settings.load({}, env_file=file)


def test_names_of_other_programs_are_ignored() -> None:
    """`port` or `host` in the environment belong to other programs; so does an unknown MLflow name."""
    loaded = settings.load({"port": "1", "host": "example", "environment": "x", "MLFLOW_FUTURE": "1"})
    assert (loaded.port, loaded.hosts) == (8080, ("127.0.0.1",))


def test_pinned_models_are_parsed() -> None:
    """They are names with a number or an alias, comma-separated."""
    loaded = settings.load({"GATEWAY_PINNED_MODELS": PINS})
    assert loaded.pinned_models == (ModelRef("wine", Alias("champion")), ModelRef("forest", Number(2)))


def test_more_pinned_than_may_be_loaded() -> None:
    """Contradicting settings are an error at the start, not at the third model."""
    with pytest.raises(settings.SettingsError, match="GATEWAY_MAX_LOADED_MODELS is 1"):
        settings.load({"GATEWAY_PINNED_MODELS": PINS, "GATEWAY_MAX_LOADED_MODELS": "1"})


def test_no_process() -> None:
    """One process at least serves."""
    with pytest.raises(settings.SettingsError, match="GATEWAY_PROCESSES"):
        settings.load({"GATEWAY_PROCESSES": "0"})


def test_more_processes_than_models() -> None:
    """They share the models, so one may be loaded for all of them, pinned or not."""
    values = {"GATEWAY_PROCESSES": "4", "GATEWAY_MAX_LOADED_MODELS": "2", "GATEWAY_PINNED_MODELS": PINS}
    assert settings.load(values).max_loaded_models == 2


def test_several_processes_need_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    """On other systems one of them would get every connection."""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert settings.load({"GATEWAY_PROCESSES": "1"}).processes == 1
    with pytest.raises(settings.SettingsError, match="only Linux spreads connections"):
        settings.load({"GATEWAY_PROCESSES": "2"})


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("::", ("::",)),
        (" 127.0.0.1 , ::1,127.0.0.1 ", ("127.0.0.1", "::1")),
        ("[::1],localhost", ("::1", "localhost")),
    ],
)
def test_several_hosts(text: str, hosts: tuple[str, ...]) -> None:
    """They are comma-separated, each counts once, and an IPv6 address may have its brackets."""
    assert settings.load({"GATEWAY_HOST": text, "GATEWAY_AUTH": "none"}).hosts == hosts


@pytest.mark.parametrize(
    "text", [",", "127.0.0.1:80", "[::1]:80", "http://127.0.0.1", "127.0.0.1 ::1", "localhost:http", "[::1"]
)
def test_what_is_no_host(text: str) -> None:
    """A port, a URL, a list without commas."""
    with pytest.raises(settings.SettingsError, match=r"^GATEWAY_HOST: "):
        settings.load({"GATEWAY_HOST": text})


def test_the_second_name_of_the_port() -> None:
    """It is read if the first one is not set, or is a service link."""
    image = {"GATEWAY_PORT_DEFAULT": "80"}
    assert settings.load(image).port == 80
    assert settings.load({**image, "GATEWAY_PORT": "tcp://10.0.0.1:9000"}).port == 80
    assert settings.load({**image, "GATEWAY_PORT": "81"}).port == 81


def test_files_need_a_root() -> None:
    """`file:` without a root would allow nothing or everything, so it is an error."""
    with pytest.raises(settings.SettingsError, match="GATEWAY_ARTIFACT_ROOTS"):
        settings.load({"GATEWAY_ARTIFACT_SCHEMES": "file"})
    loaded = settings.load(
        {"GATEWAY_ARTIFACT_SCHEMES": "file,s3", "GATEWAY_ARTIFACT_ROOTS": "/srv/a, /srv/b"}
    )
    assert (loaded.artifact_schemes, loaded.artifact_roots) == (("file", "s3"), ("/srv/a", "/srv/b"))


def test_secrets_are_hidden() -> None:
    """The text of the settings has no secret, nor has the error about another setting."""
    secret = "hunter2-hunter2"  # noqa: S105 - not a real one
    values = {
        "MLFLOW_TRACKING_PASSWORD": secret,
        "MLFLOW_TRACKING_TOKEN": secret,
        "AWS_SECRET_ACCESS_KEY": secret,
    }
    loaded = settings.load(values)
    assert secret not in repr(loaded)
    assert loaded.mlflow.password.get_secret_value() == secret
    with pytest.raises(settings.SettingsError) as caught:
        settings.load({**values, "GATEWAY_PORT": secret})
    assert secret not in str(caught.value)


def test_the_first_of_several_names_wins() -> None:
    """MLflow's name for the S3 server wins over that of AWS."""
    both = {"AWS_ENDPOINT_URL": "http://b", "MLFLOW_S3_ENDPOINT_URL": "http://a"}
    assert settings.load(both).s3.endpoint_url == "http://a"
    assert settings.load({"AWS_DEFAULT_REGION": "eu-central-1"}).s3.region == "eu-central-1"


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is below XDG_CACHE_HOME, else below ~/.cache; `~` in the setting is the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert settings.load({}).cache_dir == tmp_path / ".cache" / "model-invocation-endpoint"
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/user")
    assert settings.load({}).cache_dir == Path("/var/cache/user/model-invocation-endpoint")
    assert settings.load({"GATEWAY_CACHE_DIR": "~/models"}).cache_dir == tmp_path / "models"


@pytest.mark.parametrize("name", ["GATEWAY_CACHE_DIR", "AWS_CONFIG_FILE", "GATEWAY_WORKER_READABLE"])
@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("~nosuchuser/x", "'~nosuchuser/x' begins with a home folder that does not exist"),
        ("/a\0b", "contains a NUL character"),
    ],
)
def test_a_path_that_cannot_be(name: str, value: str, *, problem: str) -> None:
    """It is a problem of its setting, like any other."""
    with pytest.raises(settings.SettingsError) as caught:
        settings.load({name: value})
    assert [line for line in caught.value.problems if name in line and problem in line]


def test_settings_do_not_change() -> None:
    """They are frozen."""
    loaded = settings.load({})
    with pytest.raises(ValueError, match="frozen"):
        loaded.port = 1  # type: ignore[misc]  # the test


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
    """The default takes at most half of the drain time; an operator may set all of it."""
    assert settings.load(values).effective_grace_seconds == grace


def test_variables_for_models_are_never_the_gateways_own() -> None:
    """By name they are an error; a pattern leaves them out. Credentials for models need a use."""
    wrong = {
        "GATEWAY_MODEL_ENVIRONMENT": "HF_*, AWS_SECRET_ACCESS_KEY",
        "GATEWAY_MODEL_MLFLOW_PASSWORD": "hunter2",
    }
    with pytest.raises(settings.SettingsError) as caught:
        settings.load(wrong)
    own = "AWS_SECRET_ACCESS_KEY belongs to the gateway itself, and is never given to models"
    assert caught.value.problems == [
        f"GATEWAY_MODEL_ENVIRONMENT: {own}",
        "GATEWAY_MODEL_MLFLOW_PASSWORD: has no effect unless GATEWAY_MODEL_MLFLOW is read",
    ]
    with pytest.raises(settings.SettingsError, match="'HF-X' is not the name of a variable"):
        settings.load({"GATEWAY_MODEL_ENVIRONMENT": "HF-X"})


def test_sources_are_kinds_of_names() -> None:
    """Both by default, none twice; anything else is a problem, and so is none."""
    assert settings.load({}).sources == ("registry", "experiments")
    assert settings.load({"GATEWAY_SOURCES": "experiments, experiments"}).sources == ("experiments",)
    for wrong in ("registry,runs", "Registry", ",", "none"):
        with pytest.raises(settings.SettingsError, match="GATEWAY_SOURCES"):
            settings.load({"GATEWAY_SOURCES": wrong})


@pytest.mark.parametrize(
    ("sources", "pin", "reason"),
    [
        ("experiments", "wine@champion", "has wine@champion: only registered models have aliases"),
        ("registry", "team/wine/2", "has team/wine/2: no registered model has / or :"),
        ("registry", "a: b/latest", "no registered model has / or :"),
    ],
)
def test_pins_that_the_sources_can_never_have(sources: str, pin: str, reason: str) -> None:
    """The gateway refuses to start; what only MLflow knows is found out later."""
    with pytest.raises(settings.SettingsError, match=f"GATEWAY_SOURCES: does not name .*{reason}"):
        settings.load({"GATEWAY_SOURCES": sources, "GATEWAY_PINNED_MODELS": pin})
    settings.load({"GATEWAY_PINNED_MODELS": pin})
    settings.load({"GATEWAY_SOURCES": sources, "GATEWAY_PINNED_MODELS": "wine/2"})


def test_a_cache_key_is_long_and_hidden() -> None:
    """A short one could be guessed from the signatures; neither is shown."""
    with pytest.raises(settings.SettingsError, match="GATEWAY_CACHE_KEY: has 6 characters") as caught:
        settings.load({"GATEWAY_CACHE_KEY": "secret"})
    assert "secret" not in str(caught.value)
    loaded = settings.load({"GATEWAY_CACHE_KEY": "k" * 32})
    assert "k" * 32 not in repr(loaded)
    assert worker_environment(loaded).keys().isdisjoint({"GATEWAY_CACHE_KEY"})


def test_certificates_must_be_seen() -> None:
    """If certificates say who calls, the gateway or its proxies must ask for them."""
    base = {"GATEWAY_AUTH": "mtls"}
    tls = {
        "GATEWAY_TLS_CERT_FILE": "c.pem",
        "GATEWAY_TLS_KEY_FILE": "k.pem",
        "GATEWAY_TLS_CLIENT_CA_FILE": "a.pem",
    }
    with pytest.raises(settings.SettingsError) as refused:
        settings.load(base)
    (problem,) = refused.value.problems
    assert "GATEWAY_TLS_CLIENT" in problem
    assert "GATEWAY_TRUSTED_PROXIES" in problem
    for more in (
        {"GATEWAY_TRUSTED_PROXIES": "10.0.0.0/8"},
        tls | {"GATEWAY_TLS_CLIENT": "optional"},
        tls | {"GATEWAY_TLS_CLIENT": "required"},
    ):
        assert settings.load(base | more).auth.sources == ("mtls",)
    with pytest.raises(settings.SettingsError):
        settings.load(base | {name: tls[name] for name in ("GATEWAY_TLS_CERT_FILE", "GATEWAY_TLS_KEY_FILE")})
