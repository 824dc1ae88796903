"""`gateway ray-keeper`: run the keeper of the engine `ray` by hand, and see the node agents that it keeps."""

from __future__ import annotations

import signal
import subprocess
from functools import partial
from typing import TYPE_CHECKING

from gateway.engines.ray.keeper_process import keeper_command, keeper_environment, keeper_order
from gateway.settings import SettingsError
from gateway.settings.fleet_checks import TokenFileError, read_fleet_token
from workers.process_group import kill_group

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

    from gateway.settings import Settings

    LoadSettings = Callable[[Mapping[str, str]], Settings]


def add_parser(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], load_settings: LoadSettings
) -> None:
    """Add `gateway ray-keeper`."""
    parser = commands.add_parser(
        "ray-keeper",
        help="keep node agents on a Ray cluster, and print which there are as lines of JSON",
        description="Keep node agents on a Ray cluster, as a gateway with the engine ray does, and print"
        " which there are as lines of JSON, until Ctrl-C. The agents go on without it.",
    )
    parser.set_defaults(run=partial(_run, load_settings))


def _run(load_settings: LoadSettings, _options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    chosen = load_settings(environ)
    try:
        order = keeper_order(chosen.ray, read_fleet_token(chosen.fleet).decode())
    except TokenFileError as error:
        raise SettingsError([str(error)]) from error
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    variables = keeper_environment(chosen.environment, own_python=chosen.ray.python is None)
    with subprocess.Popen(  # noqa: S603 - the operator's interpreter
        keeper_command(chosen.ray), stdin=subprocess.PIPE, env=variables, start_new_session=True
    ) as keeper:
        assert keeper.stdin is not None  # noqa: S101 - it is a pipe
        keeper.stdin.write(order)
        keeper.stdin.flush()
        try:
            return keeper.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            kill_group(keeper.pid, collected=keeper.returncode is not None)  # it has nothing to lose
