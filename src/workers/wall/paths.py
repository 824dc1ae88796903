"""What every worker may use of the file system: libraries, Python, devices, and little of `/etc`."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from workers.wall import landlock

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable, Iterator, Mapping

Rule = tuple[str, int]
"""A path that exists, and the rights on it."""

_LIBRARIES: Final = (
    "/usr", "/lib", "/lib32", "/lib64", "/libx32", "/bin", "/sbin", "/nix/store", "/gnu/store",
    "/opt/rocm",
    "/opt/nvidia", "/run/opengl-driver", "/var/cache/fontconfig", "/var/lib/ca-certificates",
)  # fmt: skip
# `/proc` of other processes: Landlock denies memory, environment, descriptors and maps. What all users
# may read of a process (its command line, its state) stays readable: no rule can mean a worker's children.
_KERNEL: Final = (
    "/proc", "/sys/devices/system", "/sys/fs/cgroup", "/sys/kernel/mm/transparent_hugepage",
    "/sys/kernel/mm/hugepages", "/sys/bus/pci", "/sys/class/drm", "/sys/class/kfd",
    "/sys/devices/virtual/kfd",
    "/sys/module/nvidia", "/sys/module/amdgpu",
)  # fmt: skip
_CONFIGURATION: Final = (  # of `/etc`; neither /etc/ssl nor /etc/pki as a whole, which hold private keys
    "alternatives", "ca-certificates", "ca-certificates.conf", "crypto-policies", "debian_version",
    "fonts",
    "gai.conf", "group", "host.conf", "hostname", "hosts", "ld.so.cache", "ld.so.conf", "ld.so.conf.d",
    "localtime",
    "lsb-release", "matplotlibrc", "mime.types", "nsswitch.conf", "os-release", "OpenCL", "passwd",
    "pki/ca-trust", "pki/tls/cert.pem", "pki/tls/certs", "pki/tls/openssl.cnf", "protocols",
    "redhat-release",
    "resolv.conf", "services", "ssl/cert.pem", "ssl/certs", "ssl/openssl.cnf", "timezone", "vulkan",
)  # fmt: skip
_RESOLVER: Final = "/etc/resolv.conf"
_RESOLVER_FOLDERS: Final = ("/run/systemd/resolve", "/run/resolvconf")  # with nothing else in them
_DEVICES: Final = (
    "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/dri", "/dev/kfd",
    "/dev/accel", "/dev/dxg",
)  # fmt: skip
_DEVICE_PREFIX: Final = "nvidia"
_SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 - names of others cannot be listed there
_CODE_VARIABLES: Final = ("LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH", "JAVA_HOME", "SPARK_HOME", "R_HOME")
_CERTIFICATE_VARIABLES: Final = (
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    "MLFLOW_TRACKING_SERVER_CERT_PATH",
    "PYTHONTZPATH", "TZDIR",
)  # fmt: skip
_PREFIX_FOLDERS: Final = (  # of a Python installation, also of Conda's
    "bin", "conda-meta", "etc", "include", "lib", "lib64", "libexec", "nvvm", "pyvenv.cfg", "share",
    "ssl", "targets",
)  # fmt: skip
_PROJECT_FILES: Final = ("pyproject.toml", "setup.py", "setup.cfg", ".git", ".env")
_MODULE_SUFFIXES: Final = (".py", ".pyc", ".so", ".pth")
_INFO_SUFFIXES: Final = (".dist-info", ".egg-info", ".libs")


_given: list[tuple[Rule, ...]] = []


def give(rules: Iterable[Rule]) -> None:
    """Have `shared_rules` return these from now on: this process is confined, and could not find them."""
    _given[:] = [tuple(rules)]


def shared_rules(private: tuple[str, ...] = ()) -> tuple[Rule, ...]:
    """Return what every worker may use, whatever its model; called first in the process that forks them.

    Of a folder with one of `private` below it, or the working folder, all else may be used. A path that is
    missing is left out.
    """
    return _given[0] if _given else _own_rules(private)


def rules_of_environment(prefixes: Iterable[str], private: Iterable[str] = ()) -> tuple[Rule, ...]:
    """Return what every worker of an environment may use; `prefixes` are its folder and its Python's."""
    return _without_private(_all_rules((), prefixes), private)


@cache
def _own_rules(private: tuple[str, ...]) -> tuple[Rule, ...]:
    entries = [*sys.path, *_editable_packages()]
    return _without_private(_all_rules(entries, {sys.prefix, sys.base_prefix, sys.exec_prefix}), private)


def _without_private(found: Iterable[Rule], private: Iterable[str]) -> tuple[Rule, ...]:
    rules: dict[str, int] = {}
    for path, access in found:
        if Path(path).exists():
            real = str(Path(path).resolve())
            rules[real] = rules.get(real, 0) | access
    closed = [Path.cwd(), *(Path(path).resolve() for path in private)]
    kept = [(path, access) for path, access in rules.items() if not _is_covered(path, access, rules)]
    return tuple(rule for path, access in kept for rule in _around(Path(path), access, closed, rules))


def _around(path: Path, access: int, closed: Collection[Path], named: Container[str]) -> Iterator[Rule]:
    """Yield the rule, or those of what is beside the closed folders below it."""
    if not access & landlock.Access.READ_FILE or not any(each.is_relative_to(path) for each in closed):
        yield str(path), access
        return
    for child in path.iterdir():
        if child in closed and str(child) not in named:
            continue
        if path in closed and child.name.startswith("."):  # the system's own folder, with a `.env` in it
            continue
        if child.is_dir() and not child.is_symlink():
            yield from _around(child, access, closed, named)
        elif not child.is_symlink():
            yield str(child), access


def python_rules(
    entries: Iterable[str], prefixes: Iterable[str], *, private: Iterable[Path]
) -> Iterator[Rule]:
    """Yield what may be read of Python: `entries` are those of `sys.path`.

    `private` are folders with other things than code, the working folder first. Neither they nor what is
    above them is opened as a whole, if Python has them as a prefix or an entry. Of a project, modules are.
    """
    closed = [path.resolve() for path in private]
    for prefix in prefixes:
        if _contains_any(Path(prefix), closed):
            yield from ((str(Path(prefix, name)), landlock.READ) for name in _PREFIX_FOLDERS)
        else:
            yield prefix, landlock.READ
    for entry in entries:
        path = Path(entry)
        if not path.is_absolute():
            continue
        if not _contains_any(path, closed) and not _is_project(path):
            yield entry, landlock.READ
        elif _is_project(path) and not _contains_any(path, closed[1:]):
            yield from _modules_of(path)


def _is_covered(path: str, access: int, rules: Mapping[str, int]) -> bool:
    """Return whether a folder above has a rule that allows as much: each rule takes each worker time."""
    return any(rules.get(str(above), 0) & access == access for above in Path(path).parents)


def _all_rules(entries: Iterable[str], prefixes: Iterable[str]) -> Iterator[Rule]:
    for path in (*_LIBRARIES, *_KERNEL, *_configuration()):
        yield path, landlock.READ
    for path in _devices():
        yield path, landlock.USE_DEVICE
    yield _SHARED_MEMORY, landlock.USE_SHARED_MEMORY
    private = _private_folders()
    yield from python_rules(entries, prefixes, private=private)
    closed = [path.resolve() for path in private]
    for path in _named_by_environment():
        if Path(path).is_absolute() and not _contains_any(Path(path), closed):
            yield path, landlock.READ


def _private_folders() -> tuple[Path, ...]:
    """Return the working folder, and then others that hold more than code."""
    temporary = Path(os.environ.get("TMPDIR") or "/tmp")  # noqa: S108 - where others have their files
    home = os.environ.get("HOME") or os.path.expanduser("~")  # noqa: PTH111 - pathlib raises if there is none
    homes = [Path(home)] if Path(home).is_absolute() and home != "/" else []
    return Path.cwd(), *homes, temporary, Path("/etc"), Path("/var"), Path("/run")


def _contains_any(folder: Path, closed: Iterable[Path]) -> bool:
    real = folder.resolve()
    return any(path == real or path.is_relative_to(real) for path in closed)


def _is_project(folder: Path) -> bool:
    return any((folder / name).exists() for name in _PROJECT_FILES)


def _modules_of(project: Path) -> Iterator[Rule]:
    """Yield what Python imports from a project's folder, and not the settings and keys beside it."""
    yield str(project), landlock.LIST  # names alone: Python lists a folder to find a module
    for child in project.iterdir():
        is_package = (child / "__init__.py").exists() or child.suffix in _INFO_SUFFIXES
        if is_package or child.suffix in _MODULE_SUFFIXES:
            yield str(child), landlock.READ


def _editable_packages() -> Iterator[str]:
    """Yield folders of packages that setuptools installed in place, without an entry of `sys.path`."""
    for name, module in list(sys.modules.items()):
        if name.startswith("__editable__"):
            yield from map(str, getattr(module, "MAPPING", {}).values())


def _configuration() -> Iterator[str]:
    yield from (f"/etc/{name}" for name in _CONFIGURATION)
    yield from map(str, Path("/etc").glob("java-*"))
    # A file that is replaced would no longer be the one that was opened; a link's target often is.
    file = Path(_RESOLVER).resolve()
    if str(file.parent) in _RESOLVER_FOLDERS:
        yield str(file.parent)
    elif file.is_relative_to("/run"):  # a folder that may have more, such as passwords of networks
        yield str(file)


def _devices() -> Iterator[str]:
    yield from _DEVICES
    yield from map(str, Path("/dev").glob(f"{_DEVICE_PREFIX}*"))


def _named_by_environment() -> Iterator[str]:
    for name in _CODE_VARIABLES:
        yield from os.environ.get(name, "").split(os.pathsep)
    for name in _CERTIFICATE_VARIABLES:
        yield from os.environ.get(name, "").split(os.pathsep)
