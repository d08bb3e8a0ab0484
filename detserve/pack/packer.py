"""Packer: from a model and its weights to an archive that TorchServe serves."""

from __future__ import annotations

import errno
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from detserve import engines, models
from detserve.archives import archive, contents
from detserve.archives.checksums import sha256_of
from detserve.archives.recipe import ENGINE_FOLDER, PackedModel, Recipe
from detserve.core.machine import gpus
from detserve.engines import sources
from detserve.engines.base import INT8, Device, Engine, EnginePlan
from detserve.engines.calibration import Calibration
from detserve.engines.parts import PartedEngines, PartedSource
from detserve.engines.sources.base import Source
from detserve.errors import BackendMissing, BadArchive, BadSpec, EngineRejected, InvalidOption
from detserve.models.parts import PartedSpec
from detserve.models.rectangles import on_device
from detserve.models.spec import DetectorSpec, ModelSpec, ReaderSpec
from detserve.options import Options
from detserve.pack import agreement, object_parity, parity
from detserve.pack.weights import locate
from detserve.pictures.header import MAX_PIXELS
from detserve.serve.defaults import GPU_BATCH
from detserve.worker import masks
from detserve.worker.detector import HostDetector
from detserve.worker.loading import detector_on

GATE_PICTURES = {
    "face": "package:skimage/data/astronaut.png",
    "text": "package:skimage/data/page.png",
    "read": "package:skimage/data/page.png",
    "object": "package:skimage/data/coffee.png",
}
"""The real pictures of the parity gate, by the model's task. They come from the package scikit-image."""

BATCH = 8
"""The largest batch of an engine unless someone asks for another; one for a GPU takes the batches that it is served."""


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """One model to pack.

    settings: changes of its spec; weights: paths or URLs, none for those that the model's spec names; sha256: their
    checksums.
    """

    model: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    weights: Sequence[str] = ()
    sha256: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class PackRequest:
    """What to pack.

    detect, read: the models; out: the folder of the archive; precision: None for the backend's default; calibration:
    pictures for int8, as files, folders or globs; max_batch: None for BATCH, or GPU_BATCH on a GPU; opt_batch:
    see `EnginePlan`; reduced_decode, options: see `Recipe`.
    """

    name: str
    detect: ModelChoice
    out: Path
    read: ModelChoice | None = None
    backend: str = "auto"
    precision: str | None = None
    calibration: Sequence[str] = ()
    max_batch: int | None = None
    opt_batch: int = 0
    version: str = "1.0"
    reduced_decode: bool = True
    options: Mapping[str, str] = field(default_factory=dict)


def pack(request: PackRequest) -> Path:
    """Build the engines, check them against their networks, write NAME.mar and NAME.mar.sha256 → the archive's path.

    Raises a SetupError when anything fails; then nothing was written.
    """
    detect = _Building.of(request, request.detect, request.precision)
    _check_models(request)
    found = models.find(request.detect.model)
    if isinstance(found, PartedSpec):
        masks.check_installed()
    calibration = _calibration(request, detect.plan)
    # A reader stays in floats: it would have to learn from lines, and a wrong letter is worse than a shifted box.
    read = request.read and _Building.of(request, request.read, None if calibration else request.precision)
    with _scratch() as scratch:
        engine_folder = Path(scratch, ENGINE_FOLDER)
        recipe = Recipe(
            detect=_build(detect, engine_folder / "detect", calibration),
            read=_build(read, engine_folder / "read") if read else None,
            options=dict(request.options),
            reduced_decode=request.reduced_decode,
            max_pixels=found.max_pixels if isinstance(found, PartedSpec) else MAX_PIXELS,
        )
        files = contents.files()
        for model in (request.detect, request.read):
            files |= _own_module(model.model) if model else {}
        files |= {path.relative_to(scratch).as_posix(): path for path in engine_folder.rglob("*") if path.is_file()}
        path = request.out / f"{request.name}.mar"
        archive.write(path, request.name, request.version, contents.HANDLER, recipe, files)
    return path


@dataclass(frozen=True)
class _Building:
    """One engine to build: the model, its backend, what for; exact: in fp32 where the gate refuses 16 bits."""

    choice: ModelChoice
    adapter: type[Engine]
    plan: EnginePlan
    exact: bool

    @classmethod
    def of(cls, request: PackRequest, choice: ModelChoice, precision: str | None) -> Self:
        """As the request asks, in that precision, None for the backend's best. Raises BackendMissing without it."""
        adapter = engines.find(request.backend, models.find(choice.model))
        usual = GPU_BATCH if gpus() and adapter.for_gpus else BATCH
        plan = EnginePlan(
            precision=precision or _default_precision(models.find(choice.model), adapter),
            max_batch=usual if request.max_batch is None else request.max_batch,
            opt_batch=request.opt_batch,
        )
        if plan.precision not in adapter.precisions:
            known = ", ".join(adapter.precisions)
            raise BackendMissing(f"backend {adapter.name} has no precision {plan.precision!r}; it has {known}")
        # Models of several networks rank boxes, where a last digit may put one in the place of another.
        parted = isinstance(models.find(choice.model), PartedSpec)
        reduced = plan.precision == "fp16" or (parted and plan.precision != "fp32")
        return cls(choice, adapter, plan, exact=precision is None and reduced)


def _default_precision(spec: ModelSpec, adapter: type[Engine]) -> str:
    """The backend's own; but fp32 instead of fp16 for models of several networks: none was measured on a GPU."""
    own = adapter.precisions[0]
    return "fp32" if own == "fp16" and isinstance(spec, PartedSpec) else own


def _check_models(request: PackRequest) -> None:
    """Raise BadSpec for models that do not go together, and for options that every request would be refused for."""
    detect = models.find(request.detect.model)
    if isinstance(detect, ReaderSpec):
        raise BadSpec(
            f"{detect.name} reads what a detector found: name it as --reader beside a --model that detects text"
        )
    try:
        Options.parse({}, detect.override(**request.detect.settings), request.options)
    except InvalidOption as error:
        raise BadSpec(f"{request.name}: {error}") from error
    if request.read is None:
        return
    reader = models.find(request.read.model)
    if not isinstance(reader, ReaderSpec) or detect.task != "text":
        raise BadSpec(f"{detect.name} and {reader.name} do not go together: --model detects text, --reader reads it")


def _calibration(request: PackRequest, plan: EnginePlan) -> Calibration | None:
    """The pictures for int8. Raises BadSpec for int8 without pictures and for pictures without int8."""
    if plan.precision == INT8 and not request.calibration:
        raise BadSpec("--precision int8 needs --calibration DIR, real pictures of the kind that will be served")
    if request.calibration and plan.precision != INT8:
        raise BadSpec(f"--calibration is for --precision int8, not {plan.precision}; leave it out")
    if not request.calibration:
        return None
    with _step("reading the pictures of --calibration"):
        return Calibration.of(request.calibration)


def _build(building: _Building, folder: Path, calibration: Calibration | None = None) -> PackedModel:
    """Build the engine in that folder and check it; anew in fp32 where 16 bits were nobody's wish and do not do."""
    try:
        return _build_once(building, folder, calibration)
    except EngineRejected as error:
        if not building.exact:
            raise
        print(f"  {error}\n  16 bits do not do for {building.choice.model}: fp32 instead", file=sys.stderr)
    shutil.rmtree(folder)
    plan = replace(building.plan, precision="fp32")
    return _build_once(replace(building, plan=plan), folder, calibration)


def _build_once(building: _Building, folder: Path, calibration: Calibration | None) -> PackedModel:
    """Build the engine of one model in that folder and check it."""
    import torch

    choice, adapter, plan = building.choice, building.adapter, building.plan
    weights = _weights(models.find(choice.model), choice)
    spec = models.find(choice.model).override(**choice.settings).with_file_metadata(*weights)
    folder.mkdir(parents=True)
    if isinstance(spec, PartedSpec):
        figures, plan = _build_parts(spec, weights, adapter, plan, folder)
        return _packed(choice, spec, adapter, plan, weights, figures)
    device = Device(threads=torch.get_num_threads(), gpu=0 if torch.cuda.is_available() else None)
    spec = on_device(spec, adapter.for_gpus and device.gpu is not None)
    with _step(f"loading {', '.join(path.name for path in weights)} into {spec.name}"):
        source = sources.of(spec, *weights)
    with _step(f"building the engine: {adapter.name}, precision {plan.precision}"):
        adapter.build(source, plan, folder, calibration)
        engine = adapter(folder, spec, plan, device)
    figures = _agreement(source, engine, plan, device, calibration) if calibration else _parity(source, engine, plan)
    _check_detector(engine, plan)
    return _packed(choice, spec, adapter, plan, weights, figures)


def _build_parts(
    spec: PartedSpec, weights: Sequence[Path], adapter: type[Engine], plan: EnginePlan, folder: Path
) -> tuple[Mapping[str, Any], EnginePlan]:
    """The engines of a model of several networks, built and checked → the figures of the gate, and the plan to pack.

    Where "auto" is fp32, as this processor has nothing less, that is what is checked, and what is packed: a worker on
    another processor would compute in 16 bits, which nobody has checked.
    """
    import torch

    with _step(f"loading {', '.join(path.name for path in weights)} into {spec.name}"):
        source = PartedSource(spec, *weights)
    with _step(f"building the engines: {adapter.name}, precision {plan.precision}"):
        source.build(adapter, plan, folder)
        device = Device(threads=torch.get_num_threads(), gpu=0 if torch.cuda.is_available() else None)
        built = PartedEngines(adapter, folder, spec, plan, device)
    if built.exact:
        plan = replace(plan, precision="fp32")
    bounds = object_parity.EXACT if built.exact else object_parity.REDUCED
    with _step("checking them against the networks"):
        figures = object_parity.measure(source, built, locate(GATE_PICTURES[spec.task]).read_bytes(), bounds)
    print(f"  {figures}", file=sys.stderr)
    figures.check(bounds)
    return figures.to_dict(), plan


def _packed(
    choice: ModelChoice,
    spec: ModelSpec,
    adapter: type[Engine],
    plan: EnginePlan,
    weights: Sequence[Path],
    figures: Mapping[str, Any],
) -> PackedModel:
    return PackedModel(
        model=choice.model,
        settings=spec.settings(),
        backend=adapter.name,
        plan=plan,
        weights_sha256=" ".join(map(sha256_of, weights)),
        parity=figures,
    )


def _check_detector(engine: Engine, plan: EnginePlan) -> None:
    """Where a worker decodes and suppresses on the GPU, let that find what the engine's outputs say."""
    spec = engine.spec
    if not isinstance(spec, DetectorSpec) or isinstance(detector := detector_on(engine), HostDetector):
        return
    with _step("checking its decode and suppression on the GPU"):
        figures = parity.measure_detector(engine, detector, locate(GATE_PICTURES[spec.task]).read_bytes(), plan)
    figures.check(parity.bounds(plan.precision, spec.task))


def _parity(source: Source, engine: Engine, plan: EnginePlan) -> Mapping[str, Any]:
    """The figures of the gate on one real picture."""
    spec = source.spec
    with _step("checking it against the network"):
        figures = parity.measure(source, engine, locate(GATE_PICTURES[spec.task]).read_bytes(), plan)
    print(f"  {figures}", file=sys.stderr)
    figures.check(parity.bounds(plan.precision, spec.task))
    return figures.to_dict()


def _agreement(
    source: Source, engine: Engine, plan: EnginePlan, device: Device, calibration: Calibration
) -> Mapping[str, Any]:
    """The figures of the gate of int8, printed beside those of the same backend in fp32."""
    pictures = len(calibration.pictures)
    with _step(f"checking it against the network on {pictures} pictures"), tempfile.TemporaryDirectory() as scratch:
        exact = replace(plan, precision="fp32")
        engine.build(source, exact, Path(scratch))
        engines = {"fp32": type(engine)(Path(scratch), source.spec, exact, device), INT8: engine}
        figures = agreement.measure(source, engines, calibration)
    print(agreement.table(figures), file=sys.stderr)
    figures[INT8].check(source.spec.task)
    return figures[INT8].to_dict()


def _weights(spec: ModelSpec, choice: ModelChoice) -> list[Path]:
    if choice.weights:
        if len(choice.weights) != spec.files:
            raise BadSpec(
                f"{spec.name} takes {spec.files} weight file(s), not {len(choice.weights)}: {spec.weights.origin}"
            )
        sums: list[str | None] = [*choice.sha256, *[None] * len(choice.weights)]
        return [locate(source, sha256) for source, sha256 in zip(choice.weights, sums, strict=False)]
    if not spec.weights.origin.startswith("package:"):
        raise BadSpec(f"{spec.name} needs --weights PATH|URL: {spec.weights.origin}")
    return [locate(spec.weights.origin, choice.sha256[0] if choice.sha256 else spec.weights.sha256)]


def _own_module(model: str) -> dict[str, Path]:
    """The user's package, or lone module, that holds a model given as "package.module:NAME"."""
    top = model.partition(":")[0].partition(".")[0]
    if ":" not in model or top == "detserve":
        return {}
    found = find_spec(top)
    if found is None or found.origin is None:
        raise BadSpec(f"no files of {top!r} to pack; it needs an __init__.py")
    origin = Path(found.origin)
    if not found.submodule_search_locations:
        return {origin.name: origin}
    package = origin.parent
    return {path.relative_to(package.parent).as_posix(): path for path in package.rglob("*.py")}


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder for the engines. Raises BadArchive when its disk is full."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise BadArchive(
            f"no room in {tempfile.gettempdir()}: {error.strerror}; TMPDIR names another folder"
        ) from error


@contextmanager
def _step(what: str) -> Iterator[None]:
    """Print what is done, and how long it took."""
    print(f"{what} ...", end=" ", flush=True, file=sys.stderr)
    start = time.perf_counter()
    try:
        yield
    except BaseException:
        print("failed", file=sys.stderr)
        raise
    print(f"{time.perf_counter() - start:.1f} s", file=sys.stderr)
