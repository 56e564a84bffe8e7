"""What the embedded source model is made of: fonts, jitter, training. No torch here.

The numbers were chosen so that features learned on printed characters carry over to handwritten
digits; any change of them changes the key, and with it the cached weights.
"""

import hashlib
import importlib.util
import json
import re
import string
from dataclasses import asdict, dataclass
from pathlib import Path

from tlsearch.config.catalog import CATALOGUE
from tlsearch.errors import WorkError
from tlsearch.models.weights import damage

CHARACTERS = string.digits + string.ascii_uppercase

# Literal, not listed from the folder: its other fonts hold symbols only, and a font added by a
# later matplotlib must not change the source data unseen.
TRAINING_FACES = (
    "DejaVuSans-Bold.ttf",
    "DejaVuSans-BoldOblique.ttf",
    "DejaVuSans-Oblique.ttf",
    "DejaVuSans.ttf",
    "DejaVuSansMono-Bold.ttf",
    "DejaVuSansMono-BoldOblique.ttf",
    "DejaVuSansMono-Oblique.ttf",
    "DejaVuSansMono.ttf",
    "DejaVuSerif-BoldItalic.ttf",
    "DejaVuSerif-Italic.ttf",
    "DejaVuSerif.ttf",
    "STIXGeneral.ttf",
    "STIXGeneralBol.ttf",
    "STIXGeneralItalic.ttf",
    "cmb10.ttf",
    "cmmi10.ttf",
    "cmr10.ttf",
    "cmti10.ttf",
    "cmtt10.ttf",
)
UNSEEN_FACES = ("DejaVuSerif-Bold.ttf", "STIXGeneralBolIta.ttf", "cmss10.ttf")


@dataclass(frozen=True, kw_only=True)
class Jitter:
    """Ranges of the random changes; lengths are parts of the canvas, angles are degrees.

    `aspect` is the largest change of log(width / height), `warp` the deviation of the smooth
    displacement. `coarse_share` of the images is reduced to `coarsest` … half the pixels a side
    and enlarged again, as a scan of few pixels is. `contrast` is the span from paper to ink.
    """

    rotation: float = 15
    shear: float = 25
    scale: tuple[float, float] = (1.0, 1.6)
    aspect: float = 0.25
    shift: float = 0.06
    warp: float = 0.05
    stroke: tuple[float, float] = (-0.01, 0.03)
    coarse_share: float = 0.75
    coarsest: int = 8
    inverted_share: float = 0.1
    contrast: tuple[float, float] = (0.6, 1.0)
    noise: float = 0.05


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the source model is trained: a linear warm-up, then half a cosine to 0.

    Networks with BatchNorm are trained by SGD with Nesterov momentum: its features did better
    than AdamW's on the digits in a sweep that is not kept. The others need AdamW.
    """

    faces: tuple[str, ...] = TRAINING_FACES
    unseen_faces: tuple[str, ...] = UNSEEN_FACES
    num_images: int = 57_600
    batch_size: int = 128
    warmup_share: float = 0.2
    clip_norm: float = 5.0
    momentum: float = 0.9
    sgd_lr: float = 0.05
    sgd_weight_decay: float = 5e-4
    adamw_lr: float = 1e-3
    adamw_weight_decay: float = 0.05
    seed: int = 0
    jitter: Jitter = Jitter()


RECIPE = Recipe()

# Raise one when code changes what the same numbers give networks of this family.
_VERSION = 1
_VERSIONS = {"convnext": 2, "swin": 2, "vit": 2}  # 2: tokens, positions and scales do not decay


def font_file(face: str) -> Path:
    """Path of one of matplotlib's fonts, without importing matplotlib where that can be avoided."""
    spec = importlib.util.find_spec("matplotlib")
    if spec is not None and spec.origin is not None:
        path = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / face
        if path.is_file():
            return path
    import matplotlib  # a distribution that moved the data

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / face


def recipe_key(recipe: Recipe, *, backbone: str, image_size: int) -> str:
    """16 hex digits that change with the recipe, the fonts' bytes, the backbone or the size.

    Raises:
        WorkError: a font is missing.
    """
    facts = CATALOGUE.get(backbone)
    version = _VERSIONS.get(facts.family, _VERSION) if facts else _VERSION
    network = backbone + facts.source if facts else backbone
    digest = hashlib.sha256(
        json.dumps([version, CHARACTERS, asdict(recipe), network, image_size]).encode()
    )
    for face in recipe.faces + recipe.unseen_faces:
        try:
            digest.update(font_file(face).read_bytes())
        except OSError as error:
            raise WorkError(
                f"font {error.filename}: {error.strerror} — it is part of matplotlib; reinstall it"
            ) from None
    return digest.hexdigest()[:16]


def glyph_file(recipe: Recipe, *, backbone: str, image_size: int, cache: Path) -> Path:
    """Where the weights of a source model are kept below `cache`, whether they are there or not.

    Raises:
        WorkError: a font is missing.
    """
    key = recipe_key(recipe, backbone=backbone, image_size=image_size)
    name = re.sub("[/:]", "-", backbone)
    return cache / f"glyphs-{name}-{image_size}px-{key}.safetensors"


def cached_glyph_weights(*, backbone: str, image_size: int, cache: Path) -> Path | None:
    """The file of the source model if it is there and whole, else None; writes nothing."""
    file = glyph_file(RECIPE, backbone=backbone, image_size=image_size, cache=cache)
    return file if damage(file) is None else None
