"""What can be measured of a trained model, and the fixed numbers behind it."""

MEASURES = (
    "cka_drift",
    "weight_drift",
    "source_accuracy",
    "early_gradient_norm",
    "largest_step_norm",
    "oscillation",
    "epochs_to_share",
    "epochs_spent",
    "generalisation_gap",
    "sparsity",
    "weight_norm",
    "images_per_second",
    "seconds",
    "noise_scale",
    "robust_accuracy",
    "domain_distance",
    "adapted_distance",
)
"""Statistics that a single training answers by one number. `cka_drift` and `weight_drift` also come
as `NAME.GROUP` for each layer group but the head, `robust_accuracy` (that under PGD) as `.fgsm` and
`.pgd`, `domain_distance` (Fréchet's) as `.error` and `.proxy_a`, `adapted_distance` (a ratio) as
`.before` and `.after`."""

EARLY_SHARE = 0.1
"""Of all steps that were planned: where gradients may explode (claims.md, A4)."""
ACCURACY_SHARE = 0.95
"""Of the final accuracy, for the number of epochs to get there (A1)."""
NEAR_ZERO = 1e-3
"""Of the layer's largest weight: what counts as empty (C2)."""

SOURCE_IMAGES = 1024
"""Held-out images of the source task."""
PROBE_IMAGES, PROBE_PENALTY = 4096, 0.1
"""Images that the source's linear probe is fitted to, and its ridge penalty per image, on features
of variance 1. ResNet-18 at 32 px reads 86.0 % of the held-out characters by it, and 85.2 % by the
head that it was trained with; penalties of 0.01 and 1 changed that by less than a point."""

NOISE_BATCHES, NOISE_BATCH_SIZE = 32, 8
NOISE_IMAGES = 1024
"""Batches behind the gradient noise scale, and the images of the one large batch: the training
part, where it has no more. With pairs of 8 and 64 images the signal drowned."""

DOMAIN_IMAGES = 512
"""Of either domain, at the most, for the distance between them."""
DOMAIN_FOLDS = 5
"""Of the classifier that tells domains apart."""

ATTACKED_IMAGES = 200
"""Images of the test part that are attacked at the most."""
EPSILON = 8 / 255
"""Largest change of a pixel in 0 … 1 (arXiv:1706.06083 takes it for natural images)."""
PGD_STEPS = 10
PGD_STEP_SIZE = 2.5 * EPSILON / PGD_STEPS
"""Enough to cross the ball from any start, as in arXiv:1706.06083."""
