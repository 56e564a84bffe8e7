"""Many heads in one job: each ends as by itself, in whichever way it ends."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.execution.jobs import setting_with, train_job
from tests.execution.test_prepare import images
from tests.search.conftest import Study
from tests.training.small import same
from tlsearch.config.paths import weights_path
from tlsearch.execution.messages import HeadsJob, JobDone, JobFailed, TrainDone, TrainJob
from tlsearch.execution.worker import _Server
from tlsearch.training import stacked_heads


class Pipe:
    """Keeps what ended, and lets every epoch go on."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, event: Any) -> None:
        self.sent.append(event)

    def recv(self) -> str:
        return "continue"


def test_each_head_ends_as_by_itself(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = study("precision=fp32", "device=cpu", "workers=1", "data.size=32")
    setting = setting_with(images(60), config, tmp_path / "s")

    def asked(number: int, keep_weights: bool = False, **params: Any) -> TrainJob:
        changes = {"freeze_depth": 5, "batch_size": 8, **params}
        return train_job(
            config,
            params=changes,
            trial=number,
            num_epochs=2,
            init="pretrained",
            keep_weights=keep_weights,
        )

    jobs = (
        asked(0, dropout=0.3),
        asked(1, keep_weights=True, lr=0.02, head_init="probe"),
        asked(2, warmup_epochs=2),  # as long as the training
        asked(3, lr=1e30),
        asked(4, freeze_depth=4),  # alone in the job
        asked(5, dropout=0.1, clip_norm=0.5),
    )
    pipe: Any = Pipe()
    server = _Server(pipe, None)
    server.configure(setting)
    stacks: list[int] = []
    train = stacked_heads._Stack.train
    monkeypatch.setattr(
        stacked_heads._Stack, "train", lambda it: stacks.append(len(it._plans)) or train(it)
    )
    server.serve(HeadsJob(jobs=jobs, backbone=""))
    done = pipe.sent.pop()
    assert isinstance(done, JobDone)
    assert sum(stacks) == 4
    kept = load_file(weights_path(setting.folder, jobs[1].key))
    for job, found in zip(jobs, done.answer, strict=True):
        server.serve(job)
        alone = pipe.sent.pop()
        assert type(found) is type(alone), alone
        if isinstance(alone, JobFailed):
            assert found == alone
            continue
        check_same(found, alone)
    again = load_file(weights_path(setting.folder, jobs[1].key))
    head = {"fc.weight", "fc.bias"}
    assert same(
        {n: v for n, v in kept.items() if n not in head},
        {n: v for n, v in again.items() if n not in head},
    )
    for name in head:
        torch.testing.assert_close(kept[name], again[name], rtol=1e-4, atol=1e-5)


def check_same(found: TrainDone, alone: TrainDone) -> None:
    assert (found.key, found.ending, found.result.reason) == (
        alone.key,
        alone.ending,
        alone.result.reason,
    )
    pairs = zip(found.result.epochs, alone.result.epochs, strict=True)
    assert all(math.isclose(a.val_loss, b.val_loss, rel_tol=1e-4) for a, b in pairs)
    assert found.result.confusion == alone.result.confusion
