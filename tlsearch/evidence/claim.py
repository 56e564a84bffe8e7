"""A claim: what is said, and what would show it, declared before the run."""

from dataclasses import dataclass
from typing import Literal

from tlsearch.evidence.statistics import STATISTICS, Statistic

Table = Literal["A", "B", "C", "own"]
Side = Literal["for", "against", "fits"]
Direction = Literal[1, -1, "none"]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Where a claim is said to hold; None leaves a property open."""

    similarity: Literal["similar", "dissimilar"] | None = None
    difficulty: Literal["easy", "hard"] | None = None
    labels: Literal["few", "many"] | None = None
    balance: Literal["balanced", "imbalanced"] | None = None
    order: Literal["time"] | None = None
    cleaning: Literal["cleaned", "as found"] | None = None

    def named(self) -> dict[str, str]:
        """The properties that are not left open, by name."""
        return {name: value for name, value in vars(self).items() if value}

    def includes(self, other: "Scenario") -> bool:
        """Whether all that is named here is so in `other`."""
        return self.named().items() <= other.named().items()


ANYWHERE = Scenario()


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One cell of the documents' tables, one piece of advice, or an arm of a user's own table.

    `direction` says which way `arm` less `reference` must differ from 0 ("none": printed, not
    tested). `reference` None tests the arm's own figure; "others" is the mean of the table's other
    rows. `elsewhere`: the reference is taken there, and not where the arm is. `swept`: dimensions
    whose sweep is meant, of statistics that need one; empty stands for any but the base rate. Of
    `score_correlation` it is the score.
    """

    table: Table
    id: str
    side: Side
    says: str
    statistic: str
    arm: str
    reference: str | None
    direction: Direction
    scenario: Scenario = ANYWHERE
    elsewhere: Scenario | None = None
    swept: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Unique within a comparison; the documents' id is shared by a row's cells."""
        parts = [self.id, self.side, self.statistic, self.arm]
        parts += [*self.scenario.named().values(), *self.swept[:1]]
        return "-".join(part.replace(" ", "_").replace(".", "_") for part in parts)

    @property
    def measure(self) -> Statistic:
        """The statistic with its unit."""
        return STATISTICS[self.statistic]

    @property
    def smallest(self) -> float:
        """Delta, the smallest effect of interest, in the statistic's unit."""
        return self.measure.smallest
