"""What a worker keeps between jobs: images, pretrained weights, activations."""

import json
from collections.abc import Sequence
from copy import deepcopy
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from tlsearch.config.images import SplitConfig
from tlsearch.config.paths import (
    atomic_write,
    examples_path,
    scores_path,
    weights_path,
    write_text,
)
from tlsearch.config.runtime import OnProgress, derive_seed
from tlsearch.config.strategy import Strategy
from tlsearch.data import dataset as store
from tlsearch.data.splits import Split, draw_past, draw_splits, past_of
from tlsearch.errors import TlsearchError, WorkError
from tlsearch.execution.examples import NUM_EPOCHS, as_json, first_of_classes, training_views
from tlsearch.execution.head_init import HeadStart
from tlsearch.execution.measures import Trained, split_figures
from tlsearch.execution.messages import (
    JobFailed,
    ScoreJob,
    Setting,
    SharesJob,
    SurveyJob,
    TrainDone,
    TrainJob,
)
from tlsearch.execution.network_scores import (
    Facts,
    NetworkScores,
    score_network,
    source_images,
    survey,
    training_rows,
)
from tlsearch.execution.prepare import shares_of
from tlsearch.execution.runs import Run
from tlsearch.execution.source import (
    SourceData,
    SourceTask,
    adaptation_stage,
    glyph_probe,
    source_data,
    source_probe,
)
from tlsearch.metrics.registry import take_measures
from tlsearch.models.backbones import Backbone, Head
from tlsearch.models.pretrained import study_backbone
from tlsearch.models.weights import pretrained_state
from tlsearch.training.augmentation import Stage
from tlsearch.training.batches import Pixels, TrainingData, pixels_for
from tlsearch.training.cross_validation import CrossValidation, Training
from tlsearch.training.feature_cache import ActivationStore, Forward
from tlsearch.training.multi_task import SecondTask
from tlsearch.training.plan import make_plan
from tlsearch.training.precision import FP32, Numerics, compute_reproducibly
from tlsearch.training.results import TrainResult
from tlsearch.training.stacked_heads import HeadRun, train_heads
from tlsearch.training.trainer import Trainer


class _Frozen(NamedTuple):
    """A network whose head trains alone: the head as it was drawn, and what it sees, (R, F), of the
    rows that train or validate.
    """

    backbone: Backbone
    drawn: dict[str, torch.Tensor]
    data: TrainingData
    features: torch.Tensor


class Workbench:
    """Builds trainers for jobs of one setting; `on_progress` hears of what takes long before."""

    def __init__(
        self, setting: Setting, *, device_index: int | None, on_progress: OnProgress
    ) -> None:
        torch.set_num_threads(1)
        self._setting = setting
        self._config = setting.config
        cuda = setting.device == "cuda"
        self._device = torch.device(f"cuda:{device_index or 0}" if cuda else "cpu")
        self._on_progress = on_progress
        compute_reproducibly(self._device)
        self._numerics = Numerics(setting.precision)
        self._images = images = store.load(setting.store)
        backbone = self._config.backbone
        self._pixels = pixels_for(backbone, images=images.images, labels=images.labels)._replace(
            memory_format=self._numerics.memory_format
        )
        self._activations = self._activations_of(self._pixels, setting.activations_key)
        self._head_start = HeadStart(self._activations, device=self._device)
        self._splits = lru_cache(maxsize=16)(self._draw)
        self._pasts = lru_cache(maxsize=16)(self._draw_past)
        self._frozen = lru_cache(maxsize=1)(self._freeze)
        self._source_data = source_data(setting)

    def _activations_of(self, pixels: Pixels, key: str) -> ActivationStore:
        return ActivationStore(
            self._setting.activations, pixels=pixels, data_key=key, numerics=self._numerics
        )

    def trainer(self, job: TrainJob) -> Training:
        """A training, or one for each of the job's folds, from its first epoch."""
        assert (job.split is None) == (job.future is None), "a past is divided as one asks"
        run = job.run
        splits = self._splits(run.redraw)
        if job.split is not None and job.future is not None:
            splits = (self._pasts(job.split, job.future, run.redraw)[0],)
        folds = [self._training_data(splits[fold]) for fold in run.folds]
        if len(folds) == 1:
            return self._trainer(job, folds[0])
        return CrossValidation(lambda data: self._trainer(job, data), folds=folds)

    def _training_data(self, split: Split) -> TrainingData:
        return TrainingData(
            self._pixels,
            split.train,
            split.validation,
            self._setting.data.num_classes,
            self._images.weights,
        )

    def _trainer(self, job: TrainJob, data: TrainingData) -> Trainer:
        strategy, seed = job.run.strategy, job.run.seed
        backbone = self._backbone(
            dropout=strategy.dropout,
            seed=derive_seed(seed, "init"),
            pretrained=strategy.init == "pretrained",
        )
        self._head_start.prepare(backbone, strategy, data=data, seed=seed)
        plan = make_plan(
            strategy,
            groups=backbone.groups,
            num_train_images=len(data.train),
            num_epochs=job.run.num_epochs,
        )
        return Trainer(
            backbone,
            plan=plan,
            data=data,
            activations=self._activations,
            metric=self._config.search.metric,
            seed=seed,
            numerics=self._numerics,
            device=self._device,
            measure_updates="largest_step_norm" in job.measures,
            adaptation=self._adaptation(strategy, rows=data.train, seed=seed),
            second_task=self._second_task(strategy, backbone, seed=seed),
        )

    def train_heads(self, jobs: Sequence[TrainJob]) -> dict[str, TrainDone | JobFailed]:
        """Train the head alone in each of these jobs, of the same images and seed; how it ended, by
        the key of its run. Nothing where the features are too large to be kept.
        """
        run = jobs[0].run
        frozen = self._frozen(run.redraw, run.folds[0], run.seed, run.init)
        if frozen is None:
            return {}
        backbone, data = frozen.backbone, frozen.data
        found, runs = dict[str, TrainDone | JobFailed](), dict[str, HeadRun]()
        for job in jobs:
            try:
                runs[job.key] = self._head_run(job, frozen)
            except TlsearchError as error:
                found[job.key] = JobFailed(job.key, str(error), error.exit_code, "")
        trained = train_heads(
            list(runs.values()),
            features=frozen.features,
            data=data,
            metric=self._config.search.metric,
        )
        for job, head in zip([job for job in jobs if job.key in runs], trained, strict=True):
            found[job.key] = TrainDone(job.key, head.result.ending, head.result)
            if head.result.ending == "complete" and (job.keep_weights or job.keep_scores):
                backbone.head.load_state_dict(head.state)
                backbone.head.selected = runs[job.key].selected
                if job.keep_weights:
                    self.save_weights(backbone, job.key)
                if job.keep_scores:
                    self.score_one(backbone, job.key)
        return found

    def _freeze(
        self, redraw: int, fold: int, seed: int, init: Literal["pretrained", "random"]
    ) -> "_Frozen | None":
        data = self._training_data(self._splits(redraw)[fold])
        backbone = self._backbone(
            dropout=0.0, seed=derive_seed(seed, "init"), pretrained=init == "pretrained"
        )
        backbone.to(self._device, self._numerics.memory_format)
        rows = np.union1d(data.train, data.validation)
        kept = self._activations.at_depth(backbone.stages[:-1], rows, device=self._device)
        if kept is None or kept.flatten(1).shape[1] != backbone.head.in_features:
            return None
        return _Frozen(
            backbone, deepcopy(backbone.head.state_dict()), data, kept.flatten(1).float()
        )

    def _head_run(self, job: TrainJob, frozen: "_Frozen") -> HeadRun:
        """A run of the head alone, from where it would start by itself."""
        strategy, head = job.run.strategy, frozen.backbone.head
        plan = make_plan(
            strategy,
            groups=frozen.backbone.groups,
            num_train_images=len(frozen.data.train),
            num_epochs=job.run.num_epochs,
        )
        head.load_state_dict(frozen.drawn)
        head.selected = None
        self._head_start.prepare(frozen.backbone, strategy, data=frozen.data, seed=job.run.seed)
        return HeadRun(
            plan=plan, seed=job.run.seed, state=deepcopy(head.state_dict()), selected=head.selected
        )

    def measure(self, job: TrainJob, trainer: Training, result: TrainResult) -> dict[str, float]:
        """What the job wants measured of its training, which has ended with `result`, and what its
        split estimates of the future.
        """
        assert isinstance(trainer, Trainer), "folds are not measured"
        pretrained = job.run.init == "pretrained" and self._setting.weights != "none"
        trained = Trained(
            trainer=trainer,
            result=result,
            test=self._splits(0)[0].test,
            pretrained=self._pretrained if pretrained else None,
            source=(lambda: self._source_task) if pretrained and self._source_data else None,
        )
        return {**take_measures(job.measures, trained), **self._split_figures(job, trainer)}

    def _pretrained(self) -> Backbone:
        """The network before training, its head at random."""
        backbone = self._backbone(dropout=0.0, seed=0, pretrained=True)
        backbone.to(self._device)
        return backbone

    # What is built from the images that the network was pretrained on.

    @property
    def _source(self) -> SourceData:
        assert self._source_data is not None, "a study without source images was refused before"
        return self._source_data

    @cached_property
    def _source_task(self) -> SourceTask:
        """The source's task as the pretrained network knows it."""
        setting, pretrained = self._setting, self._pretrained()
        if setting.source is None:
            probe = glyph_probe(pretrained, weights=Path(setting.weights), data=self._source)
        else:
            key = f"{setting.config.backbone.name} {setting.weights_fingerprint}"
            folder = setting.activations.parent / "probes"
            probe = source_probe(pretrained, self._source, folder=folder, weights_key=key)
        return SourceTask(pretrained, data=self._source, probe=probe)

    def _adaptation(self, strategy: Strategy, *, rows: np.ndarray, seed: int) -> Stage | None:
        """The `adaptation_stage` of a training part, `rows`; None for none."""
        setting = self._setting
        name = setting.config.backbone.name
        return adaptation_stage(
            strategy,
            pixels=self._pixels,
            rows=rows,
            source=lambda: self._source,
            seed=seed,
            pretrained=self._pretrained,
            folder=setting.activations.parent / "styled",
            style_keys=(setting.activations_key, setting.weights_fingerprint, name),
            # The study's own, so that its trials and redraws see the same pictures.
            style_seed=setting.config.search.seed,
            device=self._device,
            on_progress=self._on_progress,
        )

    def _second_task(
        self, strategy: Strategy, backbone: Backbone, *, seed: int
    ) -> SecondTask | None:
        """The source's task beside the target's; None where it has no weight."""
        if not strategy.source_task_weight:
            return None
        source = self._source
        return SecondTask(
            backbone,
            head=self._source_head(strategy, seed),
            pixels=source.train.pixels,
            rows=source.train.rows,
            key=source.key,
            weight=strategy.source_task_weight,
            activations=self._activations_of(source.train.pixels, source.key),
            numerics=self._numerics,
            device=self._device,
            seed=seed,
        )

    def _source_head(self, strategy: Strategy, seed: int) -> Head:
        if strategy.init == "pretrained":
            return self._source_task.head()
        width = self._pretrained().head.in_features
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive_seed(seed, "source head"))
            return Head(width, self._source.num_classes, dropout=0.0, flattens=False, device="cpu")

    # What is kept of a training that has ended.

    def save_weights(self, backbone: Backbone, key: str) -> None:
        """Keep all weights of a trained network, head included."""
        path = weights_path(self._setting.folder, key)
        state = backbone.model.state_dict()
        try:
            with atomic_write(path) as draft:
                save_file({k: v.cpu().contiguous() for k, v in state.items()}, draft)
        except (OSError, SafetensorError) as error:
            raise WorkError(
                f"{path}: cannot be written ({error}) — free some disk space, then run again"
            ) from error

    def score(self, job: ScoreJob) -> None:
        """`score_one` of each model whose weights were kept."""
        backbone = self._backbone(dropout=0.0, seed=0, pretrained=False)
        for key in job.keys:
            backbone.model.load_state_dict(load_file(weights_path(self._setting.folder, key)))
            self.score_one(backbone, key)

    def score_one(self, backbone: Backbone, key: str) -> None:
        """Keep a network's probabilities (N, K) on the test part beside the labels and rows."""
        rows = self._splits(0)[0].test
        probabilities = self._forward(backbone).evaluate(rows)[0].softmax(1).cpu().numpy()
        with atomic_write(scores_path(self._setting.folder, key)) as draft:
            np.savez(
                draft, probabilities=probabilities, labels=self._pixels.labels[rows], rows=rows
            )

    def keep_examples(self, run: Run) -> None:
        """Write the pictures that the report shows of a run that was scored."""
        folder = self._setting.folder
        with scores_path(folder, run.key).open("rb") as raw, np.load(raw) as scores:
            rows, probabilities = scores["rows"], scores["probabilities"]
        split = self._splits(run.redraw)[run.folds[0]]
        trained = first_of_classes(self._pixels.labels, split.train)
        views = training_views(
            # Attacks are shown on the network before training, as by `tlsearch check --views`.
            self._forward(self._pretrained()),
            run.strategy,
            trained,
            adaptation=self._adaptation(run.strategy, rows=trained, seed=run.seed),
            num_classes=self._setting.data.num_classes,
            seed=run.seed,
            num_epochs=min(run.num_epochs, NUM_EPOCHS),
        )
        content = as_json(
            self._images, rows=rows, probabilities=probabilities, trained=trained, views=views
        )
        write_text(examples_path(folder, run.key), json.dumps(content))

    def _forward(self, backbone: Backbone) -> Forward:
        """A network as the model computes that is handed on."""
        return Forward(
            backbone,
            pixels=self._pixels,
            activations=None,
            kept_rows=None,
            numerics=FP32,
            device=self._device,
        )

    def _split_figures(self, job: TrainJob, trainer: Trainer) -> dict[str, float]:
        """`split_figures` of a finished training; none where its job has no future."""
        if job.split is None or job.future is None:
            return {}
        assert isinstance(trainer, Trainer), "a past is not cross-validated"
        parts, future = self._pasts(job.split, job.future, job.run.redraw)
        return split_figures(trainer.forward, parts, future)

    def shares(self, job: SharesJob) -> dict[str, list[float]]:
        """The answer to the job: each split's distances (`shares_of`)."""
        return shares_of(self._images, job, labels_per_class=self._config.data.labels_per_class)

    def survey(self, job: SurveyJob) -> Facts:
        """The facts of `survey` for the study's own split."""
        config, data = self._config, self._images
        if job.future is None:
            parts, past = self._splits(0)[0], data
        else:
            past, _ = past_of(data, share=job.future)
            parts, _ = self._draw_past(config.data.split, job.future, config.data.split.seed)
        return survey(
            data,
            parts=parts,
            looked_at=np.setdiff1d(past.usable, parts.test),
            backbone=self._backbone(dropout=0.0, seed=0, pretrained=True),
            source=source_images(self._setting),
            device=self._device,
            seed=config.data.split.seed,
        )

    def score_network(self) -> NetworkScores:
        """What the network promises, by its frozen features of the training part."""
        return score_network(
            self._config,
            self._images,
            training_rows(self._images, self._config),
            weights=self._setting.weights,
            state=self._read_weights(),
            device=self._device,
        )

    def _backbone(self, *, dropout: float, seed: int, pretrained: bool) -> Backbone:
        return study_backbone(
            self._config,
            num_classes=self._setting.data.num_classes,
            dropout=dropout,
            seed=seed,
            state=self._read_weights() if pretrained else None,
        )

    def _read_weights(self) -> dict[str, torch.Tensor] | None:
        # Read each time: the system keeps the file at hand, and a worker need not keep a copy.
        return pretrained_state(backbone=self._config.backbone.name, weights=self._setting.weights)

    def _draw_past(self, split: SplitConfig, future: float, seed: int) -> tuple[Split, np.ndarray]:
        return draw_past(
            self._images,
            split=split,
            labels_per_class=self._config.data.labels_per_class,
            share=future,
            seed=seed,
        )

    def _draw(self, redraw: int) -> tuple[Split, ...]:
        return draw_splits(
            self._images,
            split=self._config.data.split,
            labels_per_class=self._config.data.labels_per_class,
            redraw=redraw,
        )
