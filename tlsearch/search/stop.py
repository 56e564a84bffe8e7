"""What more trials would probably bring, and whether a search ends for that before its budget.

It is decided at fixed numbers of trials, once all up to there have ended, or between generations of
a race, from the values alone: the number of workers or an interruption makes no difference. What is
under way by then is finished. Optuna's own terminators are deprecated, and bound a regret, which is
no expectation.
"""

import math
from typing import NamedTuple

import numpy as np

from tlsearch.config.search_options import METRICS, Racing, gain_in_words
from tlsearch.metrics.curves import expected_gain
from tlsearch.metrics.objectives import validation_noise
from tlsearch.search.provenance import validation_counts
from tlsearch.search.store import FACTS, STOP, Store

_FEWEST = 4
"""Complete trials below which nothing is said: of fewer the best might be anything."""


class Outlook(NamedTuple):
    """What `more` trials than the first `trials` would probably gain, in the metric's own unit;
    None where too few of them are complete, or it is not known how many images validate.
    """

    trials: int
    more: int
    gain: float | None


class Decided(NamedTuple):
    """What was decided `after` so many trials: by an outlook of `gain`, None where there was none,
    on the rest of `budget` trials; 0 where the search goes on.
    """

    after: int
    budget: int
    gain: float | None


def outlook(store: Store, *, trials: int, more: int) -> Outlook:
    """That of the first `trials` of a search."""
    metric, counts = store.config.search.metric, validation_counts(store.noted(FACTS) or {})
    sign = 1 if METRICS[metric].maximise else -1
    values = np.full(trials, -math.inf)
    for row in store.trials():
        if row.number < trials and row.value is not None:
            values[row.number] = sign * row.value
    if not counts or np.isfinite(values).sum() < _FEWEST:
        return Outlook(trials, more, None)
    noise = validation_noise(metric, abs(values.max()), counts)
    return Outlook(trials, more, expected_gain(values, more=more, noise=noise))


def whole_outlook(store: Store) -> Outlook | None:
    """That of all trials begun so far: on the rest of the budget, or once that is spent on as many
    again, as far as there are other configurations; None where there is nothing more to try.
    """
    begun, config = store.num_begun(), store.config
    size = config.num_configurations()
    more = config.num_trials() - begun
    if more <= 0:
        more = begun if size is None else min(begun, size - begun)
    return outlook(store, trials=begun, more=more) if begun and more > 0 else None


_UNSEEN = 5e-5
"""Of a share, what is no hundredth of a point; and as little of a loss."""


def outlook_text(store: Store) -> str:
    """What is said of a search's outlook; "" where there is nothing to say."""
    found, config = whole_outlook(store), store.config
    if found is None:
        return ""
    trials = f"{found.more} more trial" + ("" if found.more == 1 else "s")
    if found.gain is None:
        return f"too few trials are complete to say what {trials} would gain"
    if found.gain < _UNSEEN:
        return f"{trials} would probably gain nothing that the validation images can tell from luck"
    gain = gain_in_words(found.gain, config.search.metric)
    return f"{trials} would probably gain {gain} at most, beyond the luck of the validation images"


# What was decided stands in the store, and holds for the budget that it was about.


def stopped(store: Store) -> Decided | None:
    """What ended the search early; None if nothing did, or it goes on for a larger budget or
    another `search.stop`.
    """
    stop, budget = store.config.search.stop, store.config.num_trials()
    found = None if stop is None else _noted(store)
    if stop is None or found is None or found.gain is None:
        return None
    holds = found.gain < stop.gain and store.num_begun() < budget <= found.budget
    return found if holds else None


def _noted(store: Store) -> Decided | None:
    noted = store.noted(STOP)
    return None if noted is None else Decided(**noted)


def stop_text(store: Store) -> str:
    """That a search was stopped, and why; "" if it was not."""
    config = store.config
    if stopped(store) is None or config.search.stop is None:
        return ""
    begun, total = store.num_begun(), config.num_trials()
    gain = gain_in_words(config.search.stop.gain, config.search.metric)
    return (
        f"search.stop: the search ended after {begun} of {total} trials, as the rest would "
        f"probably have gained less than {gain}; to go on, raise budget.trials or drop search.stop"
    )


class Decisions:
    """Decides, as the trials of a search end, whether it stops; of one invocation."""

    def __init__(self, store: Store) -> None:
        config, noted = store.config, _noted(store)
        self._store, self._stop = store, config.search.stop
        self._is_race = isinstance(config.search.pruner, Racing)
        if self._stop is None:
            if noted is not None:
                store.note(STOP, None)
            return
        if noted is not None:
            self._next = self._stop.following(noted.after)
            if noted.budget and stopped(store) is None:  # it goes on, whatever is set later
                store.note(STOP, noted._replace(budget=0)._asdict())
            return
        self._next = self._stop.first(config)
        # A search that began without a stop may have come further.
        while self._has_ended(self._stop.following(self._next)):
            self._next = self._stop.following(self._next)

    def look(self) -> bool:
        """Decide if it is time to; whether the search stops now. Of a race to be asked between two
        generations, when all trials there are have come to a rung.
        """
        if self._stop is None:
            return False
        if self._is_race:
            begun = self._store.num_begun()
            return begun >= self._next and self._decide(begun)
        while self._has_ended(self._next):
            if self._decide(self._next):
                return True
        return False

    def _has_ended(self, number: int) -> bool:
        return self._store.num_ended(below=number) == number

    def _decide(self, number: int) -> bool:
        assert self._stop is not None, "asked for"
        store, budget = self._store, self._store.config.num_trials()
        self._next = self._stop.following(number)
        if number >= budget or stopped(store) is not None:
            return False
        gain = outlook(store, trials=number, more=budget - number).gain
        stops = gain is not None and gain < self._stop.gain
        store.note(STOP, Decided(number, budget if stops else 0, gain)._asdict())
        return stopped(store) is not None
