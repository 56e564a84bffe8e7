"""What trains, what pulls it back, what the head starts from: read, or refused where it clashes."""

from typing import Any

import pytest

from tests.config.conftest import Read, Refused
from tlsearch.config.checks import notes
from tlsearch.config.resolved import changes, identity
from tlsearch.config.space import Choice, Fixed, Space, with_defaults
from tlsearch.config.strategy import (
    AllFeatures,
    Anova,
    Chi2,
    LossBalance,
    NoBalance,
    Strategy,
)

PRETRAINED = "name: s\ndata: {source: digits, size: 32}\nbackbone: {name: %s, weights: %s}\n"
LATE = ("trained", "layer_decay", "l2_sp", "head_init", "feature_selection", "class_balance")


def test_all_of_them_are_off_by_default() -> None:
    found = Strategy.from_params(with_defaults({}), init="random")
    assert (found.trained, found.layer_decay, found.l2_sp) == ("all", 1.0, 0.0)
    assert (found.head_init, found.ema_decay) == ("random", None)
    assert (found.feature_selection, found.class_balance) == (AllFeatures(), NoBalance())


def test_searched_with_what_each_choice_opens() -> None:
    space = Space.model_validate(
        {
            "trained": ["all", "norms", "layer1 + layer2"],
            "head_init": ["random", "probe"],
            "feature_selection": {"none": {}, "chi2": {"k": [16, 64]}, "anova": {"k": 8}},
            "class_balance": ["none", "loss"],
            "ema_decay": [None, 0.9],
        }
    )
    assert space.searched() == {
        "trained": Choice(("all", "norms", "layer1+layer2")),
        "head_init": Choice(("random", "probe")),
        "feature_selection": Choice(("none", "chi2", "anova")),
        "feature_selection.chi2.k": Choice((16, 64)),
        "class_balance": Choice(("none", "loss")),
        "ema_decay": Choice((None, 0.9)),
    }
    answers: dict[str, Any] = {
        "trained": "layer1+layer2",
        "head_init": "probe",
        "feature_selection": "chi2",
        "feature_selection.chi2.k": 16,
        "class_balance": "loss",
        "ema_decay": 0.9,
    }
    found = Strategy.from_params(space.assign(lambda n, _d: answers[n]), init="pretrained")
    assert found.feature_selection == Chi2(k=16)
    assert found.class_balance == LossBalance(beta=1.0)
    assert found.trained == "layer1+layer2"
    answers["feature_selection"] = "anova"
    again = Strategy.from_params(space.assign(lambda n, _d: answers[n]), init="pretrained")
    assert again.feature_selection == Anova(k=8)


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (
            "trained: layer9",
            "space.trained = layer9: resnet18 has no layer group layer9 (it has stem, layer1, "
            "layer2, layer3, layer4, head) — did you mean 'layer4'?",
        ),
        (
            "trained: [all, norm]",
            "space.trained = [all, norm]: resnet18 has no layer group norm (it has stem, "
            "layer1, layer2, layer3, layer4, head) — did you mean 'norms'?",
        ),
        (
            "trained: layer1+layer1",
            'space.trained = "layer1+layer1": names layer1 twice — drop one of them',
        ),
        (
            "trained: all+layer1",
            'space.trained = "all+layer1": all goes with no other name — write all alone, or '
            "groups alone",
        ),
        (
            "trained: 3",
            "space.trained = 3: must be text",
        ),
        (
            "trained: norms, freeze_depth: [0, 2]",
            "space.trained = norms: says by name what trains, and space.freeze_depth says it "
            "by depth — set space.freeze_depth: 0",
        ),
        (
            "trained: head, lr_ratio: 0.5",
            "space.lr_ratio = 0.5: nothing trains but the head — drop it, or let more train",
        ),
        (
            "freeze_depth: 5, lr_ratio: 0.5",
            "space.lr_ratio = 0.5: nothing trains but the head — drop it, or let more train",
        ),
        (
            "trained: [all, norms], l2_sp: 0.1",
            "space.l2_sp = 0.1: norms may train alone, and it pulls them only where they decay",
        ),
        (
            "layer_decay: 0.7, lr_ratio: [0.5, 1]",
            "space.layer_decay = 0.7: the rate falls per layer, and by space.lr_ratio per "
            "group as well — keep one of them, the other 1",
        ),
        (
            "layer_decay: 0.7, freeze_depth: 5",
            "space.layer_decay = 0.7: nothing trains but the head — drop it, or let more train",
        ),
        ("layer_decay: 0", "space.layer_decay = 0: must be above 0"),
        ("l2_sp: 0.1, freeze_depth: 5", "space.l2_sp = 0.1: nothing trains but the head"),
        ("l2_sp: -1", "space.l2_sp = -1: must be at least 0"),
        (
            "head_init: prob",
            "space.head_init = \"prob\": must be random or probe — did you mean 'probe'?",
        ),
        (
            "feature_selection: chi2",
            "space.feature_selection.chi2.k: is missing — add it, such as `k: 64`",
        ),
        (
            "feature_selection: {anova: {k: 9}}",
            "space.feature_selection = {anova: {k: 9}}: features are selected before training, "
            "so nothing but the head may train — set space.freeze_depth: 5, or write none",
        ),
        (
            "feature_selection: {anova: {k: 9}}, freeze_depth: 5, unfreeze_every_epochs: 2",
            "space.feature_selection = {anova: {k: 9}}: features are selected before",
        ),
        (
            "feature_selection: {chi2: {k: {low: 8, high: 600}}}, freeze_depth: 5",
            "space.feature_selection.chi2.k = {low: 8, high: 600}: the head of resnet18 sees "
            "512 features — write 512 or less",
        ),
        (
            "class_balance: {loss: {beta: 1.5}}",
            "space.class_balance.loss.beta = 1.5: must be at most 1",
        ),
        (
            "class_balance: losses",
            'space.class_balance = "losses": must be one of none, loss, sampling — did you '
            "mean 'loss'?",
        ),
        ("ema_decay: 1", "space.ema_decay = 1: must be below 1"),
    ],
)
def test_what_clashes_with_the_network_or_with_freezing(
    refused: Refused, space: str, expected: str
) -> None:
    (problem,) = refused(f"space: {{{space}}}", head=PRETRAINED % ("resnet18", "IMAGENET1K_V1"))
    assert problem.removeprefix("line 4: ").replace('"', "").startswith(expected.replace('"', ""))


@pytest.mark.parametrize(
    ("backbone", "space", "expected"),
    [
        (
            "resnet18, weights: none",
            "l2_sp: [0, 0.1]",
            "space.l2_sp = [0.0, 0.1]: there are no pretrained weights to be pulled towards — "
            "write 0, or choose backbone.weights",
        ),
        (
            "resnet18, weights: none",
            "head_init: probe",
            "space.head_init = probe: there are no pretrained weights whose features a probe "
            "could read — write random, or choose",
        ),
        (
            "swin_t, weights: none",
            "norm_momentum: [null, 0.1]",
            "space.norm_momentum = [null, 0.1]: swin_t has no BatchNorm, whose running statistics "
            "it would be of — write null",
        ),
        (
            "swin_t, weights: IMAGENET1K_V1",
            "norm_statistics: [batch, pretrained]",
            "space.norm_statistics = [batch, pretrained]: swin_t has no BatchNorm, whose "
            "statistics they would be — write batch",
        ),
        (
            "resnet18, weights: none",
            "norm_statistics: pretrained",
            "space.norm_statistics = pretrained: a network with random weights has learnt no "
            "statistics — write batch, or choose backbone.weights",
        ),
        (
            "resnet18, weights: IMAGENET1K_V1",
            "norm_statistics: pretrained, norm_momentum: 0.1",
            "space.norm_momentum = 0.1: statistics that rest take no share of a batch — write null",
        ),
        (
            "vgg11, weights: none",
            "trained: norms",
            "space.trained = norms: vgg11 has no normalisation layers — take vgg11_bn",
        ),
        (
            "swin_t, weights: none",
            "feature_selection: {chi2: {k: 8}}, freeze_depth: 5",
            "space.feature_selection.chi2 = chi2: χ² wants features that are never negative, "
            "and swin_t's come from LayerNorm — take anova",
        ),
    ],
)
def test_what_clashes_with_the_weights(
    refused: Refused, backbone: str, space: str, expected: str
) -> None:
    head = f"name: s\ndata: {{source: digits, size: 32}}\nbackbone: {{name: {backbone}}}\n"
    (problem,) = refused(f"space: {{{space}}}", head=head)
    assert problem.removeprefix("line 4: ").replace('"', "").startswith(expected)


@pytest.mark.parametrize(
    "space",
    [
        "trained: [all, norms, layer1, layer1+layer2, head]",
        "trained: layer2, lr_ratio: 0.5",
        "layer_decay: {low: 0.5, high: 1}",
        "l2_sp: {low: 0.001, high: 1, log: true}, weight_decay: 0.01",
        "head_init: probe, freeze_depth: 5",
        "feature_selection: {none: {}, chi2: {k: 512}}, freeze_depth: 5, head_init: probe",
        "feature_selection: {anova: {k: 4}}, trained: head",
        "class_balance: [none, loss, sampling], ema_decay: [null, 0.9], patience_epochs: 3",
    ],
)
def test_what_goes_together(read: Read, space: str) -> None:
    read(f"space: {{{space}}}", head=PRETRAINED % ("resnet18", "IMAGENET1K_V1"))


def test_an_arm_without_transfer_needs_none_of_it(read: Read, refused: Refused) -> None:
    head = PRETRAINED % ("resnet10", "glyphs")
    arms = "comparison: {arms: {scratch: {backbone.weights: none%s}, pulled: {space.l2_sp: 0.1}}}"
    read(arms % "", head=head)
    found = refused(arms % ", space.l2_sp: 0.1", head=head)
    assert any("no pretrained weights to be pulled towards" in line for line in found)


def test_notes(read: Read) -> None:
    head = PRETRAINED % ("resnet18", "IMAGENET1K_V1")
    long = "space: {ema_decay: [0.9, 0.999], batch_size: 32}\nbudget: {epochs: 10}\n"
    (expected,) = [n for n in notes(read(long, head=head)) if "ema_decay" in n]
    # 1797 - 359 - 359 = 1079 images: 34 steps of 32, ten times
    assert expected.startswith("ema_decay = 0.999 is not reached")
    assert "340 steps" in expected
    assert expected.endswith(f"{341 / 350:.3g}")
    short = "space: {ema_decay: 0.9, batch_size: 32}\nbudget: {epochs: 10}\n"
    assert not [n for n in notes(read(short, head=head)) if "ema_decay" in n]
    both = read("space: {l2_sp: 0.1, weight_decay: 0.1}", head=head)
    assert "with l2_sp above 0, weight_decay is the head's alone" in notes(both)
    assert not any("l2_sp" in n for n in notes(read("space: {weight_decay: 0.1}", head=head)))


def test_networks_whose_norms_lag_are_remarked_on(read: Read) -> None:
    def expected(name: str, space: str = "batch_size: 16") -> list[str]:
        text = f"space: {{{space}}}\nbudget: {{epochs: 2}}\n"
        head = PRETRAINED % (name, "IMAGENET1K_V1")
        return [note for note in notes(read(text, head=head)) if "BatchNorm" in note]

    # 1079 images: 68 steps of 16, twice; 0.99 to the power of 136 is 25 %.
    (note,) = expected("mobilenet_v3_small")
    assert note.startswith("mobilenet_v3_small's running BatchNorm statistics take 0.01 of each")
    assert "136 steps at the most: 25% of those" in note
    assert not expected("mobilenet_v3_small", "batch_size: 16, norm_momentum: 0.1")
    assert not expected("mobilenet_v3_small", "batch_size: 4")  # 540 steps
    assert not expected("mobilenet_v3_small", "trained: head")
    assert not expected("mobilenet_v3_small", "batch_size: 16, norm_statistics: pretrained")
    assert not expected("resnet18")


def test_a_study_that_is_older_than_a_dimension_goes_on(read: Read) -> None:
    new = identity(read("space: {lr: [0.1, 0.2]}"))
    old = {n: v for n, v in new.items() if not n.startswith(tuple(f"space.{d}" for d in LATE))}
    assert len(old) < len(new)
    assert changes(old, new) == []
    other = identity(read("space: {lr: [0.1, 0.2], trained: norms}"))
    assert changes(old, other) == ['space.trained: "all" → "norms"']


def test_fixed_words_are_fixed(read: Read) -> None:
    space = read("space: {trained: norms, head_init: [random]}").space
    assert (space.trained, space.head_init) == (Fixed("norms"), Fixed("random"))
