"""Letters on their way to the source: each kind of adaptation, drawn as a table of images.

    uv run python benchmarks/adaptation_pictures.py -o docs/adaptation.png

Needs the source model of resnet10 at 32 px, which it makes if it is not in the cache.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from tlsearch.config.catalog import CATALOGUE
from tlsearch.config.paths import user_cache
from tlsearch.config.sources import Letters
from tlsearch.data.glyph_recipe import RECIPE
from tlsearch.data.sources import drawn_images
from tlsearch.execution.source import glyph_source
from tlsearch.models.backbones import build_backbone
from tlsearch.models.pretrained import load_pretrained
from tlsearch.models.weights import pretrained_state
from tlsearch.training.batches import Pixels, unit_batch
from tlsearch.training.domain_adaptation import drawn_for, exchange_amplitudes, match_moments
from tlsearch.training.pretrain import glyph_weights
from tlsearch.training.style_transfer import StyleNetwork, transfer_style

BACKBONE, SIZE, ZOOM, MARGIN, NAMES = "resnet10", 32, 3, 6, 150
COLUMNS = 8


def silent(_share: float, _text: str) -> None:
    """No bar."""


def rows_of(columns: int) -> dict[str, Tensor]:
    """Images (columns, 3, 32, 32) by what was done to them."""
    found = drawn_images(
        Letters(images=2600, difficulty=0.5, similarity=0.5), size=SIZE, on_progress=silent
    )
    mean, std = CATALOGUE[BACKBONE].normalisation
    pixels = Pixels(images=found.images, labels=found.labels, mean=mean, std=std)
    chosen = np.linspace(0, len(found.labels) - 1, columns).astype(int)
    source, among = glyph_source(backbone=BACKBONE, image_size=SIZE).train
    lenders = drawn_for(chosen, among=among, seed=0, epoch=1)
    cpu = torch.device("cpu")
    images = unit_batch(pixels, chosen, device=cpu).contiguous()
    sources = unit_batch(source, lenders, device=cpu).contiguous()
    network = build_backbone(name=BACKBONE, num_classes=2, image_size=SIZE, dropout=0.0, seed=0)
    weights = glyph_weights(
        RECIPE,
        backbone=BACKBONE,
        image_size=SIZE,
        cache=user_cache(),
        threads=1,
        on_progress=silent,
    )
    state = pretrained_state(backbone=BACKBONE, weights=str(weights))
    assert state is not None
    load_pretrained(network, state)
    return {
        "letters": images,
        "source image": sources,
        "fourier, band 0.1": exchange_amplitudes(images, sources, band=0.1, strength=1.0),
        "fourier, band 0.3": exchange_amplitudes(images, sources, band=0.3, strength=1.0),
        "moments": match_moments(images, sources, strength=1.0),
        "style, 1 group": transfer_style(StyleNetwork(network, 1, pixels), images, sources),
        "style, 3 groups": transfer_style(StyleNetwork(network, 3, pixels), images, sources),
    }


def table(rows: dict[str, Tensor]) -> Image.Image:
    """A row a kind, its name before it."""
    side = ZOOM * SIZE
    width = NAMES + COLUMNS * (side + MARGIN) + MARGIN
    sheet = Image.new("RGB", (width, len(rows) * (side + MARGIN) + MARGIN), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for y, (name, images) in enumerate(rows.items()):
        top = MARGIN + y * (side + MARGIN)
        pen.text((MARGIN, top + side / 2), name, fill="black", font=font, anchor="lm")
        shown = (255 * images.clamp(0, 1)).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        for x, image in enumerate(shown):
            picture = Image.fromarray(image).resize((side, side), Image.Resampling.NEAREST)
            sheet.paste(picture, (NAMES + x * (side + MARGIN), top))
    return sheet


def main() -> None:
    """Draw the table into a file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    to = parser.parse_args().output
    table(rows_of(COLUMNS)).save(to, optimize=True)
    print(f"{to}: {to.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
