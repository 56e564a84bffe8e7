"""A study's champion as one file: made, opened again, and held against what was trained."""

from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from tlsearch.config.paths import Layout, atomic_write, weights_path
from tlsearch.config.runtime import derive_seed
from tlsearch.data import dataset
from tlsearch.data.dataset import ImageSet
from tlsearch.data.decode import FULL_WHITE
from tlsearch.data.splits import draw_splits
from tlsearch.errors import RequestError, TlsearchError, WorkError
from tlsearch.models.export import (
    Classifier,
    Format,
    Halved,
    load_classifier,
    require_onnx,
    write_model,
)
from tlsearch.models.facts import ModelFacts
from tlsearch.models.predict import PortableModel, TorchModel, readings, to_input
from tlsearch.search.champion import champion_facts
from tlsearch.search.confirm import test_record
from tlsearch.search.store import FACTS, Store
from tlsearch.search.summary import summarise

TOLERANCE = 1e-3
"""How far a probability in the file may lie from the model that was traced. Another order of
summing comes to 1e-6 for a trained ResNet-18 and to 6e-5 for the worst of eight families at random
weights; a wrong layout or normalisation to 0.1 and more."""
CHECK_IMAGES = 1000
"""At most so many images are compared: a guess at what stays a matter of seconds."""
_RANDOM_IMAGES = 64
_BATCH_SIZE = 64


class Difference(NamedTuple):
    """Two models' answers side by side: the largest difference of a probability, and how many
    images got another class.
    """

    largest: float
    changed: int


class Exported(NamedTuple):
    """What was written. `checked` holds the file against the model as traced, `halved`, if the
    weights were rounded, against the model as trained; on `num_images` of `images`.
    """

    path: Path
    num_bytes: int
    kind: Format
    facts: ModelFacts
    images: str
    num_images: int
    checked: Difference
    halved: Difference | None

    def as_json(self) -> dict[str, Any]:
        """What `tlsearch export --json` tells."""
        return {
            "path": str(self.path.absolute()),
            "bytes": self.num_bytes,
            "format": self.kind,
            "model": self.facts.as_json(),
            "compared_on": {"images": self.images, "num_images": self.num_images},
            "file_against_torch": self.checked._asdict(),
            "half_against_full": self.halved and self.halved._asdict(),
        }


def export_study(
    store: Store, layout: Layout, *, path: Path | None, kind: Format, half: bool
) -> Exported:
    """Write the champion to `path`, or NAME.pt2 or NAME.onnx here; whole, checked, or not at all.

    Raises:
        RequestError: there is no champion, or ONNX is not installed.
        WorkError: the file answers otherwise than the model, or cannot be made.
        OSError: it cannot be written; an earlier file is left as it was.
    """
    if kind == "onnx":
        require_onnx(to_write=True)
    path = path or Path(f"{store.config.name}.{kind}")
    if path.is_dir():
        raise RequestError(f"--output = {path}: is a folder — name a file, such as {path}/m.{kind}")
    facts = _facts(store, layout, half)
    weights = _weights(store, layout, facts)
    trained = _load(weights, facts)
    module = Halved(_load(weights, facts)).eval() if half else trained
    pixels, images = _images(store, layout, facts)
    with atomic_write(path, suffix=f".{kind}") as draft:
        try:
            write_model(module, draft, facts=facts, kind=kind)
            written = readings(draft)
        except (RuntimeError, RequestError) as error:
            raise WorkError(
                f"the model could not be exported as {kind}: {str(error).splitlines()[0]}"
            ) from error
        traced = _answers(TorchModel(module, facts), pixels)
        checked = max(_difference(_answers(m, pixels), traced) for m in written)
        if not checked.largest <= TOLERANCE:  # so that NaN is refused as well
            raise WorkError(
                f"{path} was not written: in {kind} a probability differs by {checked.largest:.1e} "
                f"from the trained model's, more than {TOLERANCE:.0e}, on {images} — export it in "
                "the other format, and report this"
            )
        full = _difference(traced, _answers(TorchModel(trained, facts), pixels))
        num_bytes = draft.stat().st_size
    return Exported(
        path, num_bytes, kind, facts, images, len(pixels), checked, full if half else None
    )


def champion(store: Store, layout: Layout) -> TorchModel:
    """The confirmed winner, to be asked.

    Raises:
        RequestError: there is none.
    """
    facts = _facts(store, layout, half=False)
    return TorchModel(_load(_weights(store, layout, facts), facts), facts)


def _weights(store: Store, layout: Layout, facts: ModelFacts) -> Path:
    weights = weights_path(layout.study(store.config.name), facts.run)
    if not weights.exists():
        raise RequestError(
            f"{weights}: the champion's weights are gone — its model is still in MLflow "
            f"({test_record(store).get('model')}); or train it again with --fresh"
        )
    return weights


def _facts(store: Store, layout: Layout, half: bool) -> ModelFacts:
    config, record = store.config, dict(test_record(store))
    found = store.noted(FACTS)
    if not record or found is None:
        if not config.confirm.seeds:
            raise RequestError(
                f"name = {config.name!r}: the study confirms no winner (confirm: null), so it has "
                "no model to export — give it confirm: {top: 3, seeds: 3} and run it again"
            )
        failure = summarise(store, layout).failure
        if failure:
            raise RequestError(f"name = {config.name!r}: there is no model to export. {failure}")
        raise RequestError(
            f"name = {config.name!r}: the study has no confirmed winner yet, so it has no model to "
            "export — carry on with: tlsearch run STUDY"
        )
    facts = champion_facts(
        config,
        record,
        found["facts"]["class_names"],
        white=found["facts"].get("white", FULL_WHITE),  # of studies that did not say
    )
    return facts if not half else ModelFacts(**{**vars(facts), "weights": "float16"})


def _load(weights: Path, facts: ModelFacts) -> Classifier:
    return load_classifier(
        weights,
        backbone=facts.backbone,
        num_classes=len(facts.class_names),
        image_size=facts.image_size,
        normalisation=(facts.mean, facts.std),
    )


def _images(store: Store, layout: Layout, facts: ModelFacts) -> tuple[np.ndarray, str]:
    """Pixels uint8 (N, S, S, C) to compare on, and what they are."""
    place = layout.cache / "images" / store.noted(FACTS)["data"]
    # The cache may be deleted or damaged at any time.
    with suppress(OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile, TlsearchError):
        data = dataset.load(place)
        rows = _validation_rows(store, data, facts.run)
        rows = rows[:: -(-len(rows) // CHECK_IMAGES)]
        return np.ascontiguousarray(data.images[rows]), "images of the validation part"
    rng = np.random.default_rng(derive_seed(0, "export"))
    shape = (_RANDOM_IMAGES, facts.image_size, facts.image_size, 3)
    return rng.integers(0, 256, shape, dtype=np.uint8), "random images (the cache holds no others)"


def _validation_rows(store: Store, data: ImageSet, run: str) -> np.ndarray:
    """The validation images of this very model: its seed drew its own part."""
    spec = next(row.run for row in store.fixed_rows() if row.run.key == run)
    config = store.config.data
    splits = draw_splits(
        data,
        split=config.split,
        labels_per_class=config.labels_per_class,
        redraw=spec.redraw,
    )
    return splits[spec.folds[0]].validation


def _answers(model: PortableModel, pixels: np.ndarray) -> np.ndarray:
    starts = range(0, len(pixels), _BATCH_SIZE)
    parts = [model.probabilities(to_input(pixels[i : i + _BATCH_SIZE])) for i in starts]
    return np.concatenate(parts)


def _difference(one: np.ndarray, other: np.ndarray) -> Difference:
    changed = int((one.argmax(1) != other.argmax(1)).sum())
    return Difference(float(np.abs(one - other).max()), changed)
