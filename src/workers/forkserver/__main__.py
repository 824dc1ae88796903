"""The program: `python …/workers/forkserver MODE DESCRIPTORS…`, its ends of sockets and files.

`default` serves. `confine` confines itself and runs the interpreter of an environment, whose mode is `serve`.
"""

import os
import sys

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - nothing may be imported before the next lines


def _register_package() -> None:
    """Make the package importable without its folder, which has the gateway and other packages beside it.

    An environment may have a package of the same name, which its models find once ours is hidden.
    """
    import importlib.util  # noqa: PLC0415 - as above

    path = os.path.join(_PACKAGE, "__init__.py")  # noqa: PTH118 - as above
    spec = importlib.util.spec_from_file_location("workers", path, submodule_search_locations=[_PACKAGE])
    assert spec is not None and spec.loader is not None  # noqa: S101, PT018 - for a file that is there
    module = sys.modules["workers"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


if __name__ == "__main__":
    mode, *descriptors = sys.argv[1:]
    del sys.path[0]  # this folder, whose modules would hide others
    _register_package()
    if mode == "default":
        from workers.forkserver.start import run

        run(int(descriptors[0]))
    elif mode == "confine":
        from workers.forkserver.environment_start import run

        run(int(descriptors[0]))
    else:
        from workers.forkserver.start import run_in_environment

        run_in_environment(*map(int, descriptors))
