"""The runs of a cell: tuning picks a configuration, seeds confirm it, sweeps vary it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tlsearch.config.cells import cell_of, compared
from tlsearch.config.comparison import SweepConfig
from tlsearch.config.cost import num_tuning
from tlsearch.config.schema import BACKBONE, StudyConfig
from tlsearch.errors import shown
from tlsearch.execution.runs import Run, RunRow
from tlsearch.search.confirm import best_first, maximises
from tlsearch.search.runs import study_name


class Chosen(NamedTuple):
    """The configuration of a cell; `trial` is the number of the tuning trial, None where the arm
    leaves nothing to tune.
    """

    trial: int | None
    params: Mapping[str, Any]


def tuned(config: StudyConfig, rows: Sequence[RunRow]) -> list[RunRow]:
    """The trials that count, by number: those beyond the number that is asked for now would give
    this arm more to choose from than others have.
    """
    counted = [row for row in rows if row.number < num_tuning(config)]
    return sorted(counted, key=lambda row: row.number)


def choose(config: StudyConfig, rows: Sequence[RunRow]) -> Chosen | None:
    """The best tuning trial by validation; None if none was completed."""
    if not num_tuning(config):
        return Chosen(None, config.assign(_no_suggestion))
    ranked = best_first(tuned(config, rows), maximise=maximises(config))
    return Chosen(ranked[0].number, ranked[0].run.params) if ranked else None


def confirm_specs(config: StudyConfig, chosen: Chosen) -> list[Run]:
    """The chosen configuration over seeds. A seed redraws which of the images that are not tested
    train and which validate, the head, the order and all else; it is the same for all arms.
    """
    seeds = range(1, config.confirm.seeds + 1)
    return [_spec(config, chosen, seed, name="", role="confirm", params={}) for seed in seeds]


def sweep_specs(
    config: StudyConfig, chosen: Chosen, sweep: SweepConfig
) -> dict[tuple[int, int], Run]:
    """By place of the setting and seed: the chosen configuration with one dimension set.

    Where that changes nothing, it is the confirmation's own run. Empty where the chosen
    configuration has none of the dimensions.
    """
    dimension = swept_dimension(chosen, sweep)
    found = {}
    for place, value in enumerate(sweep.values) if dimension else ():
        for seed in range(1, compared(config).sweeps.seeds + 1):
            changed = {dimension: value}
            is_same = seed <= config.confirm.seeds and chosen.params[dimension] == value
            found[place, seed] = _spec(
                config,
                chosen,
                seed,
                name="" if is_same else f"{dimension}={shown(value)}",
                role="confirm" if is_same else "sweep",
                params={} if is_same else changed,
            )
    return found


def swept_dimension(chosen: Chosen, sweep: SweepConfig) -> str:
    """The first of the sweep's dimensions that the chosen configuration has, or nothing."""
    return next((d for d in sweep.dimension if d in chosen.params), "")


def fixed_specs(config: StudyConfig, chosen: Chosen) -> list[Run]:
    """All runs of a cell after its tuning."""
    return list(_unique([*confirm_specs(config, chosen), *_all_sweeps(config, chosen)]))


def _all_sweeps(config: StudyConfig, chosen: Chosen) -> Iterator[Run]:
    cell = cell_of(config)
    assert cell is not None
    for sweep in compared(config).sweeps_in(cell.scenario):
        if sweep.arm == cell.arm:
            yield from sweep_specs(config, chosen, sweep).values()


def _unique(specs: Sequence[Run]) -> Iterator[Run]:
    seen = set()
    for spec in specs:
        if spec.key not in seen:
            seen.add(spec.key)
            yield spec


def _spec(
    config: StudyConfig,
    chosen: Chosen,
    seed: int,
    *,
    name: str,
    role: Any,
    params: Mapping[str, Any],
) -> Run:
    cell = cell_of(config)
    assert cell is not None
    network = chosen.params.get(BACKBONE) or config.backbone.name
    return Run(
        study=study_name(config),
        scenario=cell.scenario,
        arm=cell.arm,
        role=role,
        name=name,
        trial=chosen.trial,
        params={**chosen.params, **params},
        init="random" if config.backbone.weights_of(network) == "none" else "pretrained",
        seed=config.search.seed + seed,
        redraw=seed,
        folds=(0,),
        num_epochs=config.budget.epochs,
        backbone=network,
    )


def _no_suggestion(name: str, _dimension: object) -> Any:
    raise AssertionError(f"{name} is searched, so there is something to tune")
