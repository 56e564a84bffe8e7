"""Write tlsearch/config/networks.json: a row for every network of torchvision and of timm.

    python benchmarks/networks.py            every network again, some 80 minutes on one core
    python benchmarks/networks.py NAME …     these alone, the others as they are

Networks are built on the meta device, so that none of their weights is made. What cannot be found
out by building stands here: which parameters of torchvision's networks make a layer group, in its
own names; timm has matchers of its own.
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torchvision.models import get_model_weights, list_models

import tlsearch.config
from tlsearch.config.catalog import (
    IMAGENET,
    PREFIX,
    BackboneFacts,
    LayerMap,
    NetworkError,
    Normalisation,
    group_of,
    groups,
)
from tlsearch.models.backbones import new_model
from tlsearch.models.describe import Sizes, describe_timm, measured
from tlsearch.models.layouts import Layout, as_map, layout_of
from tlsearch.models.own import NUM_CLASSES

FILE = Path(tlsearch.config.__path__[0]) / "networks.json"

_RESNET: LayerMap = (
    ("stem", r"(conv1|bn1)\."),
    ("layer1", r"layer1\."),
    ("layer2", r"layer2\."),
    ("layer3", r"layer3\."),
    ("layer4", r"layer4\."),
    ("head", r"fc\."),
)
# MobileNets: a stage ends where the resolution or, at stride 16, the width changes.
_MOBILENET_V2: LayerMap = (
    ("stem", r"features\.[01]\."),
    ("stage1", r"features\.[23]\."),
    ("stage2", r"features\.[4-6]\."),
    ("stage3", r"features\.([7-9]|10)\."),
    ("stage4", r"features\.1[1-3]\."),
    ("stage5", r"features\.1[4-7]\."),
    ("top", r"features\.18\."),
    ("head", r"classifier\.1\."),
)
_MOBILENET_V3_SMALL: LayerMap = (
    ("stem", r"features\.0\."),
    ("stage1", r"features\.1\."),
    ("stage2", r"features\.[23]\."),
    ("stage3", r"features\.[4-6]\."),
    ("stage4", r"features\.[78]\."),
    ("stage5", r"features\.(9|10|11)\."),
    ("top", r"(features\.12|classifier\.0)\."),
    ("head", r"classifier\.3\."),
)
_MOBILENET_V3_LARGE: LayerMap = (
    ("stem", r"features\.[01]\."),
    ("stage1", r"features\.[23]\."),
    ("stage2", r"features\.[4-6]\."),
    ("stage3", r"features\.([7-9]|10)\."),
    ("stage4", r"features\.1[12]\."),
    ("stage5", r"features\.1[3-5]\."),
    ("top", r"(features\.16|classifier\.0)\."),
    ("head", r"classifier\.3\."),
)
_EFFICIENTNET: LayerMap = (
    ("stem", r"features\.0\."),
    *((f"stage{i}", rf"features\.{i}\.") for i in range(1, 8)),
    ("top", r"features\.8\."),
    ("head", r"classifier\.1\."),
)
_EFFICIENTNET_V2_S: LayerMap = (  # one stage fewer than all the others
    *_EFFICIENTNET[:7],
    ("top", r"features\.7\."),
    ("head", r"classifier\.1\."),
)
# ConvNeXt and Swin: the layer that halves the resolution goes with the stage that it feeds, the
# norm before the head with the last stage.
_CONVNEXT: LayerMap = (
    ("stem", r"features\.0\."),
    ("stage1", r"features\.1\."),
    ("stage2", r"features\.[23]\."),
    ("stage3", r"features\.[45]\."),
    ("stage4", r"(features\.[67]|classifier\.0)\."),
    ("head", r"classifier\.2\."),
)
_SWIN: LayerMap = (
    ("stem", r"features\.0\."),
    ("stage1", r"features\.1\."),
    ("stage2", r"features\.[23]\."),
    ("stage3", r"features\.[45]\."),
    ("stage4", r"(features\.[67]|norm)\."),
    ("head", r"head\."),
)


def _vit(num_layers: int) -> LayerMap:
    """The encoder's layers in quarters; the last norm goes with the last quarter."""
    quarter = num_layers // 4
    layers = [
        "layers\\.encoder_layer_(" + "|".join(map(str, range(i, i + quarter))) + ")"
        for i in range(0, num_layers, quarter)
    ]
    layers[-1] = f"({layers[-1]}|ln)"
    return (
        ("embedding", r"class_token$|conv_proj\.|encoder\.pos_embedding$"),
        *((f"encoder{i}", rf"encoder\.{pattern}\.") for i, pattern in enumerate(layers, 1)),
        ("head", r"heads\.head\."),
    )


def _vgg(*convolutions: int, batch_norm: bool) -> LayerMap:
    """So many convolutions in each block between max-pools, a ReLU after each, BatchNorm between.

    VGG-16's IMAGENET1K_FEATURES is left out: no classifier, and a normalisation of its own.
    """
    rows, start, step = [], 0, 3 if batch_norm else 2
    for number, count in enumerate(convolutions, 1):
        layers = [start + step * i + own for i in range(count) for own in range(step - 1)]
        rows.append((f"block{number}", rf"features\.({'|'.join(map(str, layers))})\."))
        start += step * count + 1
    return (*rows, ("hidden", r"classifier\.[03]\."), ("head", r"classifier\.6\."))


FAMILIES: Mapping[str, tuple[str, LayerMap]] = {
    "resnet": ("fc", _RESNET),
    "mobilenet_v2": ("classifier.1", _MOBILENET_V2),
    "mobilenet_v3_small": ("classifier.3", _MOBILENET_V3_SMALL),
    "mobilenet_v3_large": ("classifier.3", _MOBILENET_V3_LARGE),
    "vgg11": ("classifier.6", _vgg(1, 1, 2, 2, 2, batch_norm=False)),
    "vgg13": ("classifier.6", _vgg(2, 2, 2, 2, 2, batch_norm=False)),
    "vgg16": ("classifier.6", _vgg(2, 2, 3, 3, 3, batch_norm=False)),
    "vgg19": ("classifier.6", _vgg(2, 2, 4, 4, 4, batch_norm=False)),
    "vgg11_bn": ("classifier.6", _vgg(1, 1, 2, 2, 2, batch_norm=True)),
    "vgg13_bn": ("classifier.6", _vgg(2, 2, 2, 2, 2, batch_norm=True)),
    "vgg16_bn": ("classifier.6", _vgg(2, 2, 3, 3, 3, batch_norm=True)),
    "vgg19_bn": ("classifier.6", _vgg(2, 2, 4, 4, 4, batch_norm=True)),
    "efficientnet": ("classifier.1", _EFFICIENTNET),
    "efficientnet_v2_s": ("classifier.1", _EFFICIENTNET_V2_S),
    "convnext": ("classifier.2", _CONVNEXT),
    "swin": ("head", _SWIN),
    "vit_b": ("heads.head", _vit(12)),
    "vit_l": ("heads.head", _vit(24)),
    "vit_h": ("heads.head", _vit(32)),
}
"""The head and the layer map of torchvision's networks by the start of their names."""
_STARTS = {"resnext": "resnet", "wide_resnet": "resnet"}


def describe_torchvision(name: str) -> BackboneFacts:
    """The facts of one of torchvision's networks."""
    start = next((to for of, to in _STARTS.items() if name.startswith(of)), name)
    key = max((key for key in FAMILIES if start.startswith(key)), key=len)
    head, layer_map = FAMILIES[key]
    family = next(
        f for f in ("mobilenet_v2", "mobilenet_v3", key.split("_")[0]) if key.startswith(f)
    )
    family = "vgg" if family.startswith("vgg") else family
    # VGG-16's IMAGENET1K_FEATURES is left out: no classifier, and a normalisation of its own.
    weights = [] if name == "resnet10" else list(get_model_weights(name))
    weights = [entry for entry in weights if entry.name != "IMAGENET1K_FEATURES"]
    presets = {entry.name: entry.transforms() for entry in weights}
    norms = {n: (tuple(p.mean), tuple(p.std)) for n, p in presets.items()}
    sizes = [p.crop_size[0] for n, p in presets.items() if "SWAG" not in n] or [
        p.crop_size[0] for n, p in presets.items() if n.endswith("LINEAR_V1")
    ]
    norm = next(iter(norms.values()), IMAGENET)
    facts = BackboneFacts(
        name=name,
        family=family,
        layer_map=layer_map,
        head=head,
        giga_macs=0.0,
        mega_activations=0.0,
        num_features=0,
        weights=tuple(presets),
        native_size=sizes[0] if sizes else 224,
        normalisation=norm,
        normalisations={tag: other for tag, other in norms.items() if other != norm},
        interpolation=next((p.interpolation.value for p in presets.values()), "bilinear"),
    )
    size = facts.native_size
    with torch.device("meta"):
        model = new_model(
            facts._replace(takes_size=family == "vit"), num_classes=NUM_CLASSES, image_size=size
        )
    owned: dict[str, list[str]] = {group: [] for group in groups(facts)[:-1]}
    for tensor, _ in model.named_parameters():
        if (group := group_of(facts, tensor)) != "head":
            owned[group].append(tensor)
    layout = layout_of(model, owned, head)
    found = measured(facts._replace(layer_map=as_map(layout)), model, sizes={})
    # The published count, which is torchvision's own where it differs by what is counted.
    counts = [
        e.meta["_ops"]
        for n, e in zip(presets, weights, strict=True)
        if presets[n].crop_size == [size]
    ]
    return found._replace(giga_macs=counts[0]) if counts else found


_HAND = ("resnet10",)  # torchvision's code with one block a stage, and no published weights


def torchvision_networks() -> list[str]:
    """Those of torchvision's classifiers whose layer map is here."""
    import torchvision

    known = list_models(module=torchvision.models)
    starts = (*FAMILIES, *_STARTS)
    return [*_HAND, *(name for name in known if name.startswith(starts))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    wanted = parser.parse_args().names
    import timm

    warnings.filterwarnings("ignore")
    every = [*torchvision_networks(), *(f"{PREFIX}{name}" for name in timm.list_models())]
    file = json.loads(FILE.read_text()) if wanted and FILE.exists() else {}
    tables, sizes = Tables(file), Sizes()
    started = time.monotonic()
    for name in wanted or every:
        try:
            facts = (
                describe_timm(name, sizes=sizes)
                if name.startswith(PREFIX)
                else describe_torchvision(name)
            )
        except NetworkError as error:
            print(f"left out: {error}", file=sys.stderr)
            tables.left_out[name] = error.rule
            continue
        except Exception as error:
            print(f"left out, and not refused: {name}: {error!r}", file=sys.stderr)
            continue
        tables.add(facts)
        if len(tables.rows) % 50 == 0:
            tables.write(tables.rows)
    order = {name: i for i, name in enumerate(every)}
    tables.write(sorted(tables.rows, key=lambda name: order.get(name, -1)))
    print(f"{len(tables.rows)} networks in {time.monotonic() - started:.0f} s", file=sys.stderr)


class Tables:
    """The rows of the file, and what many of them share."""

    def __init__(self, file: Mapping[str, Any]) -> None:
        self.rows: dict[str, dict[str, Any]] = dict(file.get("networks", {}))
        self.layouts: list[Layout] = list(file.get("layouts", []))
        self.norms: list[Any] = list(file.get("normalisations", []))
        self.left_out: dict[str, str] = dict(file.get("left_out", {}))

    def add(self, facts: BackboneFacts) -> None:
        """A row: fields by name, those at their defaults left out."""
        row = {
            name: value
            for name, value in facts._asdict().items()
            if name != "name" and value != BackboneFacts._field_defaults.get(name, _NOTHING)
        }
        row["layout"] = self._place(self.layouts, _as_layout(row.pop("layer_map")))
        if facts.cuts == tuple(range(1, len(facts.layer_map))):
            row.pop("cuts")
        else:
            row["cuts"] = list(facts.cuts)
        if facts.weights:
            row["weights"] = " ".join(facts.weights)
        if "normalisation" in row:
            row["normalisation"] = self._norm(facts.normalisation)
        if facts.normalisations:
            row["normalisations"] = {t: self._norm(n) for t, n in facts.normalisations.items()}
        self.rows[facts.name] = row
        self.left_out.pop(facts.name, None)

    def _norm(self, norm: Normalisation) -> int:
        return self._place(self.norms, [list(part) for part in norm])

    def _place(self, table: list[Any], entry: Any) -> int:
        if entry not in table:
            table.append(entry)
        return table.index(entry)

    def write(self, names: Iterable[str]) -> None:
        """The file, a line for each network and each layout."""
        made_with = {name: version(name) for name in ("timm", "torch", "torchvision")}
        lines = [
            f' "made_with": {json.dumps(made_with)}',
            ' "layouts": [\n' + ",\n".join(f"  {json.dumps(x)}" for x in self.layouts) + "\n ]",
            f' "normalisations": {json.dumps(self.norms)}',
            ' "left_out": {\n'
            + ",\n".join(f"  {json.dumps(n)}: {json.dumps(r)}" for n, r in self.left_out.items())
            + "\n }",
            ' "networks": {\n'
            + ",\n".join(f"  {json.dumps(n)}: {json.dumps(self.rows[n])}" for n in names)
            + "\n }",
        ]
        FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


_NOTHING = object()


def _as_layout(layer_map: LayerMap) -> Layout:
    """The paths of a map that `prefixes` made."""
    ending = r")(\.|$)"
    return {
        group: pattern.removesuffix(ending)[1:].replace("|", " ").replace("\\", "")
        for group, pattern in layer_map
    }


if __name__ == "__main__":
    main()
