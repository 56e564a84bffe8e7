import json
import re
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from tests.comparison.compared import KINDS, arm_of, comparison, table_a
from tests.report.test_build import HOSTILE, Page
from tlsearch.cli.console import show_tables
from tlsearch.comparison.answers import ClaimAnswer, Tables
from tlsearch.comparison.tables import ALL, make_tables
from tlsearch.config.comparison import Traits
from tlsearch.report.comparison import ComparisonReport, basis_text, effect_text, spoken
from tlsearch.report.figures.comparison import POOLED, Forest
from tlsearch.report.html import render_html
from tlsearch.report.markdown import render_markdown
from tlsearch.report.wording import Absent


def judged(results: object) -> Tables:
    return make_tables(
        results,  # type: ignore[arg-type]
        resamples=0, seed=0, provenance=None,
    )  # fmt: skip


@pytest.fixture(scope="module")
def tables() -> Tables:
    results = table_a(0, gains={"A2": 0.04, "A3": -0.04}, kinds=KINDS[:4])
    return judged(results)


def answer(**found: object) -> ClaimAnswer:
    values = {
        "table": "A", "id": "A2", "key": "k", "side": "for", "scenario": ALL, "says": "it does",
        "statistic": "accuracy", "measure": "test accuracy", "unit": "share", "arm": "A2",
        "verdict": "inconclusive", "reference": "A1", "direction": 1, "smallest": 0.015,
        "effect": 0.031, "low": -0.004, "high": 0.066, "arm_mean": 0.9, "reference_mean": 0.869,
        "n": 1000, "n_of": "test images", "seeds": 8, "scenarios": ("s", "t"),
        "adjusted_p": 0.2, "needed": 20, "needed_of": "seeds",
    }  # fmt: skip
    return ClaimAnswer(**{**values, **found})  # type: ignore[arg-type]


def texts(found: str) -> str:
    return found.replace("\u00a0", " ")


def test_an_effect_in_its_own_unit() -> None:
    assert texts(effect_text(answer())) == "+3.1 points (−0.4 to +6.6)"
    ratio = answer(unit="log ratio", effect=np.log(1.25), low=np.log(0.9), high=np.log(1.5))
    assert texts(effect_text(ratio)) == "×1.25 (×0.90 to ×1.50)"
    ranks = answer(unit="ranks", effect=-1.5, low=-2.0, high=-1.0)
    assert texts(effect_text(ranks)) == "−1.50 ranks (−2.00 to −1.00)"


def test_an_effect_without_an_interval_says_why_in_every_format() -> None:
    results = table_a(0, gains={}, kinds=KINDS[:1], seeds=3, images=200)
    for arm in results.scenarios[0].arms.values():
        arm.values["oscillation"][:] = 1.0  # type: ignore[index]
    found = judged(results)
    claim = next(c for c in found.claims if c.statistic == "oscillation" and c.low is None)
    why = "no interval: all pairs differ by the same amount, so chance cannot be measured"
    assert texts(effect_text(claim)) == f"×1.00 ({why})"
    assert len(spoken(claim).details) == 2  # what the effect says is not said twice
    out = StringIO()
    show_tables(ComparisonReport(found), Console(file=out, width=400, highlight=False))
    page = Page(render_html(ComparisonReport(found))).text
    for text in (page, out.getvalue(), render_markdown(ComparisonReport(found))):
        assert why in text
        assert "? to ?" not in texts(text)


def test_an_open_claim_whose_interval_excludes_0_says_why_it_is_open() -> None:
    assert "many claims" not in spoken(answer()).effect
    text = spoken(answer(low=0.001)).effect
    assert text.endswith("; this interval excludes 0, the one corrected for many claims does not")
    assert "many claims" not in spoken(answer(low=0.001, verdict="supported")).effect


def test_what_an_effect_rests_on() -> None:
    assert basis_text(answer()) == "n = 1,000 test images, 8 seeds, 2 scenarios"
    assert basis_text(answer(n=16, n_of="seeds")) == "n = 16 pairs of models, 8 seeds, 2 scenarios"
    assert basis_text(answer(n=4, n_of="scenarios", seeds=1)) == "n = 4 scenarios"
    one = answer(n=200, n_of="redraws", seeds=100)
    assert basis_text(one) == "n = 200 redraws, 100 a scenario, 2 scenarios"


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ({}, "about 20 seeds a scenario would settle it"),
        ({"needed_of": "scenarios"}, "about 20 scenarios would settle it"),
        (
            {"needed": None, "needs_images": True},
            "more seeds would not settle it: it takes more test images",
        ),
        ({"needed": None}, "not even 1,000 seeds would settle it"),
        ({"verdict": "supported", "needed": None, "needed_of": None}, ""),
    ],
)
def test_what_would_settle_it(found: dict[str, object], sentence: str) -> None:
    assert spoken(answer(**found)).settled_by == sentence


def test_every_format_says_what_would_settle_an_open_claim(tables: Tables) -> None:
    pooled = [claim for claim in tables.claims if claim.scenario == ALL]
    told = {spoken(claim).settled_by for claim in pooled} - {""}
    assert told
    out = StringIO()
    show_tables(ComparisonReport(tables), Console(file=out, width=400, highlight=False))
    page = Page(render_html(ComparisonReport(tables))).text
    for text in told:
        assert text in out.getvalue()
        assert text in render_markdown(ComparisonReport(tables))
        assert f"{text[0].upper()}{text[1:]}." in page


def test_an_own_table_says_better_and_worse() -> None:
    assert spoken(answer(table="own", verdict="supported")).verdict == "better"
    assert spoken(answer(table="own", verdict="contradicted")).verdict == "worse"
    assert spoken(answer(verdict="contradicted")).verdict == "contradicted"


def test_a_claim_that_was_not_measured_says_why() -> None:
    one = spoken(answer(verdict="not measured", effect=None, reason="A2 is no arm"))
    assert (one.verdict, one.effect, one.sides) == ("not measured", "", "A2 is no arm")


def test_the_page_says_every_claim_with_its_verdict_in_words(tables: Tables) -> None:
    page = Page(render_html(ComparisonReport(tables)))
    told = " ".join(page.text.split())
    for claim in tables.claims:
        assert claim.says in told
    shown = [c for c in page.all("span") if (c.get("class") or "").startswith("verdict ")]
    assert len(shown) == len(tables.claims) + len(ComparisonReport(tables).meanings)
    assert all(meaning in told for *_, meaning in ComparisonReport(tables).meanings)
    assert ComparisonReport(tables).summary in told
    better = tables.answer("A2-for-accuracy-A2", ALL)
    assert effect_text(better).replace("\u00a0", " ") in told
    assert not [a for a in page.all("script") + page.all("link") if "src" in a or "href" in a]


def test_names_of_users_stay_text() -> None:
    rng = np.random.default_rng(0)
    right = rng.random((3, 30)) < 0.9
    arms = {name: arm_of(rng, right) for name in HOSTILE}
    results = comparison("own", arms, traits=Traits(), reference=HOSTILE[0])
    place = results.scenarios[0]._replace(name=HOSTILE[3])
    found = judged(results._replace(name=HOSTILE[2], scenarios=(place,)))
    html = render_html(ComparisonReport(found))
    page = Page(html)
    assert len(page.all("script")) == 4  # two figures' data, plotly, and what draws
    assert "onload" not in {key for _, attrs in page.elements for key in attrs}
    for name in (*HOSTILE[1:], HOSTILE[0]):
        assert name in page.text
    text = render_markdown(ComparisonReport(found))
    assert "<script>" not in text.replace("\\<", "")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    columns = {len(re.findall(r"(?<!\\)\|", line)) - 1 for line in rows}
    assert columns == {3, 5}  # the arms, whose configurations do not differ, and the verdicts


def test_markdown_has_the_tables_in_the_documents_order(tables: Tables) -> None:
    text = render_markdown(ComparisonReport(tables))
    assert text == render_markdown(ComparisonReport(tables))
    rows = re.findall(
        r"^\| ([\w -]+) \((A\d)\) \| (?:advantage|drawback|suited)",
        text.partition("###")[0],
        re.MULTILINE,
    )
    assert list(dict.fromkeys(row for _, row in rows)) == ["A1", "A2", "A3", "A4", "A5"]
    for place in tables.scenarios:
        assert f"### {place.scenario}" in text


def test_the_forest_holds_every_gain_and_the_pooled_ones_first(tables: Tables) -> None:
    found = Forest.compute(ComparisonReport(tables))
    assert isinstance(found, Forest)
    assert found.places == (POOLED, *(name for name, *_ in KINDS[:4]))
    assert found.arms[0] == "decay (A2)"
    assert len(found.marks) == 4 * 5
    figure = found.draw()
    decay = figure.data[0]
    assert decay.name == "decay (A2)"
    gains = [mark for mark in found.marks if mark.arm == "decay (A2)"]
    assert list(decay.x) == pytest.approx([gain.mean for gain in gains], rel=1e-4)
    ends = [x + more for x, more in zip(decay.x, decay.error_x.array, strict=True)]
    assert ends == pytest.approx([gain.high for gain in gains], rel=1e-4)
    heights = sorted(y for trace in figure.data for y in trace.y)
    assert min(np.diff(heights)) == pytest.approx(0.2)  # no mark hides another
    low, high = figure.layout.yaxis.range
    assert low < heights[0]
    assert heights[-1] < high
    json.loads(figure.to_json())


def test_without_two_scored_arms_there_is_no_forest() -> None:
    rng = np.random.default_rng(0)
    arms = {"one": arm_of(rng, rng.random((3, 30)) < 0.9)}
    found = judged(comparison("own", arms, traits=Traits(), reference="one"))
    assert isinstance(Forest.compute(ComparisonReport(found)), Absent)
    assert "No two arms" in render_html(ComparisonReport(found))
    assert ComparisonReport(found).summary == "Nothing has been measured yet."


def test_only_parameters_that_vary_are_shown(tables: Tables) -> None:
    assert ComparisonReport(tables).varying == ()
    first = tables.scenarios[0].arms[0]
    first.params["lr"] = 0.1
    try:
        assert ComparisonReport(tables).varying == ("lr",)
        assert "lr 0.1" in render_markdown(ComparisonReport(tables))
    finally:
        first.params["lr"] = 0.01


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_shows_verdicts_as_plain_words(tables: Tables, width: int) -> None:
    out = StringIO()
    show_tables(ComparisonReport(tables), Console(file=out, width=width, highlight=False))
    text = out.getvalue()
    assert "\x1b" not in text
    table = text.partition("similar easy few")[0].splitlines()
    assert max(map(len, table[2:])) <= width
    assert ComparisonReport(tables).summary in text
    assert any("supported" in line and "+4." in line for line in table)
    assert "A1  fixed rate" in text


def test_the_page_says_first_what_was_found(tables: Tables) -> None:
    found = {one.lead: one.text for one in ComparisonReport(tables).findings}
    assert "Decay (A2): better final accuracy" in found["Supported"]
    assert "Layer-wise rates (A3): uses the pretrained knowledge better" in found["Contradicted"]
    assert "; suited to similar data, hard task." in found["Supported"]
    page = Page(render_html(ComparisonReport(tables)))
    told = " ".join(page.text.split())
    assert told.index(found["Inconclusive"]) < told.index("The verdicts")
    text = render_markdown(ComparisonReport(tables))
    assert text.index("- **Contradicted:** ") < text.index("| strategy |")


def test_an_own_table_names_who_is_better() -> None:
    rng = np.random.default_rng(0)
    images = np.arange(400)
    right = {"usual": images < 200, "good": images < 300, "bad": images < 100, "same": images < 200}
    arms = {name: arm_of(rng, np.tile(row, (4, 1))) for name, row in right.items()}
    found = judged(comparison("own", arms, traits=Traits(), reference="usual"))
    told = [tuple(one) for one in ComparisonReport(found).findings]
    assert told == [
        ("Better", "good."), ("Worse", "bad."), ("No material effect", "same.")
    ]  # fmt: skip
