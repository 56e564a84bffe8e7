"""Many heads in one job: each ends as by itself, in whichever way it ends."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.execution.jobs import setting_with, train_job
from tests.execution.test_prepare import images
from tests.search.conftest import Study
from tests.search.fakes import setting_of
from tests.training.small import same
from tlsearch.config.images import SplitConfig
from tlsearch.config.paths import weights_path
from tlsearch.execution import messages
from tlsearch.execution.messages import EpochDone, HeadsJob, JobFailed, TrainDone, TrainJob
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


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_each_head_ends_as_by_itself(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    config = study(f"precision={precision}", "device=cpu", "workers=1", "data.size=32")
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
    server.serve(HeadsJob(jobs=jobs))
    assert sum(stacks) == 4
    told, pipe.sent = pipe.sent, []
    kept = load_file(weights_path(setting.folder, jobs[1].key))
    ended = [event for event in told if not isinstance(event, EpochDone)]
    assert [event.key for event in ended] == [job.key for job in jobs]
    monkeypatch.setattr(messages, "MOST_HEADS", 0)  # each by itself, with a `Trainer`
    for job, found in zip(jobs, ended, strict=True):
        server.serve(job)
        *epochs, by_itself = pipe.sent
        pipe.sent = []
        assert type(found) is type(by_itself), by_itself
        seen = [event for event in told if isinstance(event, EpochDone) and event.key == job.key]
        assert [event.result.epoch for event in seen] == [event.result.epoch for event in epochs]
        if isinstance(by_itself, JobFailed):
            assert found == by_itself
            continue
        check_same(found, by_itself)
    assert sum(stacks) == 4
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


@pytest.mark.parametrize(("answer", "ending"), [("stop", "stopped"), ("pause", "paused")])
def test_a_head_ends_where_it_is_told_to(
    study: Study, tmp_path: Path, answer: str, ending: str
) -> None:
    config = study("precision=fp32", "device=cpu", "workers=1", "data.size=32")
    setting = setting_with(images(60), config, tmp_path / "s")
    jobs = [
        train_job(config, params={"freeze_depth": 5, "lr": lr}, trial=number, num_epochs=3)
        for number, lr in enumerate((0.01, 0.02))
    ]
    pipe: Any = Pipe()
    server = _Server(pipe, None)
    server.configure(setting)
    decisions = iter(["continue", answer, "continue", "continue", answer])
    pipe.recv = lambda: next(decisions)
    server.serve(HeadsJob(jobs=tuple(jobs)))
    first, second = [event for event in pipe.sent if not isinstance(event, EpochDone)]
    assert (first.key, first.ending, len(first.result.epochs)) == (jobs[0].key, ending, 2)
    # At its end it is complete, whatever pauses there.
    last = "complete" if answer == "pause" else "stopped"
    assert (second.key, second.ending, len(second.result.epochs)) == (jobs[1].key, last, 3)


@pytest.mark.parametrize(
    ("job", "setting"),
    [
        ({"params": {"freeze_depth": 4}}, {}),
        ({"folds": (0, 1)}, {}),
        ({"measures": ("seconds",)}, {}),
        ({"future": 0.4, "split": SplitConfig()}, {}),
        ({"num_epochs": 10**6}, {}),
        ({}, {"device": "cuda"}),
        ({}, {"uncut": "it cannot be cut here"}),
    ],
)
def test_what_is_trained_by_itself(
    study: Study, tmp_path: Path, job: dict[str, Any], setting: dict[str, Any]
) -> None:
    config = study()
    plain = {"params": {"freeze_depth": 5}, "num_epochs": 3}
    known = setting_of(config, tmp_path)
    assert known.heads_at_once(train_job(config, **plain)) == messages.MOST_HEADS
    found = replace(known, **setting).heads_at_once(train_job(config, **plain | job))
    assert found == 0
