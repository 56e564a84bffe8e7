"""Every claim of the documents, declared before any run: tables A and B, then the advice (C).

To add one: a line in `CLAIMS`, and a statistic that measures it (`comparison.statistics`).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tlsearch.comparison.design import Table
from tlsearch.comparison.statistics import STATISTICS, Statistic
from tlsearch.config.comparison import Traits

Side = Literal["for", "against", "fits"]
"""Advantage, drawback, and what a strategy is suited to."""
Direction = Literal[1, -1, "none"]

ANYWHERE = Traits()


@dataclass(frozen=True)
class Claim:
    """One cell of the documents' tables, one piece of advice, or an arm of a user's own table.

    `direction` says which way `arm` less `reference` must differ from 0 ("none": printed, not
    tested). `reference` None tests the arm's own figure; "others" is the mean of the table's other
    rows. It is made about scenarios of the kind `scenario`. `elsewhere`: the reference is taken
    there, and not where the arm is. `swept`: dimensions whose sweep is meant, of statistics that
    need one; empty stands for any but the base rate. Of `score_correlation` it is the score.
    """

    table: Table
    id: str
    side: Side
    says: str
    statistic: str
    arm: str
    reference: str | None
    direction: Direction
    scenario: Traits = ANYWHERE
    elsewhere: Traits | None = None
    swept: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Unique within a comparison; the documents' id is shared by a row's cells."""
        parts = [self.id, self.side, self.statistic, self.arm]
        parts += [*self.scenario.named().values(), *self.swept[:1]]
        return "-".join(part.replace(" ", "_").replace(".", "_") for part in parts)

    @property
    def measure(self) -> Statistic:
        """The statistic with its unit, and delta, the smallest effect of interest."""
        return STATISTICS[self.statistic]


# The documents' rows in their order; an arm of a comparison bears the id.
STRATEGIES: Mapping[str, str] = {
    "A1": "fixed rate",
    "A2": "decay",
    "A3": "layer-wise rates",
    "A4": "warm-up",
    "A5": "adaptive",
}
WAYS_TO_SPLIT: Mapping[str, str] = {"B1": "random", "B2": "stratified", "B3": "by time"}
ADVICE_ON: Mapping[str, str] = {
    "C1": "batch size",
    "C2": "L1 penalty",
    "C3": "L2 penalty",
    "C4": "dropout",
    "C5": "how much to freeze",
    "C6": "gradual unfreezing",
    "C7": "whether to transfer",
    "C8": "augmentation",
    "C9": "adversarial training",
    "C10": "domain adaptation",
    "C11": "early stopping",
    "C12": "gradient clipping",
    "C13": "choice of the pretrained network",
    "C14": "clean data",
    "C15": "base rate",
}
# What a user of tlsearch need not know or write: the answer to claims by "knowledge".
TAKEN_OVER: Mapping[str, str] = {
    "A3": "the layer groups of every backbone, their order from input to head, and each one's rate",
    "B2": "drawing class by class; a class too small for all parts is refused by name",
}

SIMILAR = Traits(similarity="similar")
DISSIMILAR = Traits(similarity="dissimilar")
SIMILAR_EASY = Traits(similarity="similar", difficulty="easy")
SIMILAR_HARD = Traits(similarity="similar", difficulty="hard")
DISSIMILAR_FEW = Traits(similarity="dissimilar", labels="few")
DISSIMILAR_LARGE = Traits(similarity="dissimilar", labels="many")
IMBALANCED_FEW = Traits(labels="few", balance="imbalanced")
BALANCED_MANY = Traits(labels="many", balance="balanced")
IN_TIME = Traits(order="time")
CLEANED = Traits(cleaning="cleaned")
AS_FOUND = Traits(cleaning="as found")


def _cell(row: str, side: Side, says: str, statistic: str, *rest: Any, **swept: Any) -> Claim:
    """A claim of tables A and B: of the arm that bears the row's id."""
    table: Table = "A" if row in STRATEGIES else "B"
    return Claim(table, row, side, says, statistic, row, *rest, **swept)


def _advice(row: str, *rest: Any, **swept: Any) -> Claim:
    return Claim("C", row, "for", *rest, **swept)


# fmt: off
CLAIMS: tuple[Claim, ...] = (
    # A1 fixed rate · A2 decay · A3 layer-wise rates · A4 warm-up · A5 adaptive. A1 is the reference
    # of all others, and A2 that of A1: the strategy that is to cure its faults.
    _cell("A1", "for", "few parameters to set", "settings", None, "none"),
    _cell("A1", "for", "few trials suffice to tune it", "trials_to_come_within", "A2", -1),
    _cell("A1", "against", "oscillates near the optimum", "oscillation", "A2", 1),
    _cell("A1", "against", "converges slowly", "epochs_to_share", "A2", 1),
    _cell("A1", "fits", "similar data, easy task", "accuracy", "others", 1, SIMILAR_EASY),
    _cell("A2", "for", "does not oscillate near the optimum", "oscillation", "A1", -1),
    _cell("A2", "for", "better final accuracy", "accuracy", "A1", 1),
    _cell("A2", "against", "its own parameters take several trials",
          "trials_to_come_within", "A1", 1),
    _cell("A2", "fits", "similar data, hard task", "accuracy", "others", 1, SIMILAR_HARD),
    _cell("A3", "for", "early layers keep their features", "cka_drift", "A1", -1),
    _cell("A3", "for", "early layers keep their weights", "weight_drift", "A1", -1),
    _cell("A3", "for", "keeps accuracy on the source task", "source_accuracy", "A1", 1),
    _cell("A3", "for", "uses the pretrained knowledge better", "accuracy", "A1", 1),
    _cell("A3", "against", "demands knowledge of the network's structure",
          "knowledge", None, "none"),
    _cell("A3", "against", "sensitive to the ratio of rates",
          "sensitivity", None, 1, swept=("lr_ratio",)),
    _cell("A3", "fits", "dissimilar data where some knowledge must survive",
          "accuracy", "others", 1, DISSIMILAR),
    _cell("A4", "for", "smaller gradients early in training", "early_gradient_norm", "A1", -1),
    _cell("A4", "for", "diverges less often", "divergence_share", "A1", -1),
    _cell("A4", "against", "sensitive to the length of the warm-up",
          "sensitivity", None, 1, swept=("warmup_epochs", "warmup_steps", "warmup_fraction")),
    _cell("A4", "against", "sensitive to the start rate",
          "sensitivity", None, 1, swept=("warmup_start_fraction",)),
    _cell("A4", "fits", "dissimilar and large data", "accuracy", "others", 1, DISSIMILAR_LARGE),
    _cell("A5", "for", "works over a wider range of base rates", "usable_decades", "A1", 1),
    _cell("A5", "against", "sensitive to its own parameters", "sensitivity", None, 1),
    _cell("A5", "fits", "most cases", "mean_rank", "others", -1),
    # B1 random · B2 stratified · B3 by time.
    _cell("B1", "for", "few parameters to set", "settings", None, "none"),
    _cell("B1", "against", "class shares differ between the parts",
          "class_share_distance", "B2", 1),
    # No harm there is claimed: the figure against size and imbalance is printed beside it.
    _cell("B1", "fits", "large, balanced data",
          "class_share_distance", "B1", -1, BALANCED_MANY, IMBALANCED_FEW),
    _cell("B2", "for", "class shares agree between the parts", "class_share_distance", "B1", -1),
    _cell("B2", "against", "harder to implement", "knowledge", None, "none"),
    _cell("B2", "fits", "small, imbalanced data", "estimate_spread", "B1", -1, IMBALANCED_FEW),
    _cell("B3", "for", "predicts accuracy on later data", "future_error", "B1", -1, IN_TIME),
    _cell("B3", "against", "neighbouring samples depend on one another",
          "estimate", "B3 with gap", 1, IN_TIME),
    _cell("B3", "fits", "time-ordered data", "future_error", "others", -1, IN_TIME),
    # The documents' running text.
    _advice("C1", "small batches generalise better", "accuracy", "small batch", "large batch", 1),
    _advice("C1", "large batches train faster",
            "images_per_second", "large batch", "small batch", 1),
    _advice("C1", "the gradient noise suggests a batch size",
            "noise_scale", "small batch", None, "none"),
    _advice("C2", "an L1 penalty makes weights sparse", "sparsity", "l1", "no penalty", 1),
    _advice("C3", "an L2 penalty keeps weights small", "weight_norm", "l2", "no penalty", -1),
    _advice("C3", "an L2 penalty narrows the generalisation gap",
            "generalisation_gap", "l2", "no penalty", -1),
    _advice("C4", "dropout lessens overfitting", "generalisation_gap", "dropout", "none", -1),
    _advice("C5", "freeze more when the data are similar",
            "best_freeze_depth", "freeze", "freeze", 1, SIMILAR, DISSIMILAR),
    _advice("C6", "gradual unfreezing keeps the features",
            "cka_drift", "gradual", "all at once", -1),
    _advice("C6", "gradual unfreezing keeps accuracy on the source task",
            "source_accuracy", "gradual", "all at once", 1),
    _advice("C7", "transfer can be worse than training from scratch",
            "accuracy", "transfer", "from scratch", -1, DISSIMILAR_FEW),
    *(
        _advice("C8", says, statistic, arm, "none", direction)
        for arm, way in (
            ("augmented", "augmentation"),
            ("trivial", "random augmentation"),
            ("mixed", "mixing two images"),
        )
        for says, statistic, direction in (
            (f"{way} raises accuracy", "accuracy", 1),
            (f"{way} narrows the generalisation gap", "generalisation_gap", -1),
        )
    ),
    *(
        _advice("C9", f"training on attacks {says}", statistic, arm, "none", direction)
        for arm, way in (("adversarial", ""), ("one step", "of one step "))
        for says, statistic, direction in (
            (f"{way}makes a network robust to attacks of many steps", "robust_accuracy", 1),
            (f"{way}makes a network robust to attacks of one step", "robust_accuracy.fgsm", 1),
            (f"{way}costs accuracy on clean images", "accuracy", -1),
        )
    ),
    # Training may move the domains by itself, so what adaptation does to the images is measured in
    # the network before training, and what training makes of it in the one after.
    *(
        _advice("C10", f"adapting by {says}", statistic, arm, reference, direction)
        for arm, way in (
            ("fourier", "exchanged amplitudes"),
            ("moments", "matched mean and contrast"),
            ("style", "style transfer"),
        )
        for says, statistic, reference, direction in (
            (f"{way} brings images closer to the source", "adapted_distance", None, -1),
            (f"{way} brings the domains closer in training", "domain_distance", "none", -1),
            (f"{way} raises accuracy", "accuracy", "none", 1),
        )
    ),
    _advice("C11", "early stopping prevents overfitting",
            "accuracy", "early stopping", "full length", 1),
    _advice("C11", "early stopping saves epochs",
            "epochs_spent", "early stopping", "full length", -1),
    _advice("C12", "clipping keeps steps small", "largest_step_norm", "clipped", "none", -1),
    _advice("C12", "clipping prevents divergence", "divergence_share", "clipped", "none", -1),
    _advice("C13", "the network with the best LogME on the task is the most accurate",
            "score_correlation", "network", None, 1, swept=("log_me",)),
    _advice("C13", "the network with the best LEEP on the task is the most accurate",
            "score_correlation", "network", None, 1, swept=("leep",)),
    _advice("C13", "a smaller network takes less compute", "seconds", "small", "large", -1),
    # Arms share the images of a scenario, so what was done to these is a property of the scenario.
    _advice("C14", "clean data first: fine-tuning",
            "accuracy", "fine-tuning", "fine-tuning", 1, CLEANED, AS_FOUND),
    _advice("C14", "clean data first: linear probe",
            "accuracy", "linear probe", "linear probe", 1, CLEANED, AS_FOUND),
    _advice("C15", "fine-tuning needs small learning rates",
            "accuracy", "small rate", "rate of scratch", 1),
)
# fmt: on


def claims_of(table: str) -> tuple[Claim, ...]:
    """The claims of one table, "A", "B" or "C"."""
    return tuple(claim for claim in CLAIMS if claim.table == table)


def advice_about(arms: Iterable[str]) -> list[Claim]:
    """The claims of the text (C) that these arms are there for; "freeze 2" is one of "freeze", and
    "network resnet18" one of "network".
    """
    there = {None, *(name for arm in arms for name in _names(arm))}
    advice = claims_of("C")
    return [claim for claim in advice if claim.arm in there and claim.reference in there]


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


def claims_for(table: str, *, arms: Sequence[str], reference: str) -> list[Claim]:
    """The claims that a comparison of these arms answers.

    Tables A and B are answered whole, with gaps named; of the advice what the arms are there for;
    of an own table each arm against the reference.
    """
    if table == "own":
        # Tested on both sides, so that *contradicted* says that the arm is less accurate.
        beats = f"beats {reference}"
        others = (arm for arm in arms if arm != reference)
        return [Claim("own", a, "for", beats, "accuracy", a, reference, 1) for a in others]
    return advice_about(arms) if table == "C" else list(claims_of(table))
