"""Claims of the documents' running text (C1–C15)."""

from collections.abc import Mapping

from tlsearch.evidence.claim import ANYWHERE, Claim, Direction, Scenario

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
