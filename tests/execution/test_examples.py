"""Pictures for the report: which, and what a page can hold of them."""

import base64
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.search.fakes import Story
from tests.search.scenes import Make
from tlsearch.config.paths import examples_path, write_text
from tlsearch.data.dataset import Files, image_set
from tlsearch.execution.examples import (
    NUM_RIGHT,
    NUM_WRONG,
    SIDE,
    as_json,
    choose,
    data_uri,
    first_of_classes,
)
from tlsearch.execution.messages import ExamplesJob, JobDone, JobFailed, Remark
from tlsearch.search.baselines import baseline_run
from tlsearch.search.champion import has_examples, keep_examples


def two(sure: list[float], said: list[int]) -> np.ndarray:
    """Probabilities of two classes."""
    return np.array([[p, 1 - p] if k == 0 else [1 - p, p] for p, k in zip(sure, said, strict=True)])


def test_the_surest_mistakes_and_the_typical_right_answers() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1])
    said = [0, 0, 0, 1, 0, 0]
    chosen = choose(labels, two([0.6, 0.9, 0.7, 0.8, 0.55, 0.99], said))
    assert chosen.wrong.tolist() == [5, 3, 4]
    assert chosen.num_wrong == 3
    # Of 0.6, 0.7 and 0.9 the median; of class 1 no answer is right.
    assert chosen.right.tolist() == [2]


def test_of_many_mistakes_and_classes_a_few_are_shown() -> None:
    labels = np.arange(60).repeat(3)
    probabilities = np.full((180, 60), 0.001)
    probabilities[np.arange(180), labels] = 0.5
    lost = np.flatnonzero(np.isin(labels, np.arange(40, 60)))[::3]  # one of each of 20 classes
    probabilities[lost, 0] = 0.9
    chosen = choose(labels, probabilities)
    assert (len(chosen.wrong), chosen.num_wrong) == (NUM_WRONG, 20)
    assert len(chosen.right) == NUM_RIGHT
    assert labels[chosen.right].tolist() == list(range(40, 40 + NUM_RIGHT))


def test_training_images_are_of_different_classes() -> None:
    labels = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4])
    assert first_of_classes(labels, np.arange(9)).tolist() == [0, 2, 4, 6]
    assert first_of_classes(labels, np.array([1, 0, 3])).tolist() == [0, 1, 3]


def decoded(uri: str) -> tuple[str, np.ndarray]:
    kind, content = uri.removeprefix("data:image/").split(";base64,")
    with Image.open(BytesIO(base64.b64decode(content))) as picture:
        return kind, np.asarray(picture)


@pytest.mark.parametrize("channels", [1, 3])
def test_small_pictures_keep_every_pixel(channels: int) -> None:
    image = np.arange(8 * 6 * channels, dtype=np.uint8).reshape(8, 6, channels)
    kind, pixels = decoded(data_uri(image))
    assert kind == "png"
    assert np.array_equal(pixels.reshape(8, 6, channels), image)


def test_large_pictures_are_shrunk_and_stay_small() -> None:
    rng = np.random.default_rng(0)
    smooth = np.linspace(0, 255, 224, dtype=np.uint8)[:, None, None].repeat(300, 1).repeat(3, 2)
    noise = rng.integers(0, 256, (224, 300, 3), dtype=np.uint8)
    for image in (smooth, noise):
        uri = data_uri(image)
        _, pixels = decoded(uri)
        assert pixels.shape == (round(224 * SIDE / 300), SIDE, 3)
        assert len(uri) < 9000


def test_what_is_kept_names_files_and_rounds_probabilities() -> None:
    pixels = np.zeros((4, 2, 2, 3), dtype=np.uint8)
    names = np.array(["a/é.png", "b.png", "c.png", "d.png"])
    files = Files(names, np.ones((4, 2), np.int32), names, np.zeros(4, np.uint64))
    data = image_set(pixels, np.array([0, 1, 0, 1]), ("x", "y"), files=files)
    views = np.zeros((1, 2, 2, 2, 3), dtype=np.uint8)
    probabilities = two([0.98765, 0.7], [0, 1])
    content = as_json(
        data,
        rows=np.array([3, 1]),
        probabilities=probabilities,
        trained=np.array([0]),
        views=views,
    )
    (wrong,) = content["wrong"]
    assert wrong.pop("image").startswith("data:image/png;base64,")
    assert wrong == {"row": 3, "name": "d.png", "true": 1, "predicted": 0, "probability": 0.9877}
    assert [row["row"] for row in content["right"]] == [1]
    (trained,) = content["training"]
    assert (trained["name"], len(trained["images"])) == ("a/é.png", 2)
    assert (content["num_images"], content["num_wrong"], content["num_classes"]) == (2, 1, 2)


def test_pictures_are_made_once_and_a_study_does_without(scene: Make) -> None:
    def story(job: Any, attempt: int) -> Story:
        assert isinstance(job, ExamplesJob)
        if attempt == 0:
            yield JobFailed("ExamplesJob", "the images are gone", 1, "")
        else:
            write_text(examples_path(it.folder, job.run.key), "{}")
            yield JobDone(None)

    it = scene(story)
    run = baseline_run(it.store.config, "from_scratch", seed=0)
    it.store.enqueue([run])
    record = {"champion": run.key}

    def keep() -> None:
        keep_examples(it.coordinator, run.key)

    keep()
    (remark,) = it.watched.of(Remark)
    assert remark.text == "the report will be without pictures: the images are gone"
    assert has_examples({}, it.folder)
    assert not has_examples(record, it.folder)
    keep()
    keep()
    assert has_examples(record, it.folder)
    assert len(it.executor.jobs) == 2
    assert it.executor.jobs[0] == ExamplesJob(run=run)
