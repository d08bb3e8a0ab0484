"""The pipeline of an archive as a target, without a server: its packed engine, or its model as PyTorch runs it."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import zipfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from detserve import engines
from detserve.archives import archive
from detserve.archives.recipe import ENGINE_FOLDER, PackedModel, Recipe
from detserve.bench.target import Attack, Outcome
from detserve.client.status import TIMEOUT
from detserve.core.machine import gpus
from detserve.engines import parts
from detserve.engines.base import Device, EnginePlan
from detserve.errors import RequestError
from detserve.pack.weights import locate
from detserve.pictures.depth import WithDepth


@dataclass(frozen=True)
class EngineTarget:
    """An unpacked archive, loaded in the load process as a worker does: on one thread, one picture at a time.

    The pictures of further callers wait, as in a server's queue. timeout: seconds of that wait.
    """

    folder: Path
    recipe: Recipe
    timeout: float = 30.0

    @property
    def engines(self) -> str:
        """Backends and precisions, "openvino auto" for instance."""
        names = [f"{each.backend} {each.plan.precision}" for each in _models(self.recipe).values()]
        return ", ".join(dict.fromkeys(names))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Attack]:
        """Load the engine."""
        from detserve.options import Options
        from detserve.worker.loading import load_pipeline
        from detserve.worker.response import body

        sys.path.append(str(self.folder))  # where a model of the user's own lies
        pipeline = load_pipeline(self.recipe, self.folder, Device(threads=1, gpu=0 if gpus() else None))
        turn = asyncio.Lock()

        async def attack(picture: bytes | WithDepth) -> Outcome:
            try:
                async with asyncio.timeout(self.timeout):
                    await turn.acquire()
            except TimeoutError:
                return Outcome(TIMEOUT)
            try:
                await asyncio.sleep(0)  # the next ones join the queue meanwhile
                (result,) = pipeline([(picture, Options.parse({}, pipeline.spec, self.recipe.options))])
                status = result.outcome.status if isinstance(result.outcome, RequestError) else 200
                return Outcome(str(status), body(result), asdict(result.timings))
            except Exception as error:
                return Outcome(type(error).__name__)
            finally:
                turn.release()

        yield attack


@contextmanager
def packed(path: Path) -> Iterator[EngineTarget]:
    """The engine of an archive. Raises BadArchive when it cannot be read."""
    with _unpacked(path) as (folder, recipe):
        yield EngineTarget(folder, recipe)


@contextmanager
def rebuilt(path: Path, backend: str, weights: Sequence[str] = ()) -> Iterator[EngineTarget]:
    """The models of an archive, built anew for another backend from the weights that it was packed from.

    weights: paths or URLs of the detector's weights, if they come in no package. Raises BadWeights for other weights.
    """
    with _unpacked(path) as (folder, recipe), tempfile.TemporaryDirectory() as scratch:
        sys.path.append(str(folder))
        adapter = engines.find(backend)
        rebuilt_models: dict[str, Any] = {}
        for name, packed_model in _models(recipe).items():
            spec = packed_model.spec()
            origins = weights if weights and name == "detect" else [spec.weights.origin]
            files = [locate(*pair) for pair in zip(origins, packed_model.weights_sha256.split(), strict=False)]
            plan = EnginePlan(precision=adapter.precisions[0], max_batch=packed_model.plan.max_batch)
            place = Path(scratch) / ENGINE_FOLDER / name
            place.mkdir(parents=True)
            parts.build(adapter, spec, files, plan, place)
            rebuilt_models[name] = replace(packed_model, backend=backend, plan=plan)
        yield EngineTarget(Path(scratch), replace(recipe, **rebuilt_models))


@contextmanager
def _unpacked(path: Path) -> Iterator[tuple[Path, Recipe]]:
    recipe = archive.read(path).recipe
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path) as mar:
        mar.extractall(folder)
        yield Path(folder), recipe


def _models(recipe: Recipe) -> dict[str, PackedModel]:
    return {"detect": recipe.detect} | ({"read": recipe.read} if recipe.read else {})
