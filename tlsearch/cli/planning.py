"""What `tlsearch check` says of a comparison: scenarios, arms, what it takes and can show."""

import csv
import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.markup import escape

from tlsearch.cli import scores
from tlsearch.cli.asked_claims import claim_lines, claim_notes, claims_of, refuse_unclaimed
from tlsearch.cli.auditing import Checked, show_audit, show_parts
from tlsearch.cli.auditing import look as look_at
from tlsearch.cli.checking import told
from tlsearch.cli.outlook import Outlook, outlook_lines, outlook_of, sizes_of
from tlsearch.data.audit.findings import as_json as audit_json
from tlsearch.data.audit.findings import csv_rows
from tlsearch.errors import RequestError, TlsearchError, WorkError
from tlsearch.study.augmentation_checks import augmentation_notes
from tlsearch.study.cells import Cell, cell_config, cells, compared
from tlsearch.study.comparison import Traits
from tlsearch.study.complaints import shown
from tlsearch.study.config import StudyConfig
from tlsearch.study.dimensions import Fixed, raw
from tlsearch.study.fine_tuning_checks import fine_tuning_notes
from tlsearch.study.identity import identity
from tlsearch.study.resolved import redacted, to_yaml
from tlsearch.study.search_checks import seed_notes

if TYPE_CHECKING:
    from tlsearch.data.images import ImageSet


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
    scored = scores.score(config) if score and outlook is not None else None
    if as_json:
        more = {} if scored is None else {"scores": scores.as_json(scored)}
        typer.echo(json.dumps({**_as_json(config, checked, outlook), **more}))
    else:
        console = Console(highlight=False)
        _show(config, checked, outlook, console)
        if scored is not None:
            scores.show(console, scored)
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
    from tlsearch.data.splits.future import draw_past
    from tlsearch.search.work.shares import refuse_past

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
