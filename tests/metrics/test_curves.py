from itertools import combinations

import numpy as np
import pytest

from tlsearch.metrics.curves import (
    early_gradient_norm,
    epochs_to_share,
    expected_best,
    expected_gain,
    gradient_noise_scale,
    oscillation,
    trials_to_come_within,
    usable_decades,
    without_noise,
)


def test_oscillation_by_hand() -> None:
    # The last third of 9 epochs: 1, 2, 3, with a standard deviation of 1.
    assert oscillation(np.array([9, 9, 9, 9, 9, 9, 1, 2, 3])) == 1
    # 7 epochs: the last 3, a third rounded up.
    assert oscillation(np.array([9, 9, 9, 9, 2, 2, 2])) == 0
    # At least 2: sqrt(2) from 1 and 3.
    assert oscillation(np.array([5, 1, 3])) == pytest.approx(2**0.5)


def test_oscillation_of_what_diverged_or_is_too_short() -> None:
    assert np.isnan(oscillation(np.array([1, 1, 1, np.inf])))
    assert oscillation(np.array([np.nan, 1, 1, 1, 1, 1])) == 0
    assert np.isnan(oscillation(np.array([1.0])))


def test_epochs_to_share() -> None:
    curve = np.array([0.2, 0.76, 0.5, 0.77, 0.8])
    assert epochs_to_share(curve, share=0.95) == 2  # 0.76 is 95 % of 0.8
    assert epochs_to_share(curve, share=1.0) == 5
    assert epochs_to_share(np.array([0.9, 0.8]), share=0.95) == 1
    assert epochs_to_share(np.array([0.0]), share=0.95) == 1


def test_early_gradient_norm() -> None:
    norms = np.array([1, 5, 2, 9] + [1] * 16)
    assert early_gradient_norm(norms, first=0.1, planned=20) == 5  # 2 of 20 steps
    assert early_gradient_norm(norms, first=0.2, planned=20) == 9
    assert early_gradient_norm(norms[:6], first=0.2, planned=20) == 9  # stopped early
    assert early_gradient_norm(np.array([3.0, 7.0]), first=0.1, planned=2) == 3  # at least one
    assert early_gradient_norm(np.array([np.nan, 1.0]), first=0.1, planned=2) == np.inf


def test_noise_scale_by_hand() -> None:
    # Signal 4 and noise 24: norms² 4 + 24 / 2 = 16 and 4 + 24 / 8 = 7, so 24 / 4 = 6 images.
    scale = gradient_noise_scale(np.array([15, 17]), np.array([6, 8]), small=2, large=8)
    assert scale == pytest.approx(6)
    # Of all images there are the signal is left alone.
    whole = gradient_noise_scale(np.array([15, 17]), np.array([4]), small=2, large=np.inf)
    assert whole == pytest.approx(6)
    assert gradient_noise_scale(np.array([16]), np.array([1]), small=2, large=8) == np.inf


def test_expected_best_is_the_mean_over_all_subsets() -> None:
    values = np.array([0.7, 0.2, 0.9, 0.9, 0.4])
    by_hand = [np.mean([max(some) for some in combinations(values, n)]) for n in range(1, 6)]
    assert expected_best(values) == pytest.approx(by_hand)


def test_expected_best_of_many_trials_does_not_overflow() -> None:
    curve = expected_best(np.linspace(0, 1, 3001))
    assert curve[0] == pytest.approx(0.5)
    assert curve[-1] == pytest.approx(1.0)
    assert (np.diff(curve) > -1e-9).all()


def test_trials_to_come_within() -> None:
    values = np.array([0.0, 0.0, 0.9])  # expected best 0.3, 0.6, 0.9
    assert expected_best(values) == pytest.approx([0.3, 0.6, 0.9])
    assert trials_to_come_within(values, margin=0.0) == 3
    assert trials_to_come_within(values, margin=0.3) == 2
    assert trials_to_come_within(values, margin=0.7) == 1
    assert trials_to_come_within(np.array([0.5]), margin=0.01) == 1
    assert trials_to_come_within(np.full(9, 0.5), margin=0.0) == 1


def test_usable_decades_by_hand() -> None:
    rates = np.array([1e-4, 1e-3, 1e-2, 1e-1])
    # Bar 0.88: left crossed at 0.88 of 0.90 … 0.70, a tenth of a decade out; right never.
    assert usable_decades(rates, np.array([0.1, 0.7, 0.9, 0.89]), margin=0.02) == pytest.approx(1.1)
    # A second hill apart from the best does not count; diverged runs are below any bar.
    heights = np.array([0.9, 0.5, 0.9, np.nan])
    assert usable_decades(rates, heights, margin=0.2) == pytest.approx(0.5)
    assert usable_decades(rates, np.full(4, 0.5), margin=0.02) == pytest.approx(3)


def test_expected_gain_by_hand() -> None:
    # A quarter of four is one: on average 0.25, so that two doublings gave 0.75.
    values = np.array([0.0, 0.0, 1.0, 0.0])
    assert expected_gain(values, more=4, noise=0.0) == pytest.approx(0.375)
    assert expected_gain(values, more=12, noise=0.0) == pytest.approx(0.75)
    lost = np.array([-np.inf, 0.0, 1.0, -np.inf])  # as bad as the worst
    assert expected_gain(lost, more=4, noise=0.0) == pytest.approx(0.375)
    assert expected_gain(np.array([0.5]), more=10, noise=0.1) == 0
    assert expected_gain(np.full(9, 0.5), more=10, noise=0.1) == 0


@pytest.mark.parametrize("noise", [0.0, 0.5, 1.0])
def test_expected_gain_is_what_more_draws_gain_or_somewhat_more(noise: float) -> None:
    rng = np.random.default_rng(0)
    told, naive, gained = [], [], []
    for _ in range(300):
        true = rng.normal(size=60)
        seen = true + noise * rng.normal(size=60)
        told.append(expected_gain(seen[:30], more=30, noise=noise))
        naive.append(expected_gain(seen[:30], more=30, noise=0.0))
        gained.append(true[seen.argmax()] - true[seen[:30].argmax()])
    assert 0.9 * np.mean(gained) < np.mean(told) < 2 * np.mean(gained)
    if noise == 1.0:
        assert np.mean(naive) > 2 * np.mean(gained)


def test_what_is_noise_alone_shrinks_to_nearly_nothing() -> None:
    rng = np.random.default_rng(1)
    spread = [np.ptp(without_noise(rng.normal(size=40), noise=1.0)) for _ in range(50)]
    assert np.mean(spread) < 1.0  # of a range of 4.3
    # What stands out stays, and so does the order.
    values = np.concatenate([rng.normal(size=40), [9.0]])
    shrunk = without_noise(values, noise=1.0)
    assert shrunk[-1] > 8
    assert (np.diff(shrunk[values.argsort()]) >= -1e-9).all()
    assert (without_noise(values, noise=0.0) == values).all()
    far = np.concatenate([values, [-50.0]])
    assert without_noise(far, noise=1.0)[-1] == -50
