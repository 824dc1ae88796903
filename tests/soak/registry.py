"""The thirty registered models, made and changed over MLflow's REST API while they are asked."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

from tests.soak.meanings import ABSENT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.soak.artifacts import Artifact
    from tests.soak.meanings import Meanings
    from tests.soak.options import Options
    from tests.support.mlflow_server import MlflowServer

ALIAS = "@champion"
_FIRST_VERSIONS = 3


class Model:
    """One registered model: its live versions, by number, and the version of its alias."""

    def __init__(self, name: str, artifacts: Sequence[Artifact]) -> None:
        """`artifacts` are those that its versions are made of, each in its turn."""
        self.name = name
        self.kind = artifacts[0].kind
        self.lock = asyncio.Lock()
        self.versions: dict[int, Artifact] = {}
        self.last = 0
        self.champion = 0
        self._artifacts = artifacts
        self._made = 0

    def next_artifact(self) -> Artifact:
        """The one that was used the longest ago."""
        self._made += 1
        return self._artifacts[self._made % len(self._artifacts)]

    def means(self) -> dict[str, int]:
        """Every reference that can be answered, and the version it means."""
        if not self.versions:
            return {}
        found = {str(number): number for number in self.versions}
        if self.champion:
            found[ALIAS] = self.champion
        best = min(self.versions, key=lambda number: (self.versions[number].rmse, -number))
        return found | {"latest": max(self.versions), "best": best}


class Registry:
    """Creates, changes and deletes; tells `meanings` of each change as it begins."""

    def __init__(
        self,
        server: MlflowServer,
        artifacts: Sequence[Artifact],
        *,
        meanings: Meanings,
        options: Options,
    ) -> None:
        self._server = server
        self._meanings = meanings
        self.artifacts = {artifact.label: artifact for artifact in artifacts}
        sums = [artifact for artifact in artifacts if artifact.label.startswith("sums")]
        lines = [artifact for artifact in artifacts if artifact.label.startswith("line")]
        commands = [artifact for artifact in artifacts if artifact.kind == "commands"]
        models = [Model(f"soak-sums-{n}", sums[n % 3 :] + sums[: n % 3]) for n in range(options.sums)]
        models += [Model(f"soak-line-{n}", [lines[n % len(lines)]]) for n in range(options.lines)]
        models += [Model(f"soak-commands-{n}", commands) for n in range(options.commands)]
        self.models = {model.name: model for model in models}

    def of_kind(self, start: str) -> list[Model]:
        """The models whose name begins like this."""
        return [model for name, model in self.models.items() if name.startswith(f"soak-{start}")]

    async def make_all(self) -> None:
        """Have every model, with its first versions."""
        for model in self.models.values():
            await self.make(model)

    async def make(self, model: Model) -> None:
        """Have the model, with as many versions as it begins with, and its alias."""
        await self._call("registered-models/create", name=model.name)
        for _ in range(_FIRST_VERSIONS if model.name.startswith("soak-sums") else 1):
            await self.add(model)
        await self.move(model, 1)

    async def add(self, model: Model) -> list[str]:
        """A new version; the references whose meaning it changed."""
        artifact = model.next_artifact()
        number = model.last = model.last + 1  # the number of a deleted version is not given again
        changed = self._note(model, {**model.versions, number: artifact}, champion=model.champion)
        made = await self._call(
            "model-versions/create",
            name=model.name,
            source=artifact.source,
            model_id=artifact.model_id,
            run_id=artifact.run_id,
        )
        assert int(made["model_version"]["version"]) == number, "MLflow numbers versions in another way"
        return changed

    async def move(self, model: Model, number: int) -> list[str]:
        """Let the alias mean this version; the references whose meaning that changed."""
        changed = self._note(model, model.versions, champion=number)
        alias = ALIAS.removeprefix("@")
        await self._call("registered-models/alias", name=model.name, alias=alias, version=str(number))
        return changed

    async def delete_newest(self, model: Model) -> list[str]:
        """Delete the newest version; the references whose meaning that changed."""
        number = max(model.versions)
        rest = {version: artifact for version, artifact in model.versions.items() if version != number}
        champion = 0 if model.champion == number else model.champion
        changed = self._note(model, rest, champion=champion)
        await self._call("model-versions/delete", "DELETE", name=model.name, version=str(number))
        return changed

    async def make_anew(self, model: Model) -> list[str]:
        """Delete the model and make it again, of other artifacts; the references that mean something now."""
        self._note(model, {}, champion=0)
        model.last = 0
        await self._call("registered-models/delete", "DELETE", name=model.name)
        await self.make(model)
        return self._meanings.refs(model.name)

    def _note(self, model: Model, versions: dict[int, Artifact], *, champion: int) -> list[str]:
        before, now = model.means(), monotonic()
        model.versions, model.champion = versions, champion
        means = model.means()
        changed = []
        for ref in before.keys() | means.keys():
            number = means.get(ref)
            version = ABSENT if number is None else str(number)
            label = ABSENT if number is None else versions[number].label
            if self._meanings.change(model.name, ref, version=version, label=label, at=now):
                changed.append(ref)
        return changed

    async def _call(self, path: str, method: str = "POST", **values: str) -> Any:
        return await asyncio.to_thread(self._server.call, path, values, method=method)
