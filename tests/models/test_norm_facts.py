import pytest
import torch

from tests.models.strategies import strategy
from tests.training.small import trainer
from tlsearch.config.catalog import CATALOGUE, norm_momentum
from tlsearch.models.backbones import build_backbone


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_facts_are_those_of_the_networks(name: str) -> None:
    facts = CATALOGUE[name]
    with torch.device("meta"):
        backbone = build_backbone(
            name=name, num_classes=2, image_size=facts.native_size, dropout=0.0, seed=0
        )
    norms = (m for m in backbone.model.modules() if isinstance(m, torch.nn.BatchNorm2d))
    momenta = {norm.momentum for norm in norms}
    assert momenta == ({norm_momentum(facts)} - {None})


def test_running_statistics_follow_the_batches_as_fast_as_asked() -> None:
    def means(momentum: float | None) -> torch.Tensor:
        of = trainer(strategy(lr=1e-30, norm_momentum=momentum), num_epochs=1)
        list(of.epochs())
        (first, *_) = (m for m in of.backbone.model.modules() if hasattr(m, "running_mean"))
        found: torch.Tensor = first.running_mean
        return found

    own, usual, slow, whole = means(None), means(0.1), means(0.001), means(1.0)
    assert torch.equal(own, usual)
    assert slow.norm() < 0.1 * usual.norm()
    assert whole.norm() > usual.norm()
