"""A claim: what is said, and what would show it, declared before the run."""

from dataclasses import dataclass
from typing import Literal

from tlsearch.evidence.statistics import STATISTICS, Statistic

Table = Literal["A", "B", "C"]
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


ANYWHERE = Scenario()


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One cell of the documents' tables, or one piece of advice.

    `direction` says which way `arm` less `reference` must differ from 0 ("none": printed, not
    tested). `reference` None tests the arm's own figure; "others" is the mean of all other arms.
    """

    id: str
    side: Side
    says: str
    statistic: str
    arm: str
    reference: str | None
    direction: Direction
    scenario: Scenario = ANYWHERE

    @property
    def table(self) -> Table:
        """The documents' table, or C for advice in the text."""
        return {"A": "A", "B": "B", "C": "C"}[self.id[0]]  # type: ignore[return-value]

    @property
    def key(self) -> str:
        """Unique among all claims; the documents' id is shared by a row's cells."""
        place = [v for v in vars(self.scenario).values() if v]
        parts = [self.id, self.side, self.statistic, self.arm, *place]
        return "-".join(part.replace(" ", "_") for part in parts)

    @property
    def measure(self) -> Statistic:
        """The statistic with its unit."""
        return STATISTICS[self.statistic]

    @property
    def smallest(self) -> float:
        """Delta, the smallest effect of interest, in the statistic's unit."""
        return self.measure.smallest
