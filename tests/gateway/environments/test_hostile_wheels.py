"""Wheels of a version itself that attack what builds its environment."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.environments import bytecode, local_wheels
from gateway.environments.builder import EnvironmentBuilder
from gateway.environments.bytecode import has_pickled_functions
from gateway.errors import EnvironmentRefused
from tests.support.package_index import make_wheel, serve_index

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.environments.uv_output import UvOutput
    from tests.gateway.environments.conftest import Harness


def write_wheel(path: Path, files: Mapping[str, str], *, metadata: str = "", complete: bool = True) -> None:
    """Write a wheel with these files beside its own; one that is not complete cannot be installed."""
    name, version, *_ = path.name.split("-")
    info = f"{name}-{version}.dist-info"
    own = {f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}"}
    if complete:
        own[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    own[f"{info}/RECORD"] = "".join(f"{each},,\n" for each in [*files, *own, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for each, text in {**files, **own}.items():
            archive.writestr(each, text)


def names_in(folder: Path) -> list[str]:
    """Return what a folder has."""
    return [path.name for path in folder.iterdir()]


def files_named(name: str, folder: Path) -> list[Path]:
    """Return the files with this name anywhere in a folder."""
    return list(folder.rglob(name))


async def refusal(harness: Harness, *lines: str) -> str:
    """Return why no environment is made for a version with these requirements."""
    environments = harness.open_with()
    await environments.open()
    with pytest.raises(EnvironmentRefused) as caught:
        async with environments.lease(harness.require(*lines)):
            pass
    return str(caught.value)


@pytest.mark.parametrize("name", ["_r", "__pre", "__index_url", "_", "private_"])
async def test_a_name_is_never_an_option(harness: Harness, name: str) -> None:
    """`__pre-1.0-….whl` would become `--pre @ file:…`, which uv obeys."""
    wheel = f"{name}-1.0-py3-none-any.whl"
    write_wheel(harness.source.folder_path / wheel, {"code.py": ""})
    assert "has a name that no wheel has" in await refusal(harness, wheel)


@pytest.mark.parametrize(
    "need",
    [
        "Requires-Dist: evil @ {}",
        "Requires-Dist: evil @ git+{}",
        "requires-dist:\n  evil @ {} ; os_name != 'x'",
    ],
)
async def test_it_brings_no_package_from_an_address(harness: Harness, need: str, tmp_path: Path) -> None:
    """Nor is the address asked: uv takes those that a direct requirement names for the operator's own."""
    folder = harness.source.folder_path
    with serve_index(tmp_path / "evil") as evil:
        made = make_wheel(tmp_path / "evil", "evil", "1.0")
        line = need.format(f"http://127.0.0.1:{evil.port}/files/{made.name}") + "\n"
        write_wheel(folder / "private-1.0-py3-none-any.whl", {"code.py": ""}, metadata=line)
        assert "from an address" in await refusal(harness, "private-1.0-py3-none-any.whl")
        assert evil.requests == []


async def test_a_lock_has_no_other_address(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if uv should read a wheel's metadata in another way than the gateway does."""
    monkeypatch.setattr("gateway.environments.local_wheels._check", lambda *_: None)
    with serve_index(tmp_path / "evil") as evil:
        made = make_wheel(tmp_path / "evil", "evil", "1.0")
        need = f"Requires-Dist: evil @ http://127.0.0.1:{evil.port}/files/{made.name}\n"
        wheel = "private-1.0-py3-none-any.whl"
        write_wheel(harness.source.folder_path / wheel, {"code.py": ""}, metadata=need)
        assert "needs 'evil' from an address" in await refusal(harness, wheel)
    assert harness.built() == []


@pytest.mark.parametrize("size", [2**20, 2**27])
async def test_metadata_is_small(harness: Harness, size: int) -> None:
    """It is compressed to nearly nothing, and uv would hold it in memory."""
    wheel = "private-1.0-py3-none-any.whl"
    write_wheel(harness.source.folder_path / wheel, {"code.py": ""}, metadata="Summary: " + "x" * size)
    assert "cannot be read" in await refusal(harness, wheel)


@pytest.mark.parametrize(("limit", "value"), [("_MAX_UNPACKED_BYTES", 2**20), ("_MAX_FILES", 3)])
async def test_it_is_not_larger_than_may_be_unpacked(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    """A file of some kilobytes can fill the disk."""
    monkeypatch.setattr(local_wheels, limit, value)
    wheel = "private-1.0-py3-none-any.whl"
    write_wheel(harness.source.folder_path / wheel, {"zeros.bin": "0" * 2**21})
    assert "has more than" in await refusal(harness, wheel)


async def test_copies_are_removed_after_a_day(harness: Harness) -> None:
    """Else versions with wheels of their own would fill the disk; the next build makes them again."""
    wheel = "private-1.0-py3-none-any.whl"
    write_wheel(harness.source.folder_path / wheel, {"code.py": ""})
    environments = harness.open_with()
    await environments.open()
    copies = harness.root / "wheels"
    for number in (1, 2):
        async with environments.lease(harness.require(wheel, name=f"wine{number}")):
            pass
        (copy,) = names_in(copies)
        os.utime(copies / copy, (0, 0))
        await environments.open()
        assert names_in(copies) == []


async def test_what_is_no_archive_is_refused(harness: Harness) -> None:
    """It is no failure of the gateway."""
    (harness.source.folder_path / "private-1.0-py3-none-any.whl").write_bytes(b"PK\x05\x06 no archive")
    assert "cannot be read" in await refusal(harness, "private-1.0-py3-none-any.whl")


async def test_its_code_never_runs_in_the_builder(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """One wheel is installed and another one fails: uv asks no interpreter that has the first one's code."""
    folder, found = harness.source.folder_path, harness.root / "uv-cache" / "found"
    code = f"import os; open({str(found)!r}, 'w').write(str(dict(os.environ)))\n"
    write_wheel(folder / "first-1.0-py3-none-any.whl", {"start.pth": code, "first.py": ""})
    write_wheel(folder / "second-1.0-py3-none-any.whl", {"second.py": ""}, complete=False)
    run, installed = EnvironmentBuilder.run, []

    async def noting_run(self: EnvironmentBuilder, *arguments: str, **options: Any) -> UvOutput:
        if arguments[:2] == ("pip", "install"):
            root = Path(arguments[3]).parents[1]
            installed.append([path.name for path in root.rglob("*.dist-info")])
        return await run(self, *arguments, **options)

    monkeypatch.setattr(EnvironmentBuilder, "run", noting_run)
    await refusal(harness, "first-1.0-py3-none-any.whl", "second-1.0-py3-none-any.whl")
    assert installed == [[], []]
    assert not found.exists()
    assert harness.partial() == []


async def test_nothing_is_written_outside_of_the_environment(harness: Harness, tmp_path: Path) -> None:
    """Names in a wheel lead nowhere else."""
    names = [
        "../../../../../../evil.txt",
        str(tmp_path / "evil.txt"),
        "first-1.0.data/data/../../../evil.txt",
    ]
    write_wheel(harness.source.folder_path / "first-1.0-py3-none-any.whl", dict.fromkeys(names, "evil"))
    environments = harness.open_with()
    await environments.open()
    async with environments.lease(harness.require("first-1.0-py3-none-any.whl")) as environment:
        assert environment is not None
    outside = [path for path in files_named("evil.txt", tmp_path) if not path.is_relative_to(harness.root)]
    assert outside == []


async def test_a_wheel_named_as_another_package_is_its_versions_alone(harness: Harness) -> None:
    """A version without it gets the index's package, also from the same cache."""
    folder = harness.source.folder_path
    wheel = "learner-1.5.2-py3-none-any.whl"
    write_wheel(folder / wheel, {"learner.py": "evil = True"})
    environments = harness.open_with()
    await environments.open()
    found = []
    for lines, name in [((wheel,), "bad"), (("learner==1.5.2",), "good"), ((wheel,), "again")]:
        async with environments.lease(harness.require(*lines, name=name)) as environment:
            assert environment is not None
            (module,) = (harness.root / "environments" / environment.digest).rglob("learner.py")
            found.append((environment.digest, "evil" in module.read_text()))
    assert [evil for _, evil in found] == [True, False, True]
    assert found[0][0] == found[2][0] != found[1][0]


def test_a_mark_across_two_chunks_is_found(tmp_path: Path) -> None:
    """Pickles are searched in parts, each short enough for other threads to go on."""
    for before in range(bytecode._CHUNK_BYTES - 20, bytecode._CHUNK_BYTES + 2):
        (tmp_path / "model.pkl").write_bytes(b"." * before + b"_make_skel_func" + b"." * 50)
        assert has_pickled_functions(tmp_path), before
    (tmp_path / "model.pkl").write_bytes(b"." * bytecode._CHUNK_BYTES * 2)
    assert not has_pickled_functions(tmp_path)
