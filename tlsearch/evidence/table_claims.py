"""Claims of the documents' two tables: learning-rate strategies (A) and ways to split (B)."""

from collections.abc import Mapping

from tlsearch.evidence.claim import Claim, Direction, Scenario, Side

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
DISSIMILAR = Scenario(similarity="dissimilar")
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
