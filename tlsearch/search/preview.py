"""What a study is before it is run: its images and their parts, notes, claims, what it takes; no
Optuna, and torch only for what no other can tell: weights of one's own, CUDA.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from tlsearch.config.catalog import CATALOGUE
from tlsearch.config.catalog import in_words as network_in_words
from tlsearch.config.cells import Cell, cell_config, cells, compared, scenario_config
from tlsearch.config.checks import knows_source, notes, strategy_notes
from tlsearch.config.cost import Estimate, estimate, part_sizes, plan
from tlsearch.config.images import DataConfig
from tlsearch.config.paths import expanded, user_cache
from tlsearch.config.resolved import identity, redacted
from tlsearch.config.runtime import OnProgress
from tlsearch.config.schema import StudyConfig, is_weights_file
from tlsearch.config.sources import EmbeddedSource, source_name
from tlsearch.config.space import raw
from tlsearch.data.records import Audit, AuditError, audit_of_counts, csv_text, refuse_errors
from tlsearch.data.records import as_json as audit_json
from tlsearch.errors import RequestError, TlsearchError, WorkError, refused, shown
from tlsearch.models.weights import named_origin

if TYPE_CHECKING:
    from tlsearch.comparison.claims import Claim
    from tlsearch.data.dataset import ImageSet
    from tlsearch.execution.network_scores import NetworkScores


class Checked(NamedTuple):
    """The audit, why the study cannot go on with it, images of each class in each part (None where
    nothing was read), notes on the split, and its folds: the parts are the first fold's.
    """

    audit: Audit
    refusal: RequestError | None
    parts: Mapping[str, tuple[int, ...]] | None
    notes: tuple[str, ...] = ()
    folds: int | None = None


Scores = Mapping[str, "Sequence[NetworkScores]"]
"""The scores of a study's networks, by scenario."""


@dataclass(frozen=True, kw_only=True)
class Preview:
    """All that is known of a study before it is run: `checked` its images by scenario, a search's
    under "", `here` sentences on this machine, `scored` its networks' scores if they were asked for
    and no images were refused.
    """

    config: StudyConfig
    checked: Mapping[str, Checked]
    here: tuple[str, ...]
    scored: Scores | None

    @property
    def problems(self) -> tuple[RequestError, ...]:
        """Why the study would not run with these images; one for each scenario that would not."""
        return tuple(
            RequestError(f"scenario {name!r}: {found.refusal}") if name else found.refusal
            for name, found in self.checked.items()
            if found.refusal is not None
        )

    @property
    def networks(self) -> dict[str, str]:
        """What each network costs, and where it can be cut."""
        backbone = self.config.backbone
        return {
            name: network_in_words(CATALOGUE[name], weights=backbone.weights_of(name))
            for name in backbone.with_weights
        }

    @property
    def notes(self) -> list[str]:
        """What is no mistake, but good to know: one sentence each."""
        of_splits = [note for found in self.checked.values() for note in found.notes]
        return [*study_notes(self.config), *self.here, *of_splits]

    def as_json(self) -> dict[str, Any]:
        """The object that `tlsearch check --json` prints."""
        more = {} if self.scored is None else {"scores": scores_json(self.scored)}
        return {**_as_json(self), **more}


def preview(
    config: StudyConfig, *, label_errors: bool, score: bool, on_progress: OnProgress
) -> Preview:
    """Look at a study, its images and this machine, and train nothing.

    Raises:
        RequestError: no claim is about the arms, or the images or weights are not there.
        WorkError: images cannot be fetched, or the cache folder cannot be written.
    """
    refuse_unclaimed(config)
    here = tuple(_on_this_machine(config))
    checked = audit_scenarios(config, label_errors=label_errors, on_progress=on_progress)
    is_fine = all(found.refusal is None for found in checked.values())
    scored = score_networks(config, on_progress) if score and is_fine else None
    return Preview(config=config, checked=checked, here=here, scored=scored)


def _as_json(found: Preview) -> dict[str, Any]:
    """The resolved study, what is searched, the audits, and what it all takes."""
    config, checked = found.config, found.checked
    searched = {
        arm: {name: raw(d) for name, d in ours.searched().items()}
        for arm, ours in arms_of(config).items()
    }
    audits = {name: {**audit_json(one.audit), "parts": one.parts} for name, one in checked.items()}
    shared = {
        "study": redacted(config).model_dump(mode="json"),
        "identity": identity(config),
        "searched": searched if config.comparison else searched[""],
        "networks": found.networks,
        "notes": found.notes,
    }
    if config.comparison is None:
        cost = cost_of(config, checked[""])
        return {
            **shared,
            "audit": audits[""],
            "estimate": cost and cost._asdict(),
            "source_models_to_train": source_models_to_train([config]),
        }
    sizes = {name: sizes_of(config, name, c) for name, c in checked.items() if not c.refusal}
    is_complete = len(sizes) == len(checked)
    return {
        **shared,
        "claims": [{"id": claim.id, "says": claim.says} for claim in claims_of(config)],
        "scenarios": {
            name: {"audit": audit, "sizes": sizes[name]._asdict() if name in sizes else None}
            for name, audit in audits.items()
        },
        "comparison": outlook(config, sizes) if is_complete else None,
    }


def arms_of(config: StudyConfig) -> dict[str, StudyConfig]:
    """A study of each arm that is run: its space is the same in all its scenarios. A search is one
    arm without a name.
    """
    if config.comparison is None:
        return {"": config}
    comparison = config.comparison
    scenario = {cell.arm: cell.scenario for cell in reversed(cells(comparison))}
    return {
        arm: cell_config(config, Cell(scenario[arm], arm))
        for arm in comparison.arms
        if arm in scenario
    }


def study_notes(config: StudyConfig) -> list[str]:
    """What is no mistake, but good to know before running: one sentence each."""
    if config.comparison is None:
        return notes(config)
    of_cells = dict.fromkeys(
        note
        for cell in cells(compared(config))
        for note in strategy_notes(cell_config(config, cell))
    )
    return [*of_cells, *_claim_notes(config)]


def _on_this_machine(config: StudyConfig) -> list[str]:
    """What a run here would take for the weights, and that it would find no GPU.

    Raises:
        WeightsError: a file of weights is damaged, or of another network.
    """
    configs = [config]
    if config.comparison is not None:
        configs = [cell_config(config, cell) for cell in cells(config.comparison)]
    networks = [ours.with_backbone(name) for ours in configs for name in ours.backbone.names]
    origins: dict[str, None] = {}
    for ours in networks:
        backbone = ours.backbone
        if is_weights_file(backbone.weights):
            from tlsearch.models.pretrained import origin_of

            origins[origin_of(ours)] = None
        else:
            origins[named_origin(backbone=backbone.name, weights=backbone.weights)] = None
    found = [text for text in origins if text]
    if any(ours.device == "cuda" for ours in configs):
        import torch

        if not torch.cuda.is_available():
            found.append("device = 'cuda': torch finds no CUDA device on this machine")
    return found


# Images.


def scenarios_of(config: StudyConfig) -> dict[str, StudyConfig]:
    """What the arms of each scenario share; a search is one scenario without a name."""
    if config.comparison is None:
        return {"": config}
    return {name: cell_config(config, Cell(name, "")) for name in compared(config).used}


def audit_scenarios(
    config: StudyConfig, *, label_errors: bool, on_progress: OnProgress
) -> dict[str, Checked]:
    """Audit the images of each scenario; scenarios that share all of `data` are read once. Of
    table B the split of every arm is drawn as well, before the future.

    Raises:
        RequestError: a source or a weights file is not there, weights do not fit, or the images
            cannot be divided.
        WorkError: a source cannot be fetched, or the cache folder cannot be written.
    """
    known: dict[str, Checked] = {}
    found = {}
    for scenario, ours in scenarios_of(config).items():
        # The search for label errors takes the backbone.
        same = ours.model_dump_json(include={"data", "backbone"} if label_errors else {"data"})
        arms = {}
        if config.comparison is not None and config.comparison.future is not None:
            names = config.comparison.arms_in(scenario)
            arms = {name: cell_config(config, Cell(scenario, name)).data for name in names}
            same += repr(names)
        if same not in known:
            try:
                known[same] = audit_images(
                    ours, label_errors=label_errors, arms=arms, on_progress=on_progress
                )
            except TlsearchError as error:
                if not scenario:
                    raise
                kind = RequestError if isinstance(error, RequestError) else WorkError
                raise kind(f"scenario {scenario!r}: {error}") from None
        found[scenario] = known[same]
    return found


def audit_images(
    config: StudyConfig,
    *,
    label_errors: bool,
    arms: Mapping[str, DataConfig],
    on_progress: OnProgress,
) -> Checked:
    """Audit a study's images, and read those of `backbone.source`. An embedded source is not made:
    its numbers are known, unless defects are planted into it or `arms` of table B divide it.

    Raises:
        As `audit_scenarios` does.
    """
    _require_weights(config)
    source = config.data.source
    try:
        if config.backbone.source is not None:
            from tlsearch.data.sources import read_source

            read_source(config, cache=user_cache() / "images", on_progress=on_progress)
        if not isinstance(source, EmbeddedSource) or config.data.planted is not None or arms:
            return _read(config, label_errors, arms, on_progress)
        counts = [(f"class {i}", count) for i, count in enumerate(source.class_counts())]
        audit = audit_of_counts(counts, config.data.audit)
        if label_errors:
            why = f"Label errors were not looked for: {source_name(source)} is embedded."
            audit = replace(audit, unseen=(why,))
        refuse_errors(audit)
        return Checked(audit, None, None)
    except AuditError as error:
        return Checked(error.audit, error, None)


def _require_weights(config: StudyConfig) -> None:
    given = config.backbone.given_weights
    for weights in [given] if isinstance(given, str) else given.values():
        if is_weights_file(weights) and not expanded(weights).exists():
            from tlsearch.models.weights import no_such_file

            raise no_such_file(expanded(weights))


def _read(
    config: StudyConfig,
    label_errors: bool,
    arms: Mapping[str, DataConfig],
    on_progress: OnProgress,
) -> Checked:
    from tlsearch.data.sources import read_images
    from tlsearch.execution.prepare import audit_labels_alone, divide

    cache = user_cache()
    with TemporaryDirectory() as folder:
        data, audit = read_images(config.data, cache=cache / "images", on_progress=on_progress)
        if label_errors:
            audit = audit_labels_alone(
                data,
                audit,
                config,
                cache=Path(folder),
                user_cache=cache,
                threads=1,
                on_progress=on_progress,
            )
        else:
            audit = replace(audit, unseen=(*audit.unseen, _label_errors_unseen(config)))
    if arms:
        _divide_as_arms_do(config, arms, data)
    facts, _ = divide(data, config)
    if arms:  # the parts of all images are none of table B's
        return Checked(audit, None, None, (), facts.split.folds)
    counts = (facts.train_counts, facts.validation_counts, facts.test_counts)
    parts = dict(zip(("train", "validation", "test"), counts, strict=True))
    return Checked(audit, None, parts, facts.split.notes, facts.split.folds)


def _label_errors_unseen(config: StudyConfig) -> str:
    if config.data.audit.label_errors == "off":
        return "Label errors are not looked for: label_errors is off."
    return (
        "Label errors were not looked for, which needs the backbone: `tlsearch run` does it, or "
        "add --label-errors here."
    )


def _divide_as_arms_do(
    config: StudyConfig, arms: Mapping[str, DataConfig], data: "ImageSet"
) -> None:
    """Draw what a run of table B does: the scenario's own split, by which its images are surveyed,
    and that of each arm with every seed.

    Raises:
        RequestError: the images cannot be divided so.
    """
    from tlsearch.data.splits import draw_past
    from tlsearch.execution.prepare import refuse_past

    share, split = compared(config).future, config.data.split
    assert share is not None
    labels = config.data.labels_per_class
    draw_past(data, split=split, labels_per_class=labels, share=share, seed=split.seed)
    for name, ours in arms.items():
        refuse_past(
            data,
            split=ours.split,
            labels_per_class=ours.labels_per_class,
            share=share,
            seeds=range(1, compared(config).confirm.seeds + 1),
            name=name,
        )


def write_listing(checked: Mapping[str, Checked], path: Path) -> None:
    """The files of all findings as CSV; of a comparison scenario by scenario.

    Raises:
        OSError: the place is read-only or full.
    """
    text = csv_text({scenario: found.audit for scenario, found in checked.items()})
    path.write_text(text, encoding="utf-8", newline="")


def score_networks(config: StudyConfig, on_progress: OnProgress) -> Scores:
    """Scenarios that share data and networks are scored once.

    Raises:
        RequestError: data or weights do not fit the study.
        WorkError: something cannot be read, written or fetched.
    """
    from tlsearch.execution.network_scores import score_study

    known: dict[str, Sequence[NetworkScores]] = {}
    found = {}
    for name in scenarios_of(config):
        ours = scenario_config(config, name) if name else config
        same = ours.model_dump_json(include={"data", "backbone", "device", "precision"})
        if same not in known:
            known[same] = score_study(ours, user_cache=user_cache(), on_progress=on_progress)
        found[name] = known[same]
    return found


def scores_json(scored: Scores) -> Any:
    """A list of the networks' figures; of a comparison one for each scenario."""
    found: dict[str, Any] = {
        name: [one.as_json() for one in networks] for name, networks in scored.items()
    }
    return found.get("", found)


# The claims that a comparison answers, and those that it cannot answer as it is.


_OF_THE_SOURCE = ("cka_drift", "source_accuracy", "domain_distance", "adapted_distance")
"""Statistics that are taken on images of the source task."""


def _arm_names(config: StudyConfig) -> list[str]:
    return list(dict.fromkeys(cell.arm for cell in cells(compared(config))))


def claims_of(config: StudyConfig) -> "list[Claim]":
    """Those of the arms that are run."""
    from tlsearch.comparison.claims import claims_for

    comparison = compared(config)
    arms, reference = _arm_names(config), comparison.reference_arm
    return claims_for(comparison.table, arms=arms, reference=reference)


def refuse_unclaimed(config: StudyConfig) -> None:
    """Refuse a comparison that would train its arms and find nothing to judge.

    Raises:
        RequestError: no claim of the documents' text is about the arms.
    """
    if config.comparison is None or config.comparison.table != "C" or claims_of(config):
        return
    rule = "no claim of table C is about these arms"
    remedy = "write comparison.table: own, which compares each arm with comparison.reference"
    raise refused("comparison.arms", shown(_arm_names(config)), rule, remedy)


def _claim_notes(config: StudyConfig) -> Iterator[str]:
    """Arms that no claim is about, claims about kinds of scenarios that are not among those that
    are run, and claims whose figures are taken on images of the source, where none are known.
    """
    from tlsearch.comparison.claims import unclaimed

    comparison, claims = compared(config), claims_of(config)
    left = unclaimed(_arm_names(config)) if comparison.table == "C" else []
    if any(claim.statistic == "score_correlation" for claim in claims):
        # There every network counts, whatever its arm is called.
        left = [arm for arm in left if "backbone.name" not in comparison.arms[arm]]
    if left:
        verb = "is trained" if len(left) == 1 else "are trained"
        yield (
            f"no claim is about {', '.join(map(repr, left))}, which {verb} without a verdict; "
            "comparison.table: own compares every arm with one of them"
        )
    declared = [comparison.scenarios[name].traits for name in comparison.used]
    missing: dict[str, list[Claim]] = {}
    for claim in claims:
        kinds = [kind for kind in (claim.scenario, claim.elsewhere) if kind is not None]
        absent = [kind for kind in kinds if not any(map(kind.includes, declared))]
        if absent:
            missing.setdefault(absent[0].in_words(), []).append(claim)
    for wanted, about in missing.items():
        yield (
            f"{_named(about)} will not be answered: no scenario is declared {wanted} "
            "(comparison.scenarios.NAME.traits)"
        )
    known = {c.arm for c in cells(comparison) if knows_source(cell_config(config, c))}
    of_source = [claim for claim in claims if claim.statistic in _OF_THE_SOURCE]
    unsourced = [claim for claim in of_source if claim.arm not in known]
    if unsourced:
        yield (
            f"{_named(unsourced)} will not be answered: no images of the source task are known — "
            "write backbone.source: {folder: PATH}, labelled images of that task"
        )


def _named(claims: "Sequence[Claim]") -> str:
    return " and ".join(f"{claim.id} ({claim.says})" for claim in claims)


# What a study takes, and what so many seeds and test images can show.


class Sizes(NamedTuple):
    """A scenario's images that any part may hold, its classes, and the images of each part."""

    images: int
    classes: int
    train: int
    validation: int
    test: int


def sizes_of(config: StudyConfig, scenario: str, found: Checked) -> Sizes:
    """Counted where the images were read, and about right where they are known to be."""
    ours, future = cell_config(config, Cell(scenario, "")), compared(config).future
    images, classes = round(found.audit.num_used * (1 - (future or 0))), _num_classes(found)
    if found.parts is not None and not future:
        return Sizes(images, classes, *(sum(counts) for counts in found.parts.values()))
    ((train, validation), *_), test = part_sizes(ours, num_images=images, num_classes=classes)
    return Sizes(images, classes, train, validation, test)


def outlook(config: StudyConfig, sizes: Mapping[str, Sizes]) -> dict[str, Any]:
    """What a comparison takes, source models that must be trained before, and the least difference
    in test accuracy that it should find in one scenario and over all of them; None for table B,
    which compares splits and not accuracy.
    """
    costs = plan(config, {scenario: (s.images, s.classes) for scenario, s in sizes.items()})
    smallest, pooled = _smallest_effects(config, sizes)
    return {
        "trainings": costs.trainings,
        **costs._asdict(),
        "source_models_to_train": source_models_to_train(
            cell_config(config, cell) for cell in cells(compared(config))
        ),
        "smallest_effect": smallest,
        "smallest_effect_pooled": pooled,
    }


def _smallest_effects(
    config: StudyConfig, sizes: Mapping[str, Sizes]
) -> tuple[float | None, float | None]:
    """In the scenario with the fewest test images, and pooled over the test parts that differ."""
    from tlsearch.comparison.power import TYPICAL_ACCURACY, smallest_effect

    comparison = compared(config)
    tested = sum(claim.direction != "none" for claim in claims_of(config))
    if comparison.table == "B" or not tested:
        return None, None
    data = [ours.data for ours in scenarios_of(config).values()]
    tests = {found.model_dump_json(exclude={"labels_per_class"}) for found in data}
    noise = TYPICAL_ACCURACY._replace(num_images=max(2, min(s.test for s in sizes.values())))
    one, pooled = (
        smallest_effect(
            noise,
            seeds=comparison.confirm.seeds,
            claims=tested,
            blocks=blocks,
        )
        for blocks in (1, len(tests))
    )
    return one, pooled


def cost_of(config: StudyConfig, checked: Checked) -> Estimate | None:
    """Of a search; None where it cannot run with these images."""
    if checked.refusal is not None:
        return None
    return estimate(config, num_images=checked.audit.num_used, num_classes=_num_classes(checked))


def _num_classes(checked: Checked) -> int:
    return sum(count > 0 for _, count in checked.audit.class_counts)


def source_models_to_train(configs: Iterable[StudyConfig]) -> list[str]:
    """Those that are not in the user's cache, as `resnet10 at 32 px`; creates nothing."""
    wanted = {
        (name, config.data.size): None
        for config in configs
        for name in config.backbone.names
        if config.backbone.weights_of(name) == "glyphs"
    }
    if not wanted:
        return []
    from tlsearch.data.glyph_recipe import cached_glyph_weights

    return [
        f"{name} at {size} px"
        for name, size in wanted
        if cached_glyph_weights(backbone=name, image_size=size, cache=user_cache()) is None
    ]
