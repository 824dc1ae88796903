"""The commands: `gateway serve`, `node`, `demo`, `check`, `key`, `environment` and `ray-keeper`."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from gateway import settings
from gateway.cli import environment, key, ray_keeper
from gateway.cli.access_file import require_access_file
from gateway.cli.demo.errors import DemoError
from gateway.mlflow_client import parse_tracking_url
from gateway.settings import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gateway.settings import Settings

    Command = Callable[[argparse.Namespace, Mapping[str, str]], int]

DISTRIBUTION = "model-invocation-endpoint"
ENV_FILE = Path(".env")
TRACKING_URI, REGISTRY_URI = "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"
EXIT_USAGE = 2
DESCRIPTION = "Serve the models of an MLflow server over HTTP: every model is callable by URL."
SETTINGS_HELP = "Settings are read from the environment and from .env in the working directory."


def main(arguments: list[str]) -> int:
    """Run the command that `arguments` name, and return its status: 2 for wrong arguments or settings."""
    parser = _build_parser()
    options = parser.parse_args(arguments)
    if options.run is None:
        parser.print_help()
        return 0
    run: Command = options.run
    try:
        return run(options, os.environ)
    except settings.SettingsError as error:
        _print_errors("Nothing was started because of these settings:", *error.problems)
        _print_errors(
            "`gateway serve --help` lists every setting; `gateway demo` brings its own MLflow server."
        )
        return EXIT_USAGE
    except DemoError as error:
        _print_errors(str(error))
        return 1


def serve(_options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Serve until a signal to stop."""
    from gateway.server import supervisor  # noqa: PLC0415 - 7 MiB that `node` does without

    had_file = ENV_FILE.exists()
    chosen = _load_settings(environ)
    require_access_file(chosen.auth.keys_file)
    return supervisor.run(chosen, read_settings=lambda: _reload_settings(environ, had_file=had_file))


def node(_options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Serve the gateways of a fleet until a signal to stop."""
    from gateway.cli.node import run_node  # noqa: PLC0415 - `serve` starts sooner without

    had_file = ENV_FILE.exists()
    chosen = _load_settings(environ)
    return run_node(chosen, read_settings=lambda: _reload_settings(environ, had_file=had_file))


def check(_options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Check what the gateway needs; return 1 if a check fails."""
    from gateway.cli.check import run_checks  # noqa: PLC0415 - `serve` starts sooner without

    return run_checks(_load_settings(environ))


def demo(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Serve example models on an MLflow server of their own."""
    from gateway.cli.demo.run import run_demo  # noqa: PLC0415 - as above

    values = settings.read_environment(environ, ENV_FILE)
    if options.port is not None:
        values["GATEWAY_PORT"] = str(options.port)
    return run_demo(Path(options.folder), values, mlflow_port=options.mlflow_port, node_count=options.nodes)


def _load_settings(environ: Mapping[str, str]) -> Settings:
    return settings.load(environ, env_file=ENV_FILE, extra_checks=_check_server_urls)


def _load_settings_of_gateway(environ: Mapping[str, str]) -> Settings:
    """Return the settings for a command that asks no MLflow server."""
    return settings.load(environ, env_file=ENV_FILE)


def _reload_settings(environ: Mapping[str, str], *, had_file: bool) -> Settings:
    """Read the settings of a running gateway again; raise SettingsError if `.env` has come or gone.

    A model may have created it.
    """
    if ENV_FILE.exists() != had_file:
        what = "does not exist any more" if had_file else "did not exist at the start and is not read"
        raise settings.SettingsError([f"{ENV_FILE} {what}: restart the gateway if that is intended"])
    return _load_settings(environ)


def _check_server_urls(values: Mapping[str, str]) -> Iterator[str]:
    """Yield the problems of the addresses of MLflow's servers; the tracking server's is required."""
    for name in (TRACKING_URI, REGISTRY_URI):
        if name == TRACKING_URI or name in values:
            try:
                parse_tracking_url(values.get(name, ""), name=name)
            except ValueError as error:
                yield str(error)


def _print_errors(*lines: str) -> None:
    sys.stderr.write("".join(f"gateway: {line}\n" for line in lines))


def _program() -> str:
    """Return the name that the program was started by, if it is one of its own."""
    name = Path(sys.argv[0]).name
    return name if name == DISTRIBUTION else "gateway"


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=_program(), description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"{DISTRIBUTION} {version(DISTRIBUTION)}")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, run, summary in (
        ("serve", serve, "serve the models of the MLflow server that MLFLOW_TRACKING_URI names"),
        ("node", node, "load models on this machine for the gateways of a fleet"),
        ("demo", demo, "start an MLflow server with example models, and a gateway that serves them"),
        (
            "check",
            check,
            "check MLflow, the artifact store and the cache folder, and say how to fix what fails",
        ),
    ):
        _add_command(commands, name, run=run, summary=summary)
    key.add_parser(commands, ENV_FILE)
    environment.add_parser(commands, _load_settings)
    ray_keeper.add_parser(commands, _load_settings_of_gateway)
    demo_parser = commands.choices["demo"]
    demo_parser.add_argument(
        "--folder", default="demo-data", help="folder for its data (default: %(default)s)"
    )
    demo_parser.add_argument(
        "--port",
        type=_parse_port,
        help="port of the gateway (default: GATEWAY_PORT, or 8080 if that is free)",
    )
    demo_parser.add_argument(
        "--mlflow-port", type=_parse_port, help="port of the MLflow server (default: 5000 if that is free)"
    )
    demo_parser.add_argument(
        "--nodes",
        type=_parse_nodes,
        default=0,
        help="run the models on this many nodes beside the gateway, from 1 to 8, as a fleet does "
        "(default: the gateway runs them)",
    )
    return parser


def _add_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    *,
    run: Command,
    summary: str,
) -> None:
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}. {SETTINGS_HELP}",
        epilog=describe.help_text(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)


def _parse_nodes(text: str) -> int:
    if text in {str(count) for count in range(9)}:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of nodes from 1 to 8")


def _parse_port(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
