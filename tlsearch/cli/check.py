"""`tlsearch check`: the resolved study, its space, images, claims and cost; no Optuna, and torch
only for what no other can tell: weights of one's own, CUDA.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tlsearch.cli.check_images import (
    Checked,
    audit_scenarios,
    scenarios_of,
    score_networks,
    scores_json,
    show_audit,
    show_parts,
    show_scores,
    write_listing,
)
from tlsearch.cli.console import progress
from tlsearch.config.cells import Cell, cell_config, cells, compared
from tlsearch.config.checks import knows_source, notes, strategy_notes
from tlsearch.config.cost import Estimate, estimate, part_sizes, plan
from tlsearch.config.packaged import PACKAGED
from tlsearch.config.paths import user_cache
from tlsearch.config.resolved import identity, redacted, schema_text, to_yaml
from tlsearch.config.schema import StudyConfig, is_weights_file
from tlsearch.config.space import Fixed, in_words, raw
from tlsearch.data.records import as_json as audit_json
from tlsearch.errors import RequestError, refused, shown

if TYPE_CHECKING:
    from tlsearch.comparison.claims import Claim


def schema() -> str:
    """The JSON Schema of study files."""
    return schema_text().rstrip()


def check(
    config: StudyConfig, *, label_errors: bool, score: bool, files: Path | None, as_json: bool
) -> None:
    """Print a study as a user reads it, or as JSON.

    Raises:
        RequestError: no claim is about the arms, or the images are not as the study wants them;
            all findings are printed before.
        WorkError: images cannot be fetched, or the cache folder cannot be written.
    """
    refuse_unclaimed(config)
    here = _on_this_machine(config)
    checked = audit_scenarios(config, label_errors=label_errors)
    refusals = {scenario: c.refusal for scenario, c in checked.items() if c.refusal is not None}
    if files is not None:
        write_listing(checked, files)
    scored = score_networks(config) if score and not refusals else None
    if as_json:
        more = {} if scored is None else {"scores": scores_json(scored)}
        typer.echo(json.dumps({**_as_json(config, checked, here), **more}))
    else:
        console = Console(highlight=False)
        _show(config, checked, here, console)
        if scored is not None:
            show_scores(console, scored)
    for scenario, refusal in refusals.items():
        raise RequestError(f"scenario {scenario!r}: {refusal}") if scenario else refusal


def _as_json(
    config: StudyConfig, checked: Mapping[str, Checked], here: Sequence[str]
) -> dict[str, Any]:
    """The resolved study, what is searched, the audits, and what it all takes."""
    searched = {
        arm: {name: raw(d) for name, d in ours.searched().items()}
        for arm, ours in _arms(config).items()
    }
    audits = {
        name: {**audit_json(found.audit), "parts": found.parts} for name, found in checked.items()
    }
    of_splits = [note for found in checked.values() for note in found.notes]
    shared = {
        "study": redacted(config).model_dump(mode="json"),
        "identity": identity(config),
        "searched": searched if config.comparison else searched[""],
        "notes": [*_notes(config), *here, *of_splits],
    }
    if config.comparison is None:
        cost = _cost(config, checked[""])
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
        "comparison": _outlook(config, sizes) if is_complete else None,
    }


def _show(
    config: StudyConfig, checked: Mapping[str, Checked], here: Sequence[str], console: Console
) -> None:
    """The same for a terminal."""
    console.print(escape(to_yaml(redacted(config)).rstrip()), soft_wrap=True)
    console.print()
    if config.comparison is None:
        console.print(_dimensions(config))
    else:
        for line in (*_arm_lines(config), *_claim_lines(config)):
            console.print(line, soft_wrap=True)
    before: list[str] = []
    sources = {name: ours.data.source for name, ours in scenarios_of(config).items()}
    for scenario, found in checked.items():
        console.print()
        if scenario:
            traits = compared(config).scenarios[scenario].traits.in_words()
            text = f"[bold]scenario {escape(scenario)}[/bold]"
            console.print(f"{text}: {traits}" if traits else text, soft_wrap=True)
        # Scenarios that differ at most in how the same images are divided.
        same = [
            name
            for name in before
            if sources[name] == sources[scenario] and checked[name].audit == found.audit
        ]
        if same:
            console.print(f"the images of {escape(same[0])}", soft_wrap=True)
        else:
            show_audit(console, found.audit)
        if all(checked[name].parts != found.parts for name in same):
            show_parts(console, found)
        before.append(scenario)
        if scenario and found.refusal is None:
            sizes = sizes_of(config, scenario, found)
            parts = f"{sizes.train:,} to train on, {sizes.validation:,} to validate, "
            console.print(f"{parts}{sizes.test:,} to test", soft_wrap=True)
    if not any(found.refusal for found in checked.values()):
        console.print()
        for line in _cost_lines(config, checked):
            console.print(line, soft_wrap=True)
    for note in (*_notes(config), *here):
        console.print(f"note: {escape(note)}", soft_wrap=True)


def _dimensions(config: StudyConfig) -> Table:
    table = Table(title="searched dimensions", title_justify="left", box=None, header_style="dim")
    for column in ("dimension", "values"):
        table.add_column(column)
    for name, dimension in config.searched().items():
        table.add_row(escape(name), escape(in_words(dimension)))
    return table


def _arms(config: StudyConfig) -> dict[str, StudyConfig]:
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


def _arm_lines(config: StudyConfig) -> Iterator[str]:
    """What each arm fixes, and what it leaves to tuning."""
    for arm, ours in _arms(config).items():
        fields = compared(config).arms[arm]
        roots = {name.split(".")[1] for name in fields if name.startswith("space.")}
        fixes = [f"{n}: {shown(v)}" for n, v in fields.items() if not n.startswith("space.")]
        fixes += [
            f"{name}: {in_words(dimension)}"
            for name, dimension in ours.space.dimensions().items()
            if isinstance(dimension, Fixed) and name.split(".")[0] in roots
        ]
        tunes = [f"{name}: {in_words(found)}" for name, found in ours.searched().items()]
        yield f"[bold]arm {escape(arm)}[/bold]"
        yield f"  fixes {escape('; '.join(fixes) or 'nothing')}"
        size = ours.num_configurations()
        few = f" ({size} different configurations)" if tunes and size == ours.num_trials() else ""
        yield f"  tunes {escape('; '.join(tunes) or 'nothing')}{few}"


def _notes(config: StudyConfig) -> list[str]:
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
    described = {
        (ours.backbone.name, ours.backbone.weights, ours.data.size): ours
        for ours in networks
        if is_weights_file(ours.backbone.weights)
        or ours.backbone.weights in ("imagenet", *PACKAGED)
    }
    found = []
    if described:
        from tlsearch.models.pretrained import origin_of

        found += [text for ours in described.values() if (text := origin_of(ours))]
    if any(ours.device == "cuda" for ours in configs):
        import torch

        if not torch.cuda.is_available():
            found.append("device = 'cuda': torch finds no CUDA device on this machine")
    return found


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


def _claim_lines(config: StudyConfig) -> Iterator[str]:
    """The claims by the documents' ids."""
    says: dict[str, list[str]] = {}
    for claim in claims_of(config):
        says.setdefault(claim.id, []).append(claim.says)
    yield "[bold]claims to be answered[/bold]"
    for name, texts in says.items():
        yield f"  {escape(name)}: {escape('; '.join(texts))}"


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


# What a comparison takes, and what so many seeds and test images can show.


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


def _outlook(config: StudyConfig, sizes: Mapping[str, Sizes]) -> dict[str, Any]:
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


def _cost(config: StudyConfig, checked: Checked) -> Estimate | None:
    """Of a search; None where it cannot run with these images."""
    if checked.refusal is not None:
        return None
    return estimate(config, num_images=checked.audit.num_used, num_classes=_num_classes(checked))


def _cost_lines(config: StudyConfig, checked: Mapping[str, Checked]) -> Iterator[str]:
    """What the study takes and can show, where its images are as it wants them."""
    if config.comparison is not None:
        sizes = {name: sizes_of(config, name, found) for name, found in checked.items()}
        yield from _outlook_lines(config, _outlook(config, sizes))
        return
    cost = _cost(config, checked[""])
    assert cost is not None
    folds = config.data.split.folds
    by_folds = f" of {folds} folds" if folds else ""
    yield (
        f"at most {cost.trainings} trainings: {config.num_trials()} trials{by_folds}, "
        f"{cost.baseline_trainings} for baselines, {cost.confirm_trainings} for confirmation"
    )
    yield (
        f"at most {cost.train_images:,} images through training and {cost.eval_images:,} through "
        f"evaluation, {cost.giga_macs:,.0f} giga multiply-adds"
    )
    yield (
        f"{duration_text(cost.seconds)} at the most (estimated from multiply-adds and steps; "
        "pruning and frozen layers make it less, the first run measures)"
    )
    yield from _training_needed(source_models_to_train([config]))


def _outlook_lines(config: StudyConfig, outlook: Mapping[str, Any]) -> Iterator[str]:
    comparison = compared(config)
    yield (
        f"at most {outlook['trainings']:,} trainings: {outlook['tuning']:,} to tune "
        f"{len(cells(comparison))} cells, {outlook['confirmations']:,} to confirm each on "
        f"{comparison.confirm.seeds} seeds, {outlook['swept']:,} for sweeps"
    )
    yield (
        f"{duration_text(outlook['seconds'])} (estimated from multiply-adds and steps, good to a "
        "factor of 2 or 3 on a machine that does nothing else)"
    )
    yield from _training_needed(outlook["source_models_to_train"])
    one, pooled = outlook["smallest_effect"], outlook["smallest_effect_pooled"]
    if one is not None:
        over = f", of {100 * pooled:.1f} over all" if pooled < one else ""
        yield (
            f"a difference of {100 * one:.1f} points of test accuracy should show in one scenario"
            f"{over} (in 8 of 10 such comparisons; estimated from typical noise)"
        )


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


def _training_needed(missing: Sequence[str]) -> Iterator[str]:
    if missing:
        count = "a source model has" if len(missing) == 1 else f"{len(missing)} source models have"
        yield (
            f"before that, {count} to be trained, once for all studies: {', '.join(missing)} "
            "(minutes each, and more for large networks and images)"
        )


def duration_text(seconds: float) -> str:
    """An estimated time of training, in the unit that a user would name."""
    minutes = seconds / 60
    if minutes < 1:
        return "less than a minute of training"
    return f"about {minutes:.0f} min" if minutes < 180 else f"about {minutes / 60:.0f} hours"


def write_augmentation_views(config: StudyConfig, path: Path) -> None:
    """Draw what a study's augmentations do to its own images, or without any the images as they
    are decoded, into a picture or a page.

    Raises:
        RequestError: its images or weights do not fit it.
        WorkError: something cannot be read or fetched.
        OSError: the file cannot be written.
    """
    with progress() as on_progress:
        from tlsearch.execution.examples import views_of
        from tlsearch.report.views import Block, write_views

        views = views_of(config, cache=user_cache(), on_progress=on_progress)
    write_views(path, [Block(*one) for one in views], name=config.name)
