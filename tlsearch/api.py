"""tlsearch from Python: what the commands do, with results to go on with."""

import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tlsearch.config.catalog import CATALOGUE, BackboneFacts, NetworkSpec
from tlsearch.config.paths import Layout, expanded, layout_here, write_text
from tlsearch.config.schema import StudyConfig
from tlsearch.errors import RequestError, refused, shown
from tlsearch.execution.messages import Notice, Preparing, Watcher
from tlsearch.search.preview import Preview, preview, refuse_unclaimed

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from PIL import Image

    from tlsearch.models.facts import ModelFacts
    from tlsearch.models.predict import PortableModel, Prediction
    from tlsearch.report.build import Format
    from tlsearch.search.store import Store

Item = TypeVar("Item")
REPORT = "report.html"
"""In the study's folder."""
_MOST_THREADS = 8  # that decode; a guess: more wait for the model


def _ignore(_notice: Notice) -> None:
    pass


def _described(spec: NetworkSpec) -> BackboneFacts:
    """The facts of a network that the catalogue lacks, by building it."""
    from tlsearch.models.describe import describe

    return describe(spec)


def load_study(
    path: str | Path,
    *,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    preset: str | None = None,
    on_note: Callable[[str], object] = warnings.warn,
) -> StudyConfig:
    """Read and check a study file.

    `overrides` are as `--set` takes them, `["budget.trials=4"]` or `{"budget.trials": 4}`; `preset`
    is one of the study's own. The environment's MLFLOW_TRACKING_URI goes before the file's address,
    an override before both. `on_note` is called with a sentence for each range that was cut.

    Raises:
        StudyError: all that is wrong with the file.
        RequestError: there is no such file, or a store's address cannot be used.
    """
    from tlsearch.config.loader import read_noted

    CATALOGUE.describe_with(_described)
    if isinstance(overrides, Mapping):
        texts = [f"{name}={json.dumps(value, default=_plain)}" for name, value in overrides.items()]
    else:
        texts = [overrides] if isinstance(overrides, str) else list(overrides)
    config, cuts = read_noted(Path(path), overrides=texts, preset=preset)
    for text in cuts:
        on_note(text)
    address = os.environ.get("MLFLOW_TRACKING_URI")
    is_given = any(text.partition("=")[0].strip() == "tracking_uri" for text in texts)
    if address and not is_given:
        config = config.model_copy(update={"tracking_uri": address})
    if config.tracking_uri is not None:
        from tlsearch.tracking.address import absolute_address

        absolute_address(config.tracking_uri)  # refused everywhere, before anything is made
    if config.storage is not None:
        from tlsearch.tracking.address import refuse_one_database

        mlflow = config.tracking_uri or f"sqlite:///{layout_here().mlflow_db.as_posix()}"
        refuse_one_database(storage=config.storage, tracking_uri=mlflow)
    return config


def _plain(value: Any) -> Any:
    """A path as text, a number of NumPy's as Python's."""
    return value.item() if hasattr(value, "item") else str(value)


def _require_study(given: object) -> None:
    if not isinstance(given, StudyConfig):
        rule, remedy = "is no study", "give what tlsearch.load_study(PATH) returns"
        raise refused("study", shown(given), rule, remedy)


def check(
    study: StudyConfig,
    *,
    label_errors: bool = False,
    scores: bool = False,
    progress: Watcher | None = None,
) -> Preview:
    """Look at a study, its images and this machine, and train nothing; `problems` of what is given
    say why it would not run.

    With `label_errors` its network looks for these, too, and with `scores` its networks are scored
    and timed; `progress` is called with `Preparing`.

    Raises:
        RequestError: no claim is about the arms, or the images or weights are not there.
        WorkError: images cannot be fetched, or the cache folder cannot be written.
    """
    _require_study(study)
    watch = progress or _ignore
    return preview(
        study,
        label_errors=label_errors,
        score=scores,
        on_progress=lambda share, text: watch(Preparing(share, text)),
    )


def run(
    study: StudyConfig,
    *,
    fresh: bool = False,
    progress: Watcher | None = None,
    publish: bool = True,
) -> "Results":
    """Carry a study on to its end, in processes of its own, and write its report; what is there
    already is not done again, unless the study is to start over (`fresh`).

    All of it lies in `mlruns/` in the current folder. A search that ends without a winner says so
    in `failure`. Without `publish` neither the report nor the dashboards are brought up to date.

    Raises:
        StoreError: the study changed since it was started, or another process runs it.
        RequestError: data or weights do not fit.
        WorkError: the work cannot go on.
        Interrupted: Ctrl-C; everything is kept, and the next call carries on.
    """
    _require_study(study)
    from tlsearch.execution.executor import start_server

    refuse_unclaimed(study)
    start_server()  # its imports and those that follow take seconds each
    from tlsearch.search.runner import run_study
    from tlsearch.tracking.store import manners_kept

    layout, watch = layout_here(), progress or _ignore
    with manners_kept():
        results = Results(run_study(study, layout=layout, fresh=fresh, watch=watch), layout)
        if publish and (trouble := results.publish()):
            warnings.warn(trouble, stacklevel=2)
    return results


def open_results(study: StudyConfig, *, start: str = "tlsearch.run(study)") -> "Results":
    """What a study found so far, also while another process runs it; creates nothing. `start` is
    how the error about a study that was not started says to start it.

    Raises:
        RequestError: it was not started in the current folder.
        WorkError: its storage cannot be read.
    """
    _require_study(study)
    from tlsearch.search.storage import open_storage
    from tlsearch.search.store import existing_store

    layout = layout_here()
    store = existing_store(study, open_storage(study, layout, create=False))
    if store is None:
        raise not_started(study.name, start)
    return Results(store, layout)


def not_started(name: str, start: str) -> RequestError:
    """The error about a study that was not started here."""
    return RequestError(
        f"name = {name!r}: no such study has been started in {Path.cwd()} — start it with: {start}"
    )


def load_model(study: StudyConfig | str | Path) -> "Model":
    """The confirmed winner of a study, or the model in a file that `tlsearch export` wrote.

    Raises:
        RequestError: there is none.
    """
    if isinstance(study, StudyConfig):
        from tlsearch.search.export import champion

        results = open_results(study)
        return Model(champion(results.store, results.layout))
    from tlsearch.models.predict import open_model

    return Model(open_model(expanded(study)))


@dataclass(frozen=True)
class Results:
    """What a study found. Frames are made when they are asked for, of what is stored then."""

    store: "Store"
    layout: Layout

    @property
    def name(self) -> str:
        """The study's."""
        return self.store.config.name

    @property
    def folder(self) -> Path:
        """What the study keeps: report, weights, pictures."""
        return self.layout.study(self.name)

    @property
    def failure(self) -> str:
        """Why a search that has come to its end has no winner; empty otherwise."""
        from tlsearch.search.summary import summarise

        return summarise(self.store, self.layout).failure

    def as_json(self, *, seconds: float | None = None) -> dict[str, Any]:
        """The object that `tlsearch run --json` ends with; `seconds` are the caller's."""
        from tlsearch.report.build import result_json

        path = self.folder / REPORT
        report = path if path.exists() else None
        return result_json(self.store, self.layout, report=report, seconds=seconds)

    @property
    def trials(self) -> "pd.DataFrame":
        """A row for each trial, of a comparison in each of its cells: number, state, value,
        `params_…` as sampled.
        """
        import pandas as pd

        rows = [
            {
                **({"scenario": row.run.scenario, "arm": row.run.arm} if self._compares else {}),
                "number": row.number,
                "state": row.state,
                "value": row.value,
                **{f"params_{name}": value for name, value in row.sampled.items()},
                "epochs": len(row.epochs),
                "seconds": row.seconds,
                "reason": row.reason,
            }
            for row in self.store.rows()
            if row.run.role == "trial"
        ]
        return pd.DataFrame(rows, columns=None if rows else ["number", "state", "value"])

    @property
    def runs(self) -> "pd.DataFrame":
        """A row for each training with all its `params_…`: trials, baselines, confirmations, …"""
        import pandas as pd

        named = ("key", "label", "role", "scenario", "arm", "trial", "seed", "backbone")
        rows = [
            {
                **{name: getattr(row.run, name) for name in named},
                "state": row.state,
                "value": row.value,
                "val_loss": row.val_loss,
                "epochs": len(row.epochs),
                "images_trained": row.images_trained,
                "seconds": row.seconds,
                "reason": row.reason,
                **{f"params_{name}": value for name, value in row.run.params.items()},
            }
            for row in self.store.rows()
        ]
        return pd.DataFrame(rows, columns=None if rows else [*named, "state", "value"])

    @property
    def epochs(self) -> "pd.DataFrame":
        """A row for each epoch of each training: `key` as in `runs`, losses, accuracies, rate."""
        import pandas as pd

        from tlsearch.training.results import EpochResult

        rows = [
            {"key": row.run.key, **epoch._asdict()}
            for row in self.store.rows()
            for epoch in row.epochs
        ]
        return pd.DataFrame(rows, columns=["key", *EpochResult._fields])

    @cached_property
    def claims(self) -> "pd.DataFrame":
        """A row for each claim of a comparison in each scenario, with the fields of
        `comparison.answers.ClaimAnswer`; of a search none.
        """
        import pandas as pd

        from tlsearch.comparison.answers import COLUMNS

        found = [asdict(claim) for claim in self._tables.claims] if self._compares else []
        return pd.DataFrame(found, columns=list(COLUMNS))

    @cached_property
    def tables(self) -> "Mapping[str, pd.DataFrame]":
        """The tables of a comparison by scenario, "all" over all of them: a row for each strategy,
        side and claim, with its verdict. Of a search none.
        """
        import pandas as pd

        figures = ("key", "says", "verdict", "effect", "low", "high", "unit", "n", "seeds")
        return {
            table.scenario: pd.DataFrame(
                [
                    {"id": row.id, "strategy": row.strategy, "side": cell.side}
                    | {name: getattr(answer, name) for name in figures}
                    for row in table.rows
                    for cell in row.cells
                    for answer in (self._tables.answer(c, table.scenario) for c in cell.claims)
                ],
                columns=["id", "strategy", "side", *figures],
            )
            for table in (self._tables.tables if self._compares else ())
        }

    @property
    def _compares(self) -> bool:
        return self.store.config.comparison is not None

    @cached_property
    def _tables(self) -> Any:
        from tlsearch.search.collect import tables_of

        return tables_of(self.store, self.folder)

    def report(self, path: str | Path | None = None, *, format: "Format" = "html") -> Path:  # noqa: A002
        """Write the report as one file, `report.html` in the study's folder unless a place or
        another format, `md`, `json` or `csv`, is named; where it was written.

        Raises:
            RequestError: there is no such format, or `csv` of a search, which has no claims.
            OSError: the file cannot be written.
        """
        from tlsearch.report.build import build_report

        place = self.folder / f"report.{format}" if path is None else Path(path)
        write_text(place, build_report(self.store, self.layout, format=format))
        return place

    def publish(self) -> str | None:
        """Write the report, and give it with figures and the answer to MLflow and Optuna Dashboard,
        unless they have them; what went wrong there, which fails no study.
        """
        from tlsearch.report.context import SearchReport, read_report
        from tlsearch.report.markdown import render_markdown
        from tlsearch.report.stills import stills_of
        from tlsearch.search.champion import publish

        path = self.report()
        found = read_report(self.store, self.layout)
        return publish(
            self.store,
            self.layout,
            text=render_markdown(found, whole=isinstance(found, SearchReport)),
            report=path,
            draw=lambda: stills_of(found, self.folder),
        )


class Model:
    """A finished model, on the CPU. `facts` say what it was trained on and how well it does."""

    def __init__(self, model: "PortableModel") -> None:
        self._model = model
        self.facts: ModelFacts = model.facts

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the probabilities."""
        return tuple(self.facts.class_names)

    def predict(
        self,
        images: "str | Path | Image.Image | np.ndarray | Iterable[Any]",
        *,
        probabilities: bool = False,
        batch_size: int = 64,
    ) -> "pd.DataFrame":
        """A row for each image: its path ("" of one in memory), label, probability, and why there
        is none; with `probabilities` a column `p:CLASS` for each class.

        `images` are one or several paths (files, folders, patterns), pictures of PIL's, or uint8
        arrays (H, W), (H, W, C) with 1, 3 or 4 channels, or a batch of such (N, H, W, C).

        Raises:
            RequestError: a path names nothing, an array is of another kind, or a batch of no size.
        """
        import pandas as pd

        if batch_size < 1:
            raise refused("batch_size", shown(batch_size), "must be at least 1", "leave it out")
        rows = []
        for item, found, error in self.answers(_items(images), batch_size=batch_size):
            place = str(item) if isinstance(item, Path) else ""
            row: dict[str, Any] = {"path": place, "label": None, "probability": None}
            if found is not None:
                best = int(found.argmax())
                row |= {"label": self.class_names[best], "probability": float(found[best])}
            row["error"] = error
            if probabilities:
                values = [None] * len(self.class_names) if found is None else found.tolist()
                row |= {f"p:{n}": p for n, p in zip(self.class_names, values, strict=True)}
            rows.append(row)
        shares = [f"p:{name}" for name in self.class_names] if probabilities else []
        return pd.DataFrame(rows, columns=["path", "label", "probability", "error", *shares])

    def answers(self, items: Iterable[Item], *, batch_size: int) -> "Iterator[Prediction[Item]]":
        """An answer for each path, picture or array as it comes, in their order."""
        from tlsearch.config.runtime import usable_cores
        from tlsearch.models.predict import predict

        threads = min(usable_cores(), _MOST_THREADS)
        return predict(
            self._model, items, decode=self._pixels, batch_size=batch_size, threads=threads
        )

    def _pixels(self, item: object) -> "np.ndarray | str":
        """The image as the model was trained on its like, or why there is none."""
        from PIL import Image

        from tlsearch.data.decode import Decoding, UnreadableImage, decode_image, decode_upright

        facts = self.facts
        how = Decoding(
            facts.image_size, facts.fit, facts.white, facts.background, facts.max_megapixels
        )
        try:
            if isinstance(item, Path):
                return decode_image(item, how).pixels
            picture = item if isinstance(item, Image.Image) else _picture(item)
            return decode_upright(picture, how).pixels
        except UnreadableImage as error:
            return str(error) or "unreadable"


def _items(images: Any) -> Iterator[Any]:
    """Each image for itself, of a list or a batch; paths are those of files."""
    from tlsearch.data.folder import find_files

    if isinstance(images, str | Path):
        yield from find_files([str(images)])
    elif isinstance(images, Iterable) and getattr(images, "ndim", 1) in (1, 4):
        for one in images:
            yield from _items(one)
    else:
        yield images


def _picture(values: Any) -> "Image.Image":
    import numpy as np
    from PIL import Image

    array: Any = values if isinstance(values, np.ndarray) else np.empty(0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    is_coloured = array.ndim == 3 and array.shape[2] in (3, 4)
    if array.dtype == np.uint8 and (array.ndim == 2 or is_coloured):
        return Image.fromarray(array)
    what = type(values).__name__
    if isinstance(values, np.ndarray):
        what = f"{values.dtype} {values.shape}"
    raise RequestError(
        f"images: {what} is no image — give paths, pictures of PIL's, or uint8 arrays (H, W), "
        "(H, W, 1), (H, W, 3) or (H, W, 4)"
    )
