"""What `tlsearch check` says of a comparison: scenarios, arms, what it takes and can show."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer
from rich.console import Console
from rich.markup import escape

from tlsearch.cli import check as scores
from tlsearch.cli import check as source_models
from tlsearch.cli.check import Checked, show_audit, show_parts, told, told_time
from tlsearch.cli.check import look as look_at
from tlsearch.config.arms import Traits
from tlsearch.config.cells import Cell, cell_config, cells, compared
from tlsearch.config.cost import Plan, part_sizes, plan
from tlsearch.config.data_checks import knows_source
from tlsearch.config.dimensions import Fixed, raw
from tlsearch.config.resolved import identity, redacted, to_yaml
from tlsearch.config.schema import StudyConfig
from tlsearch.config.search_checks import seed_notes
from tlsearch.config.strategy_checks import augmentation_notes, fine_tuning_notes
from tlsearch.config.validation import shown
from tlsearch.data.audit_findings import as_json as audit_json
from tlsearch.data.audit_findings import csv_rows
from tlsearch.errors import Problem, RequestError, TlsearchError, WorkError

if TYPE_CHECKING:
    from tlsearch.comparison.claims import Claim
    from tlsearch.data.dataset import ImageSet


# The claims that a comparison is there to answer, and what it cannot answer as it is.


_OF_THE_SOURCE = ("cka_drift", "source_accuracy", "domain_distance", "adapted_distance")
"""Statistics that are taken on images of the source task."""


def claims_of(config: StudyConfig) -> "list[Claim]":
    """Those of the arms that are run."""
    from tlsearch.comparison.claims import claims_asked

    comparison = compared(config)
    return claims_asked(
        comparison.table, arms=_claims_arms(config), reference=comparison.held_against
    )


def refuse_unclaimed(config: StudyConfig) -> None:
    """Refuse a comparison that would train its arms and find nothing to judge.

    Raises:
        RequestError: no claim of the documents' text is about the arms.
    """
    if compared(config).table == "C" and not claims_of(config):
        arms = shown(_claims_arms(config))
        rule = "no claim of table C is about these arms"
        remedy = "write comparison.table: own, which holds each arm against comparison.reference"
        raise RequestError(str(Problem("comparison.arms", arms, rule, remedy)))


def claim_lines(config: StudyConfig) -> Iterator[str]:
    """What will be answered, by the documents' ids."""
    found = claims_of(config)
    yield "[bold]claims to be answered[/bold]"
    for name in dict.fromkeys(claim.id for claim in found):
        said = "; ".join(claim.says for claim in found if claim.id == name)
        yield f"  {escape(name)}: {escape(said)}"


def claim_notes(config: StudyConfig) -> list[str]:
    """Arms without a claim, and claims that these scenarios and weights cannot answer."""
    return [*_unclaimed(config), *_unplaced(config), *_unsourced(config)]


def _claims_arms(config: StudyConfig) -> list[str]:
    return list(dict.fromkeys(cell.arm for cell in cells(compared(config))))


def _unclaimed(config: StudyConfig) -> Iterator[str]:
    from tlsearch.comparison.claims import unclaimed

    comparison = compared(config)
    if comparison.table != "C":
        return
    found = unclaimed(_claims_arms(config))
    if any(claim.statistic == "score_correlation" for claim in claims_of(config)):
        # There every network counts, whatever its arm is called.
        found = [arm for arm in found if "backbone.name" not in comparison.arms[arm]]
    if found:
        names = ", ".join(map(repr, found))
        verb = "is trained" if len(found) == 1 else "are trained"
        yield (
            f"no claim is about {names}, which {verb} without a verdict; comparison.table: own "
            "holds every arm against one of them"
        )


def _unplaced(config: StudyConfig) -> Iterator[str]:
    """Claims about kinds of scenarios that are not among those that are run."""
    from tlsearch.comparison.claims import Scenario
    from tlsearch.comparison.gathering import in_words

    comparison = compared(config)
    said = [Scenario(**vars(comparison.scenarios[name].traits)) for name in comparison.used]
    missing: dict[str, list[Claim]] = {}
    for claim in claims_of(config):
        for kind in (claim.scenario, claim.elsewhere):
            if kind is not None and not any(map(kind.includes, said)):
                missing.setdefault(in_words(kind), []).append(claim)
                break
    for wanted, claims in missing.items():
        yield (
            f"{_named(claims)} will not be answered: no scenario is said to be {wanted} "
            "(comparison.scenarios.NAME.traits)"
        )


def _unsourced(config: StudyConfig) -> Iterator[str]:
    """Claims whose figures are taken on images of the source, where none are known."""
    configs = [(cell.arm, cell_config(config, cell)) for cell in cells(compared(config))]
    known = {arm for arm, ours in configs if knows_source(ours)}
    claims = [
        claim
        for claim in claims_of(config)
        if claim.statistic in _OF_THE_SOURCE and claim.arm not in known
    ]
    if claims:
        yield (
            f"{_named(claims)} will not be answered: no images of the source task are known — "
            "write backbone.source: {folder: PATH}, labelled images of that task"
        )


def _named(claims: "Sequence[Claim]") -> str:
    return " and ".join(f"{claim.id} ({claim.says})" for claim in claims)


# What a comparison takes, and what so many seeds and test images can show.


class Outlook(NamedTuple):
    """What a comparison takes, source models that must be trained before, and the least difference
    in test accuracy that it should find in one scenario and over all of them; None for table B,
    which compares splits and not accuracy.
    """

    plan: Plan
    source_models: list[str]
    smallest_effect: float | None
    smallest_effect_pooled: float | None


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
    images = round(found.audit.num_used * (1 - (future or 0)))
    classes = sum(count > 0 for _, count in found.audit.class_counts)
    if found.parts is not None and not future:
        return Sizes(images, classes, *(sum(counts) for counts in found.parts.values()))
    ((train, validation), *_), test = part_sizes(ours, num_images=images, num_classes=classes)
    return Sizes(images, classes, train, validation, test)


def outlook_of(config: StudyConfig, checked: Mapping[str, Checked]) -> Outlook:
    """Of scenarios whose images are as the study wants them."""
    sizes = {scenario: sizes_of(config, scenario, found) for scenario, found in checked.items()}
    costs = plan(config, {scenario: (s.images, s.classes) for scenario, s in sizes.items()})
    configs = [cell_config(config, cell) for cell in cells(compared(config))]
    models = source_models.to_be_trained(configs)
    return Outlook(costs, models, *_smallest_effects(config, sizes))


def _smallest_effects(
    config: StudyConfig, sizes: Mapping[str, Sizes]
) -> tuple[float | None, float | None]:
    """In the scenario with the fewest test images, and pooled over the test parts that differ."""
    from tlsearch.comparison.power import ALPHA, POWER, TYPICAL_ACCURACY, smallest_effect

    comparison = compared(config)
    tested = sum(claim.direction != "none" for claim in claims_of(config))
    if comparison.table == "B" or not tested:
        return None, None
    data = [cell_config(config, Cell(scenario, "")).data for scenario in sizes]
    tests = {found.model_dump_json(exclude={"labels_per_class"}) for found in data}
    num_images = max(2, min(size.test for size in sizes.values()))
    noise = TYPICAL_ACCURACY._replace(num_images=num_images)
    one, pooled = (
        smallest_effect(
            noise,
            seeds=comparison.confirm.seeds,
            claims=tested,
            blocks=blocks,
            alpha=ALPHA,
            power=POWER,
        )
        for blocks in (1, len(tests))
    )
    return one, pooled


def outlook_lines(config: StudyConfig, outlook: Outlook) -> list[str]:
    """The same as a user reads it."""
    comparison, costs = compared(config), outlook.plan
    num_cells = len(cells(comparison))
    lines = [
        f"at most {costs.trainings:,} trainings: {costs.tuning:,} to tune {num_cells} cells, "
        f"{costs.confirmations:,} to confirm each on {comparison.confirm.seeds} seeds, "
        f"{costs.swept:,} for sweeps",
        f"{told_time(costs.seconds)} (a guess from multiply-adds and steps, good to a factor of 2 "
        "or 3 on a machine that does nothing else)",
        *source_models.training_needed_text(outlook.source_models),
    ]
    one, pooled = outlook.smallest_effect, outlook.smallest_effect_pooled
    if one is not None and pooled is not None:
        over = f", of {100 * pooled:.1f} over all" if pooled < one else ""
        lines.append(
            f"a difference of {100 * one:.1f} points of test accuracy should show in one scenario"
            f"{over} (in 8 of 10 such comparisons; a guess from typical noise)"
        )
    return lines


def check(
    config: StudyConfig, *, label_errors: bool, score: bool, files: Path | None, as_json: bool
) -> None:
    """Print a comparison as a user reads it, or as JSON.

    Raises:
        RequestError: no claim is about the arms, or the images of a scenario are not as the study
            wants them; all is told before.
        WorkError: they cannot be fetched, or the cache folder cannot be written.
    """
    refuse_unclaimed(config)
    checked = look(config, label_errors=label_errors)
    outlook = None if any(c.refusal for c in checked.values()) else outlook_of(config, checked)
    if files is not None:
        write_listing(checked, files)
    scored = scores.score_networks(config) if score and outlook is not None else None
    if as_json:
        more = {} if scored is None else {"scores": scores.scores_json(scored)}
        typer.echo(json.dumps({**_as_json(config, checked, outlook), **more}))
    else:
        console = Console(highlight=False)
        _show(config, checked, outlook, console)
        if scored is not None:
            scores.show_scores(console, scored)
    for scenario, found in checked.items():
        if found.refusal is not None:
            raise RequestError(f"scenario {scenario!r}: {found.refusal}")


def look(config: StudyConfig, *, label_errors: bool) -> dict[str, Checked]:
    """Audit the images of each scenario; those that share all of `data` are looked at once. Of
    table B every arm's split is drawn as well, before the future.

    Raises:
        RequestError: a source is not there, weights do not fit, or an arm cannot divide the images.
        WorkError: it cannot be fetched, or the cache folder cannot be written.
    """
    known: dict[str, Checked] = {}
    found = {}
    for scenario in compared(config).used:
        ours = cell_config(config, Cell(scenario, ""))
        # Label errors are looked for with the backbone.
        of = ours.model_dump_json(include={"data", "backbone"} if label_errors else {"data"})
        divide = None
        if compared(config).future is not None:
            of += repr(compared(config).arms_in(scenario))
            divide = partial(_refuse_pasts, config, scenario)
        if of not in known:
            try:
                seen = look_at(ours, label_errors=label_errors, divide=divide)
                # The parts of all images are none of table B's.
                known[of] = seen if divide is None else seen._replace(parts=None, notes=())
            except TlsearchError as error:
                kind = RequestError if isinstance(error, RequestError) else WorkError
                raise kind(f"scenario {scenario!r}: {error}") from None
        found[scenario] = known[of]
    return found


def _refuse_pasts(config: StudyConfig, scenario: str, data: "ImageSet") -> None:
    """Draw what a run of table B does: the scenario's own split, by which its images are surveyed,
    and that of each arm with every seed.

    Raises:
        RequestError: the images cannot be divided so.
    """
    from tlsearch.data.splits import draw_past
    from tlsearch.execution.prepare import refuse_past

    comparison, own = compared(config), cell_config(config, Cell(scenario, "")).data
    assert comparison.future is not None
    draw_past(
        data,
        split=own.split,
        labels_per_class=own.labels_per_class,
        share=comparison.future,
        seed=own.split.seed,
    )
    for arm in comparison.arms_in(scenario):
        ours = cell_config(config, Cell(scenario, arm))
        refuse_past(
            data,
            split=ours.data.split,
            labels_per_class=ours.data.labels_per_class,
            share=comparison.future,
            seeds=range(1, comparison.confirm.seeds + 1),
            name=arm,
        )


def write_listing(checked: Mapping[str, Checked], path: Path) -> None:
    """The files of all findings as CSV, scenario by scenario.

    Raises:
        OSError: the place is read-only or full.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        for number, (scenario, found) in enumerate(checked.items()):
            head, *rows = csv_rows(found.audit)
            if number == 0:
                lines.writerow(("scenario", *head))
            lines.writerows((scenario, *row) for row in rows)


def _as_json(
    config: StudyConfig, checked: Mapping[str, Checked], outlook: Outlook | None
) -> dict[str, Any]:
    """The resolved study, what each arm tunes, the scenarios' audits, and what it all takes."""
    return {
        "study": redacted(config).model_dump(mode="json"),
        "identity": identity(config),
        "searched": {
            arm: {name: raw(d) for name, d in ours.searched().items()}
            for arm, ours in _arms(config).items()
        },
        "claims": [{"id": claim.id, "says": claim.says} for claim in claims_of(config)],
        "notes": [*_notes(config), *(note for c in checked.values() for note in c.notes)],
        "scenarios": {
            scenario: {
                "audit": {**audit_json(found.audit), "parts": found.parts},
                "sizes": None if found.refusal else sizes_of(config, scenario, found)._asdict(),
            }
            for scenario, found in checked.items()
        },
        "comparison": outlook
        and {
            **{name: getattr(outlook.plan, name) for name in _COUNTS},
            "seconds": outlook.plan.seconds,
            "source_models_to_train": outlook.source_models,
            "smallest_effect": outlook.smallest_effect,
            "smallest_effect_pooled": outlook.smallest_effect_pooled,
        },
    }


_COUNTS = ("trainings", "tuning", "confirmations", "swept")


def _show(
    config: StudyConfig,
    checked: Mapping[str, Checked],
    outlook: Outlook | None,
    console: Console,
) -> None:
    console.print(escape(to_yaml(redacted(config)).rstrip()), soft_wrap=True)
    console.print()
    for line in (*_arm_lines(config), *claim_lines(config)):
        console.print(line, soft_wrap=True)
    before: list[str] = []
    for scenario, found in checked.items():
        console.print()
        said = _traits(compared(config).scenarios[scenario].traits)
        console.print(f"[bold]scenario {escape(scenario)}[/bold]{said}", soft_wrap=True)
        same = [name for name in before if _same_images(config, checked, scenario, name)]
        if same:
            console.print(f"the images of {escape(same[0])}", soft_wrap=True)
        else:
            show_audit(console, found)
        if all(checked[name].parts != found.parts for name in same):
            show_parts(console, found)
        before.append(scenario)
        if found.refusal is None:
            sizes = sizes_of(config, scenario, found)
            parts = f"{sizes.train:,} to train on, {sizes.validation:,} to validate, "
            console.print(f"{parts}{sizes.test:,} to test", soft_wrap=True)
    if outlook is not None:
        console.print()
        for line in outlook_lines(config, outlook):
            console.print(line, soft_wrap=True)
    for note in _notes(config):
        console.print(f"note: {escape(note)}", soft_wrap=True)


def _same_images(
    config: StudyConfig, checked: Mapping[str, Checked], scenario: str, other: str
) -> bool:
    """Whether two scenarios differ at most in how the same images are divided."""
    sources = {cell_config(config, Cell(name, "")).data.source for name in (scenario, other)}
    return len(sources) == 1 and checked[scenario].audit == checked[other].audit


def _arms(config: StudyConfig) -> dict[str, StudyConfig]:
    """A study of each arm that is run: its space is the same in all its scenarios."""
    comparison = compared(config)
    scenario = {arm: scenario for scenario, arm in reversed(cells(comparison))}
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
            f"{name}: {told(dimension)}"
            for name, dimension in ours.space.dimensions().items()
            if isinstance(dimension, Fixed) and name.split(".")[0] in roots
        ]
        tunes = [f"{name}: {told(found)}" for name, found in ours.searched().items()]
        yield f"[bold]arm {escape(arm)}[/bold]"
        yield f"  fixes {escape('; '.join(fixes) or 'nothing')}"
        yield f"  tunes {escape('; '.join(tunes) or 'nothing')}"


def _traits(traits: Traits) -> str:
    words = [traits.similarity, traits.difficulty, traits.labels and f"{traits.labels} labels"]
    words += [traits.balance, traits.order and "in order of time", traits.cleaning]
    said = ", ".join(word for word in words if word)
    return f": {said}" if said else ""


def _notes(config: StudyConfig) -> list[str]:
    """What is no mistake, but good to know before running: one sentence each."""
    of_cells = dict.fromkeys(
        note
        for cell in cells(compared(config))
        for ours in [cell_config(config, cell)]
        for note in (*fine_tuning_notes(ours), *augmentation_notes(ours), *seed_notes(ours))
    )
    return [*of_cells, *claim_notes(config)]
