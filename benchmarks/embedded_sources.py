"""What the knobs of the drawn sources do: difficulty, and similarity to the glyph source model.

    uv run python benchmarks/embedded_sources.py [--images 2000] [--labels 20]

For letters, textures and glyphs at several settings, the accuracy of logistic regression from a few
labels a class on the rest: on the pixels, on features of an untrained ResNet-18, and on those of
the glyph source model (trained first, some minutes, unless it is cached). Difficulty should lower
all three; similarity should raise the accuracy on glyph features as a multiple of that on untrained
ones, and the similarity that a study measures (last column but one).
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tlsearch.config.catalog import CATALOGUE
from tlsearch.config.images import DataConfig
from tlsearch.config.paths import user_cache
from tlsearch.config.runtime import no_progress
from tlsearch.data.glyph_recipe import RECIPE
from tlsearch.data.sources import load_images
from tlsearch.execution.network_scores import glyph_images, shapeless
from tlsearch.metrics.domain import similarity
from tlsearch.models.backbones import build_backbone
from tlsearch.models.pretrained import load_pretrained
from tlsearch.models.weights import pretrained_state
from tlsearch.training.batches import Pixels, pixel_batch
from tlsearch.training.pretrain import glyph_weights

BACKBONE, SIZE, SEEDS, MEASURED = "resnet18", 32, 3, 1000
SETTINGS = [
    *(("letters", d, s) for s in (1.0, 0.5, 0.0) for d in (0.0, 0.2, 0.5, 0.8, 1.0)),
    *(("textures", d, s) for s in (1.0, 0.5, 0.0) for d in (0.0, 0.2, 0.5, 0.8, 1.0)),
    *(("glyphs", d, None) for d in (0.0, 0.2, 0.5, 0.8, 1.0)),
]


def trunk(weights: Path | None) -> torch.nn.Module:
    backbone = build_backbone(name=BACKBONE, num_classes=2, image_size=SIZE, dropout=0.0, seed=0)
    if weights is not None:
        state = pretrained_state(backbone=BACKBONE, weights=str(weights))
        assert state is not None
        load_pretrained(backbone, state)
    return torch.nn.Sequential(*backbone.stages[:-1]).eval()


@torch.no_grad()
def features(network: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    mean, std = CATALOGUE[BACKBONE].normalisation
    pixels = Pixels(images=images, labels=np.zeros(len(images)), mean=mean, std=std)
    rows, device = np.arange(len(images)), torch.device("cpu")
    parts = [
        network(pixel_batch(pixels, rows[i : i + 256], device=device))
        for i in range(0, len(rows), 256)
    ]
    return torch.cat(parts).numpy()


def accuracy(inputs: np.ndarray, labels: np.ndarray, per_class: int) -> float:
    """Mean over draws of the labelled images."""
    found = []
    for seed in range(SEEDS):
        order = np.random.default_rng(seed).permutation(len(labels))
        known = np.concatenate([order[labels[order] == c][:per_class] for c in np.unique(labels)])
        rest = np.setdiff1d(order, known)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200))
        model.fit(inputs[known], labels[known])
        found.append(model.score(inputs[rest], labels[rest]))
    return float(np.mean(found))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--images", type=int, default=2000)
    options.add_argument("--labels", type=int, default=20, help="a class")
    chosen = options.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    torch.set_num_threads(1)
    cache = user_cache()
    weights = glyph_weights(
        RECIPE,
        backbone=BACKBONE,
        image_size=SIZE,
        cache=cache,
        threads=1,
        on_progress=no_progress,
    )
    networks = trunk(None), trunk(weights)
    source = glyph_images(size=SIZE)
    near, far = (features(networks[1], s.images) for s in (source, shapeless(source, seed=0)))
    print("source    similarity  difficulty   pixels  untrained   glyphs measured  seconds to draw")
    for name, difficulty, asked in SETTINGS:
        knobs = {"images": chosen.images, "difficulty": difficulty}
        if asked is not None:
            knobs["similarity"] = asked
        data = DataConfig.model_validate({"source": {name: knobs}, "size": SIZE})
        started = time.perf_counter()
        drawn = load_images(data, cache=cache, on_progress=no_progress)
        seconds = time.perf_counter() - started
        inputs = [
            drawn.images.reshape(len(drawn.labels), -1) / 255.0,
            *(features(network, drawn.images) for network in networks),
        ]
        shown = [f"{accuracy(x, drawn.labels, chosen.labels):9.3f}" for x in inputs]
        shown.append(f"{similarity(near, inputs[2][:MEASURED], far=far).share:8.3f}")
        alike = "-" if asked is None else f"{asked:g}"
        print(f"{name:<9} {alike:>10}  {difficulty:10g}", *shown, f"{seconds:9.1f}", flush=True)


if __name__ == "__main__":
    main()
