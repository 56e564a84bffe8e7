"""All claims of the documents in their order: tables A and B, then the advice of the text (C)."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tlsearch.comparison.statistics import STATISTICS, Statistic

# A claim: what is said, and what would show it, declared before the run.


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


# Claims of the documents' running text (C1–C15).


ADVICE_ON: Mapping[str, str] = {
    "C1": "batch size",
    "C2": "L1 penalty",
    "C3": "L2 penalty",
    "C4": "dropout",
    "C5": "how much to freeze",
    "C6": "unfreezing by stages",
    "C7": "whether to transfer",
    "C8": "augmentation",
    "C9": "training on attacks",
    "C10": "adapting the domain",
    "C11": "early stopping",
    "C12": "gradient clipping",
    "C13": "choice of the pretrained network",
    "C14": "clean data",
    "C15": "base rate",
}

SIMILAR = Scenario(similarity="similar")
DISSIMILAR = Scenario(similarity="dissimilar")
CLEANED = Scenario(cleaning="cleaned")
AS_FOUND = Scenario(cleaning="as found")
DISSIMILAR_FEW = Scenario(similarity="dissimilar", labels="few")


def _says(
    row: str,
    says: str,
    statistic: str,
    arm: str,
    reference: str | None,
    direction: Direction,
    scenario: Scenario = ANYWHERE,
    elsewhere: Scenario | None = None,
    swept: tuple[str, ...] = (),
) -> Claim:
    return Claim(
        table="C",
        id=row,
        side="for",
        says=says,
        statistic=statistic,
        arm=arm,
        reference=reference,
        direction=direction,
        scenario=scenario,
        elsewhere=elsewhere,
        swept=swept,
    )


_ON_ATTACKS: tuple[tuple[str, str, Direction], ...] = (
    ("makes a network withstand attacks of many steps", "robust_accuracy", 1),
    ("makes a network withstand attacks of one step", "robust_accuracy.fgsm", 1),
    ("costs accuracy on clean images", "accuracy", -1),
)
ADAPTATIONS: Mapping[str, str] = {
    "fourier": "exchanged amplitudes",
    "moments": "matched mean and contrast",
    "style": "style transfer",
}
"""Arms of C10: ways to make images look like those of the other domain."""
# A network that is trained may move the domains on its own account, so what adaptation does to the
# images is read by the network before training, and what training makes of that by the one after.
_ON_DOMAINS: tuple[tuple[str, str, str | None, Direction], ...] = (
    ("brings images closer to the source", "adapted_distance", None, -1),
    ("brings the domains closer in training", "domain_distance", "none", -1),
    ("raises accuracy", "accuracy", "none", 1),
)

ADVICE: tuple[Claim, ...] = (
    _says("C1", "small batches generalise better", "accuracy", "small batch", "large batch", 1),
    _says("C1", "large batches train faster", "images_per_second", "large batch", "small batch", 1),
    _says("C1", "a batch size suits the task", "noise_scale", "small batch", None, "none"),
    _says("C2", "an L1 penalty empties weights", "sparsity", "l1", "no penalty", 1),
    _says("C3", "an L2 penalty keeps weights small", "weight_norm", "l2", "no penalty", -1),
    _says("C3", "an L2 penalty narrows the gap", "generalisation_gap", "l2", "no penalty", -1),
    _says(
        "C4", "dropout makes a network memorise less", "generalisation_gap", "dropout", "none", -1
    ),
    _says(
        "C5",
        "the more alike the data, the more to freeze",
        "best_freeze_depth",
        "freeze",
        "freeze",
        1,
        SIMILAR,
        DISSIMILAR,
    ),
    _says(
        "C6", "unfreezing by stages keeps the features", "cka_drift", "gradual", "all at once", -1
    ),
    _says(
        "C6",
        "unfreezing by stages keeps what the source taught",
        "source_accuracy",
        "gradual",
        "all at once",
        1,
    ),
    _says(
        "C7",
        "transfer may do worse than no transfer",
        "accuracy",
        "transfer",
        "from scratch",
        -1,
        DISSIMILAR_FEW,
    ),
    _says("C8", "augmenting raises accuracy", "accuracy", "augmented", "none", 1),
    _says("C8", "augmenting narrows the gap", "generalisation_gap", "augmented", "none", -1),
    _says("C8", "augmenting at random raises accuracy", "accuracy", "trivial", "none", 1),
    _says(
        "C8", "augmenting at random narrows the gap", "generalisation_gap", "trivial", "none", -1
    ),
    _says("C8", "mixing two images raises accuracy", "accuracy", "mixed", "none", 1),
    _says("C8", "mixing two images narrows the gap", "generalisation_gap", "mixed", "none", -1),
    *(
        _says("C9", f"training on {of} {says}", statistic, arm, "none", direction)
        for arm, of in (("adversarial", "attacks"), ("one step", "attacks of one step"))
        for says, statistic, direction in _ON_ATTACKS
    ),
    *(
        _says("C10", f"adapting by {how} {says}", statistic, arm, reference, direction)
        for arm, how in ADAPTATIONS.items()
        for says, statistic, reference, direction in _ON_DOMAINS
    ),
    _says(
        "C11", "stopping early avoids memorising", "accuracy", "early stopping", "full length", 1
    ),
    _says("C11", "stopping early saves work", "epochs_spent", "early stopping", "full length", -1),
    _says("C12", "clipping keeps steps small", "largest_step_norm", "clipped", "none", -1),
    _says("C12", "clipping keeps training alive", "divergence_share", "clipped", "none", -1),
    _says(
        "C13",
        "the network whose features fit the task best does best (LogME)",
        "score_correlation",
        "network",
        None,
        1,
        swept=("log_me",),
    ),
    _says(
        "C13",
        "the network whose source is most like the task does best (LEEP)",
        "score_correlation",
        "network",
        None,
        1,
        swept=("leep",),
    ),
    _says("C13", "the network should fit the machine", "seconds", "small", "large", -1),
    # Arms share the images of a scenario, so what was done to these is a property of the place.
    *(
        _says("C14", f"clean data first: {arm}", "accuracy", arm, arm, 1, CLEANED, AS_FOUND)
        for arm in ("fine-tuning", "linear probe")
    ),
    _says("C15", "fine-tuning wants small rates", "accuracy", "small rate", "rate of scratch", 1),
)


# Claims of the documents' two tables: learning-rate strategies (A) and ways to split (B).


# The documents' rows in their order; an arm of a comparison bears the id.
STRATEGIES: Mapping[str, str] = {
    "A1": "fixed rate",
    "A2": "decay",
    "A3": "layer-wise rates",
    "A4": "warm-up",
    "A5": "adaptive",
}
WAYS_TO_SPLIT: Mapping[str, str] = {"B1": "random", "B2": "stratified", "B3": "by time"}

# What a user of tlsearch need not know or write: the answer to claims by "knowledge".
TAKEN_OVER: Mapping[str, str] = {
    "A3": "the layer groups of every backbone, their order from input to head, and each one's rate",
    "B2": "drawing class by class; a class too small for all parts is refused by name",
}

SIMILAR_EASY = Scenario(similarity="similar", difficulty="easy")
SIMILAR_HARD = Scenario(similarity="similar", difficulty="hard")

DISSIMILAR_LARGE = Scenario(similarity="dissimilar", labels="many")
IMBALANCED_FEW = Scenario(labels="few", balance="imbalanced")
BALANCED_MANY = Scenario(labels="many", balance="balanced")
IN_TIME = Scenario(order="time")


def _claim(
    row: str,
    side: Side,
    says: str,
    statistic: str,
    reference: str | None,
    direction: Direction,
    scenario: Scenario | None = None,
    elsewhere: Scenario | None = None,
    swept: tuple[str, ...] = (),
) -> Claim:
    return Claim(
        table="A" if row in STRATEGIES else "B",
        id=row,
        side=side,
        says=says,
        statistic=statistic,
        arm=row,
        reference=reference,
        direction=direction,
        scenario=scenario or Scenario(),
        elsewhere=elsewhere,
        swept=swept,
    )


# A1 fixed rate · A2 decay · A3 layer-wise rates · A4 warm-up · A5 adaptive. All others are held
# against A1; A1 itself against A2, the strategy that is to cure its faults.
LEARNING_RATES: tuple[Claim, ...] = (
    _claim("A1", "for", "little has to be set", "settings", None, "none"),
    _claim("A1", "for", "few trials tune it", "trials_to_come_within", "A2", -1),
    _claim("A1", "against", "swings around the optimum", "oscillation", "A2", 1),
    _claim("A1", "against", "gets there slowly", "epochs_to_share", "A2", 1),
    _claim("A1", "fits", "similar data, easy task", "accuracy", "others", 1, SIMILAR_EASY),
    _claim("A2", "for", "comes to rest", "oscillation", "A1", -1),
    _claim("A2", "for", "ends more accurate", "accuracy", "A1", 1),
    _claim(
        "A2", "against", "its own settings take trials to find", "trials_to_come_within", "A1", 1
    ),
    _claim("A2", "fits", "similar data, hard task", "accuracy", "others", 1, SIMILAR_HARD),
    _claim("A3", "for", "early layers keep their features", "cka_drift", "A1", -1),
    _claim("A3", "for", "early layers keep their weights", "weight_drift", "A1", -1),
    _claim("A3", "for", "what the source taught is kept", "source_accuracy", "A1", 1),
    _claim("A3", "for", "makes better use of pretraining", "accuracy", "A1", 1),
    _claim("A3", "against", "one must know the network's layers", "knowledge", None, "none"),
    _claim(
        "A3",
        "against",
        "the ratio of rates has to be right",
        "sensitivity",
        None,
        1,
        swept=("lr_ratio",),
    ),
    _claim(
        "A3",
        "fits",
        "dissimilar data where part of the knowledge must last",
        "accuracy",
        "others",
        1,
        DISSIMILAR,
    ),
    _claim("A4", "for", "gradients stay tame at first", "early_gradient_norm", "A1", -1),
    _claim("A4", "for", "training breaks down less often", "divergence_share", "A1", -1),
    _claim(
        "A4",
        "against",
        "the length of the warm-up has to be right",
        "sensitivity",
        None,
        1,
        swept=("warmup_epochs", "warmup_steps"),
    ),
    _claim(
        "A4",
        "against",
        "the first rate has to be right",
        "sensitivity",
        None,
        1,
        swept=("warmup_start_fraction",),
    ),
    _claim("A4", "fits", "dissimilar data and many", "accuracy", "others", 1, DISSIMILAR_LARGE),
    _claim("A5", "for", "more base rates will do", "usable_decades", "A1", 1),
    _claim("A5", "against", "its own settings have to be right", "sensitivity", None, 1),
    _claim("A5", "fits", "most cases", "mean_rank", "others", -1),
)

# B1 random · B2 stratified · B3 by time.
SPLITS: tuple[Claim, ...] = (
    _claim("B1", "for", "little has to be set", "settings", None, "none"),
    _claim("B1", "against", "the parts' class shares differ", "class_share_distance", "B2", 1),
    # Said to do no harm there: the figure against size and imbalance is printed beside it.
    _claim(
        "B1",
        "fits",
        "many, balanced data",
        "class_share_distance",
        "B1",
        -1,
        BALANCED_MANY,
        elsewhere=IMBALANCED_FEW,
    ),
    _claim("B2", "for", "the parts' class shares agree", "class_share_distance", "B1", -1),
    _claim("B2", "against", "more work to write", "knowledge", None, "none"),
    _claim("B2", "fits", "few, imbalanced data", "estimate_spread", "B1", -1, IMBALANCED_FEW),
    _claim("B3", "for", "foretells accuracy in later use", "future_error", "B1", -1, IN_TIME),
    _claim(
        "B3",
        "against",
        "neighbours in time lean on one another",
        "estimate",
        "B3 with gap",
        1,
        IN_TIME,
    ),
    _claim("B3", "fits", "data in order of time", "future_error", "others", -1, IN_TIME),
)


CLAIMS: tuple[Claim, ...] = (*LEARNING_RATES, *SPLITS, *ADVICE)
BY_KEY: Mapping[str, Claim] = {claim.key: claim for claim in CLAIMS}


def claims_of(table: str) -> tuple[Claim, ...]:
    """The claims of one table, "A", "B" or "C"."""
    return tuple(claim for claim in CLAIMS if claim.table == table)


def advice_about(arms: Iterable[str]) -> list[Claim]:
    """The claims of the text (C) that these arms are there for; "freeze 2" is one of "freeze", and
    "network resnet18" one of "network".
    """
    there = {None, *(name for arm in arms for name in _names(arm))}
    return [claim for claim in ADVICE if claim.arm in there and claim.reference in there]


def unclaimed(arms: Iterable[str]) -> list[str]:
    """Those of the arms that no claim of the text is about, given all of them."""
    every = list(arms)
    about = {name for claim in advice_about(every) for name in (claim.arm, claim.reference)}
    return [arm for arm in every if not about.intersection(_names(arm))]


def _names(arm: str) -> set[str]:
    """What claims may call it."""
    return {arm, re.sub(r" \d+$|(?<=^network) .+$", "", arm)}


def strategies_of(table: str) -> Mapping[str, str]:
    """The rows of a table, by id, in the documents' order."""
    return {"A": STRATEGIES, "B": WAYS_TO_SPLIT, "C": ADVICE_ON}[table]


def claims_asked(table: str, *, arms: Sequence[str], reference: str) -> list[Claim]:
    """The claims that a comparison of these arms answers.

    Tables A and B are answered whole, with gaps named; of the advice what the arms are there for;
    of an own table each arm against the reference.
    """
    if table == "own":
        return [own_claim(arm, reference) for arm in arms if arm != reference]
    return advice_about(arms) if table == "C" else list(claims_of(table))


def own_claim(arm: str, reference: str) -> Claim:
    """What an arm of a user's own table is held to: to be more accurate than the reference.

    Tested on both sides, so that *contradicted* says that it is less accurate.
    """
    return Claim(
        table="own",
        id=arm,
        side="for",
        says=f"beats {reference}",
        statistic="accuracy",
        arm=arm,
        reference=reference,
        direction=1,
    )
