"""The commands: `gateway serve`, `gateway demo`, `gateway check`."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from gateway import settings
from gateway.cli import check as checking
from gateway.cli.demo.errors import DemoError
from gateway.cli.demo.show import run_demo
from gateway.mlflow_client import parse_tracking_url
from gateway.server import supervisor
from gateway.settings import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gateway.settings import Settings

DISTRIBUTION = "model-invocation-endpoint"
ENV_FILE = Path(".env")
TRACKING_URI, REGISTRY_URI = "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"
EXIT_USAGE = 2
DESCRIPTION = "An HTTP gateway in front of an MLflow server: every model there is callable by URL."
SETTINGS_HELP = "Settings come from the environment and from .env in the working directory."


def main(arguments: list[str]) -> int:
    """Run the command that `arguments` name; 2 where it was called or configured wrongly."""
    chosen = _build_parser().parse_args(arguments)
    run: Callable[[argparse.Namespace, Mapping[str, str]], int] = chosen.run
    try:
        return run(chosen, os.environ)
    except settings.SettingsError as error:
        _print_errors("These settings are wrong, so nothing was started:", *error.problems)
        _print_errors("`gateway serve --help` lists every setting; `gateway demo` needs no server of yours.")
        return EXIT_USAGE
    except DemoError as error:
        _print_errors(str(error))
        return 1


def serve(_chosen: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Serve until a signal says to stop."""
    return supervisor.run(_load_settings(environ), read_settings=lambda: _load_settings(environ))


def check(_chosen: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Say what can be reached; 1 where something cannot."""
    return checking.run_checks(_load_settings(environ))


def demo(chosen: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Show the gateway on example models of its own."""
    values = settings.read_environment(environ, ENV_FILE)
    if chosen.port is not None:
        values["GATEWAY_PORT"] = str(chosen.port)
    return run_demo(Path(chosen.folder), values)


def _load_settings(environ: Mapping[str, str]) -> Settings:
    return settings.load(environ, env_file=ENV_FILE, extra_checks=_check_server_urls)


def _check_server_urls(values: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the addresses of MLflow's servers, the first of which there must be."""
    for name in (TRACKING_URI, REGISTRY_URI):
        if name == TRACKING_URI or name in values:
            try:
                parse_tracking_url(values.get(name, ""), name=name)
            except ValueError as error:
                yield str(error)


def _print_errors(*lines: str) -> None:
    sys.stderr.write("".join(f"gateway: {line}\n" for line in lines))


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gateway", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"{DISTRIBUTION} {version(DISTRIBUTION)}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, run, summary in (
        ("serve", serve, "serve the models of the MLflow server that MLFLOW_TRACKING_URI names"),
        ("demo", demo, "start an MLflow server with example models, and the gateway in front of it"),
        ("check", check, "say whether MLflow, the artifact store and the cache folder can be used"),
    ):
        _add_command(commands, name, run=run, summary=summary)
    options = commands.choices["demo"]
    options.add_argument(
        "--folder", default="demo-data", help="where its data is kept (default: %(default)s)"
    )
    options.add_argument(
        "--port", type=_parse_port, help="the gateway's port (default: GATEWAY_PORT, else 8080)"
    )
    return parser


def _add_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    *,
    run: Callable[[argparse.Namespace, Mapping[str, str]], int],
    summary: str,
) -> None:
    command = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}. {SETTINGS_HELP}",
        epilog=describe.help_text(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run)


def _parse_port(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
