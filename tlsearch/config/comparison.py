"""The study's section `comparison`: which strategies are compared with one another, and where."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from tlsearch.config.validation import LARGEST_COUNT, Section, check_distinct, must, wrong

Table = Literal["A", "B", "C", "own"]
Overrides = dict[str, Any]
Name = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _-]{0,39}$"),
    must(
        "must be 1 to 40 letters, digits, spaces, '_' or '-', the first a letter or digit",
        "it names files and runs",
    ),
]
"""The name of an arm or a scenario."""


def _name_files_apart(named: dict[str, Any]) -> dict[str, Any]:
    known: dict[str, str] = {}
    for name in named:
        other = known.setdefault(name.replace(" ", "_").casefold(), name)
        if other != name:
            raise wrong(f"{name!r} names the same files as {other!r}", "rename one of them")
    return named


def _check_values(found: tuple[Any, ...]) -> tuple[Any, ...]:
    if any(isinstance(value, dict | list) for value in found):
        raise wrong("must be single values", "a sweep takes no ranges and no lists")
    check_distinct(found)
    return found


class Traits(Section):
    """What is said of a scenario before the run; the measured figures are printed beside it."""

    # Of the scenarios that a claim is about, None leaves a property open.

    similarity: Literal["similar", "dissimilar"] | None = None
    difficulty: Literal["easy", "hard"] | None = None
    labels: Literal["few", "many"] | None = None
    balance: Literal["balanced", "imbalanced"] | None = None
    order: Literal["time"] | None = None
    cleaning: Literal["cleaned", "as found"] | None = None

    def named(self) -> dict[str, str]:
        """The properties that are not left open, by name."""
        return self.model_dump(exclude_none=True)

    def includes(self, other: "Traits") -> bool:
        """Whether all that is named here is so in `other`."""
        return self.named().items() <= other.named().items()

    def in_words(self) -> str:
        """For the reader: `dissimilar, with many labels`."""
        words = {"labels": "with {} labels", "order": "in order of {}"}
        return ", ".join(words.get(k, "{}").format(v) for k, v in self.named().items())


class ScenarioConfig(Section):
    """One place where all arms are compared: what is changed in the study, and what it stands for.

    Source weights, target data and the number of labels may differ between scenarios.
    """

    set: Annotated[Overrides, Field(description="dotted fields of the study and their values")] = (
        Field(default_factory=dict)
    )
    traits: Traits = Traits()
    arms: Annotated[
        list[str] | None, Field(description="the arms that make sense here; null for all")
    ] = None


class TuningConfig(Section):
    """What each arm may spend on its own best configuration; the same for all.

    Trials are drawn at random: independent draws make the expected best of n trials computable
    (arXiv:1909.03004), and the table the same whatever ends first. None is pruned.
    """

    trials: Annotated[int, Field(ge=1, le=LARGEST_COUNT)] = 8
    epochs: Annotated[
        int, Field(ge=1, le=LARGEST_COUNT, description="of each training, confirmations included")
    ] = 12


class SeedsConfig(Section):
    """How often each arm's configuration is trained again; every seed redraws all that is chance.

    Eight seeds find an effect of 3 points in one scenario in 99 % of tables of 22 claims, where
    seeds differ by 0.8 points (`comparison.power`). With one there is no measure of chance.
    """

    seeds: Annotated[int, Field(ge=2, le=1000)] = 8


class SweepConfig(Section):
    """One dimension of an arm's chosen configuration set to each of several values, over seeds.

    Of several dimensions that one counts which the chosen configuration has.
    """

    arm: Annotated[str, Field(examples=["A1"])]
    dimension: Annotated[
        tuple[str, ...],
        Field(strict=False, min_length=1, examples=["lr"]),
        BeforeValidator(
            lambda value: [value] if isinstance(value, str) else value,
            json_schema_input_type=str | list[str],
        ),
    ]
    values: Annotated[
        tuple[Any, ...],
        Field(strict=False, min_length=2, examples=[[0.01, 0.1]]),
        AfterValidator(_check_values),
    ]


class SweepsConfig(Section):
    """Trainings beyond the confirmation, for claims about rates that do and about sensitivity."""

    seeds: Annotated[int, Field(ge=2, le=1000)] = 4
    scenarios: Annotated[
        list[str] | None, Field(description="where to sweep; null for every scenario")
    ] = None
    of: list[SweepConfig] = Field(default_factory=list)


class ComparisonConfig(Section):
    """Strategies (arms) in several situations (scenarios), with equal budgets and a verdict.

    An arm fixes some dimensions and leaves the rest of `space` to its tuning. `table` names the
    documents' table that the arms stand for; "own" compares each arm with `reference`.
    """

    table: Table = "own"
    arms: Annotated[
        dict[Name, Overrides],
        Field(min_length=2, examples=[{"fixed": {"space.schedule": "constant"}}]),
        AfterValidator(_name_files_apart),
    ]
    scenarios: Annotated[
        dict[Name, ScenarioConfig],
        AfterValidator(_name_files_apart),
        Field(description="none: the study as it is, by the name `here`"),
    ] = Field(default_factory=lambda: {"here": ScenarioConfig()})
    only: Annotated[
        list[str] | None, Field(description="run these scenarios alone; null for all")
    ] = None
    tuning: TuningConfig = TuningConfig()
    confirm: SeedsConfig = SeedsConfig()
    reference: Annotated[str | None, Field(description="an arm; null for the first")] = None
    sweeps: SweepsConfig = SweepsConfig()
    future: Annotated[
        float | None,
        Field(
            gt=0,
            lt=1,
            description="table B: share of the images, the latest, that no split may touch",
        ),
    ] = None

    @property
    def reference_arm(self) -> str:
        """The arm that the others of an own table are compared with."""
        return self.reference or next(iter(self.arms))

    @property
    def used(self) -> tuple[str, ...]:
        """The scenarios that are run, in the order of the file."""
        return tuple(n for n in self.scenarios if self.only is None or n in self.only)

    def arms_in(self, scenario: str) -> tuple[str, ...]:
        """The arms of one scenario, in the order of the file."""
        wanted = self.scenarios[scenario].arms
        return tuple(arm for arm in self.arms if wanted is None or arm in wanted)

    def sweeps_in(self, scenario: str) -> list[SweepConfig]:
        """What is swept in one scenario."""
        wanted, arms = self.sweeps.scenarios, self.arms_in(scenario)
        if wanted is not None and scenario not in wanted:
            return []
        return [sweep for sweep in self.sweeps.of if sweep.arm in arms]
