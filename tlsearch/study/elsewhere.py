"""Where a change of training images is written that was looked for under the wrong field."""

from collections.abc import Mapping

IMAGE_CHANGES: Mapping[str, str] = {
    "basic": "write space.augmentation: basic",
    "trivial": "write space.augmentation: trivial",
    "randaugment": "write space.augmentation: randaugment",
    "flip": "a strength of basic: write space.augmentation: {basic: {flip: 0.5}}",
    "vertical_flip": "a strength of basic: write space.augmentation: {basic: {vertical_flip: 0.5}}",
    "rotation": "a strength of basic: write space.augmentation: {basic: {rotation: 15}}",
    "shift": "a strength of basic: write space.augmentation: {basic: {shift: 0.1}}",
    "shear": "a strength of basic: write space.augmentation: {basic: {shear: 10}}",
    "zoom": "a strength of basic: write space.augmentation: {basic: {zoom: 0.1}}",
    "crop": "a strength of basic: write space.augmentation: {basic: {crop: 0.7}}",
    "colour": "a strength of basic: write space.augmentation: {basic: {colour: 0.2}}",
    "erasing": "write space.erasing: 0.5",
    "mixup": "write space.mixing: mixup",
    "cutmix": "write space.mixing: cutmix",
    "fgsm": "write space.adversarial: fgsm",
    "pgd": "write space.adversarial: pgd",
    "fourier": "write space.adaptation: fourier",
    "moments": "write space.adaptation: moments",
    "style": "write space.adaptation: style",
}
"""What to write, by the name that somebody may know a change of images by."""
