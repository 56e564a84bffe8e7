"""The section `comparison`: read, written back, overridden, and refused with line and remedy."""

import random
from collections.abc import Iterator

import pytest
import yaml

from tests.config.conftest import Read, Refused
from tlsearch.comparison.tables import ALL
from tlsearch.config.cells import Cell, cell_config, cells
from tlsearch.config.comparison import ComparisonConfig
from tlsearch.config.cost import num_runs, plan
from tlsearch.config.resolved import to_yaml
from tlsearch.config.space import Fixed, Range
from tlsearch.errors import RequestError

ARMS = """\
space: {lr: {low: 1e-3, high: 0.1, log: true}}
comparison:
  arms:
    fixed: {space.schedule: constant}
    decay: {space.schedule: cosine}
"""
# Lines 1 to 3 are the head of every study here, so that `comparison:` stands in line 5.
FULL = """\
space: {lr: {low: 1e-3, high: 0.1, log: true}}
comparison:
  table: own
  arms:
    fixed: {space.schedule: constant}
    with steps: {space.schedule: {step: {gamma: [0.1, 0.5]}}, space.lr: 0.01}
    scratch: {backbone.weights: none, space.optimizer: {adam: {}}}
  scenarios:
    few:
      traits: {similarity: similar, labels: few, order: time}
      set: {data.labels_per_class: 5, backbone.weights: glyphs}
      arms: [fixed, scratch]
    letters:
      set: {data.source: {letters: {classes: 10}}, space.freeze_depth: 2}
  only: [letters, few]
  tuning: {trials: 3, epochs: 5}
  confirm: {seeds: 4}
  reference: scratch
  sweeps:
    seeds: 2
    scenarios: [few, letters]
    of:
      - {arm: with steps, dimension: schedule.step.gamma, values: [0.1, 0.5]}
      - {arm: fixed, dimension: [lr, l1], values: [1e-3, 1]}
presets:
  small: {comparison.tuning.trials: 1, comparison.only: [few]}
"""


def compared(read: Read, lines: str, *overrides: str, **options: str) -> ComparisonConfig:
    comparison = read(lines, *overrides, **options).comparison
    assert comparison is not None
    return comparison


def test_what_is_left_out(read: Read) -> None:
    found = compared(read, ARMS)
    assert found.used == ("here",)
    assert found.reference_arm == "fixed"
    assert (found.tuning.trials, found.tuning.epochs, found.confirm.seeds) == (8, 12, 8)
    assert cells(found) == [Cell("here", "fixed"), Cell("here", "decay")]


def test_what_is_written(read: Read) -> None:
    found = compared(read, FULL)
    assert found.used == ("few", "letters")  # in the order of the scenarios
    assert found.reference_arm == "scratch"
    assert found.arms_in("few") == ("fixed", "scratch")
    assert [sweep.arm for sweep in found.sweeps_in("few")] == ["fixed"]
    assert [sweep.arm for sweep in found.sweeps_in("letters")] == ["with steps", "fixed"]
    assert found.sweeps.of[1].dimension == ("lr", "l1")


def test_a_cell_is_the_study_with_scenario_and_arm_applied(read: Read) -> None:
    config = read(FULL)
    steps = cell_config(config, Cell("letters", "with steps"))
    assert steps.space.lr == Fixed(0.01)
    assert steps.space.schedule.names == ("step",)
    assert steps.space.freeze_depth == Fixed(2)
    assert (steps.budget.trials, steps.budget.epochs) == (3, 5)
    assert (steps.confirm.top, steps.confirm.seeds, steps.baselines) == (1, 4, {})
    scratch = cell_config(config, Cell("few", "scratch"))
    assert scratch.backbone.weights == "none"  # the arm comes after the scenario
    assert cell_config(config, Cell("few", "fixed")).backbone.weights == "glyphs"
    assert scratch.data.labels_per_class == 5
    assert isinstance(scratch.space.lr, Range)


def test_the_plan_by_hand(read: Read) -> None:
    config = read(FULL)
    # 3 trials of 5 cells that leave something to tune, 4 seeds of each; of settings by 2 seeds, two
    # of the steps in one scenario and two of the rate in both.
    found = plan(config, {"few": (1797, 10), "letters": (2000, 10)})
    # Of `with steps` there are only two.
    assert (found.tuning, found.confirmations, found.swept) == (14, 20, 12)
    assert found.trainings == 46
    steps = Cell("letters", "with steps")
    assert num_runs(cell_config(config, steps), steps) == 2 + 4 + 4
    nothing = read(FULL.replace("gamma: [0.1, 0.5]", "gamma: 0.1"))
    assert num_runs(cell_config(nothing, steps), steps) == 0 + 4 + 4


@pytest.mark.parametrize("lines", [ARMS, FULL])
def test_the_resolved_study_reads_back_equal(read: Read, lines: str) -> None:
    config = read(lines)
    text = to_yaml(config)
    again = read(text, head="")
    assert again == config
    assert to_yaml(again) == text
    for cell in cells(config.comparison):
        assert cell_config(again, cell) == cell_config(config, cell)


def test_presets_and_options(read: Read) -> None:
    small = compared(read, FULL, preset="small")
    assert (small.tuning.trials, small.used) == (1, ("few",))
    further = compared(
        read,
        FULL,
        "comparison.tuning.trials=2",
        "comparison.arms.more={space.lr: 0.05}",
        "comparison.scenarios.few.set={data.labels_per_class: 3}",
        "comparison.sweeps.of=[]",
        preset="small",
    )
    assert (further.tuning.trials, further.used) == (2, ("few",))
    assert further.arms["more"] == {"space.lr": 0.05}
    assert further.scenarios["few"].set == {"data.labels_per_class": 3}
    assert further.scenarios["few"].traits.labels == "few"


def test_what_scenarios_refuse_for_reasons_of_their_own_names_them(refused: Refused) -> None:
    lines = (
        ARMS
        + """\
  scenarios:
    digits: {set: {data.source: digits}}
    letters: {set: {data.source: {letters: {images: 100, classes: 10}}}}
"""
    )
    message = "data.labels_per_class = 500: the training part has"
    assert [
        problem.partition(" images")[0] for problem in refused(lines, "data.labels_per_class=500")
    ] == [
        f"scenario 'digits': --set {message} 104",
        f"scenario 'letters': --set {message} 6",
    ]
    # What all refuse alike is shown once, without a name.
    (alike,) = refused(lines, "data.split.folds=3")
    assert alike.startswith("--set data.split.folds = 3: is not used by a comparison")


def test_an_option_that_does_not_fit_is_named(refused: Refused) -> None:
    assert refused(ARMS, "comparison.reference=decai") == [
        '--set comparison.reference = "decai": must be an arm of this comparison — '
        "did you mean 'decay'?"
    ]
    # What the option breaks shows in the cells.
    assert refused(ARMS, "comparison.tuning.epochs=3", "space.warmup_epochs=3") == [
        "--set space.warmup_epochs = 3: warm-up is as long as training, 3 epochs — "
        "take less than 3, or train longer"
    ]
    assert refused(ARMS + "presets: {odd: {comparison: {table: own}}}\n") == [
        "line 9: presets.odd.comparison = {table: own}: is a section, and would lose its other "
        "fields — set its fields one by one, such as comparison.table"
    ]


NOT_OURS = "arms set fields of space, such as space.schedule, or write backbone.name, or "
NO_SCENARIO = "set fields of data and backbone, or of space for all arms alike"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            "  arms:\n    one: {space.lrr: 0.1}\n    two: {}\n",
            ["line 6: comparison.arms.one: space.lrr = 0.1: unknown field — did you mean 'lr'?"],
        ),
        (
            "  arms:\n    one: {data.size: 64}\n    two: {budget.epochs: 3}\n",
            [
                "line 6: comparison.arms.one = {data.size: 64}: data.size does not define a "
                f"strategy — {NOT_OURS}backbone.weights: none for no transfer",
                "line 7: comparison.arms.two = {budget.epochs: 3}: budget.epochs does not define "
                f"a strategy — {NOT_OURS}backbone.weights: none for no transfer",
            ],
        ),
        (
            "  arms:\n    one: {backbone.weights: glyphs}\n    two: {}\n",
            [
                "line 6: comparison.arms.one = {backbone.weights: glyphs}: arms share the "
                "scenario's weights — write none for no transfer, or set weights in a scenario"
            ],
        ),
        (
            "  arms:\n    one: {space.schedule: cosine}\n    two: {}\n    three: {space.lr: 1}\n",
            [
                "line 7: comparison.arms.two = {}: is the same strategy as 'one' — "
                "change or drop one of them"
            ],
        ),
        (
            "  arms:\n    one: {}\n",
            [
                "line 5: comparison.arms = {one: {}}: must have at least 2 — add it, such as "
                "`arms: {fixed: {space.schedule: constant}}`"
            ],
        ),
        (
            "  arms:\n    one: {}\n    two:\n",
            [
                "line 7: comparison.arms.two = null: must be a mapping of fields — write its "
                "fields below it, indented"
            ],
        ),
        (
            "  tabel: A\n",
            [
                "line 4: comparison.arms: is missing — add it, such as "
                "`arms: {fixed: {space.schedule: constant}}`",
                "line 5: comparison.tabel = \"A\": unknown field — did you mean 'table'?",
            ],
        ),
        (
            "  arms: {v1.0: {}, a b: {}, A_b: {space.lr: 1}}\n",
            [
                'line 5: comparison.arms.v1.0 = "v1.0": must be 1 to 40 letters, digits, spaces, '
                "'_' or '-', the first a letter or digit — it names files and runs",
            ],
        ),
        (
            "  arms: {a b: {}, A_b: {space.lr: 1}}\n",
            [
                "line 5: comparison.arms = {\"a b\": {}, A_b: {space.lr: 1}}: 'A_b' names the same "
                "files as 'a b' — rename one of them",
            ],
        ),
        (
            "  table: A\n  arms:\n    a1: {}\n    A2: {space.lr: 1}\n    B: {space.lr: 2}\n",
            [
                "line 7: comparison.arms.a1 = {}: is no row of table A — did you mean 'A1'?",
                "line 9: comparison.arms.B = {space.lr: 2}: is no row of table A — "
                "rows: A1, A2, A3, A4, A5; or write table: own",
            ],
        ),
        (
            "  table: B\n  arms: {B1: {data.split.strategy: random}, B2: {}}\n",
            [
                "line 4: comparison.future = null: table B needs images that no split touches — "
                "write a share such as 0.25"
            ],
        ),
        (
            "  table: B\n  future: 0.3\n  arms:\n    B1: {data.split.strategy: random}\n"
            "    B2: {space.lr: [0.1, 1]}\n    B3: {data.split.folds: 3}\n",
            [
                "line 9: comparison.arms.B2: space.lr = [0.1, 1.0]: table B holds the strategy "
                "fixed, and compares splits alone — write one value for it",
                "line 10: comparison.arms.B3: data.split.folds = 3: is not used by a comparison — "
                "write null: seeds redraw the parts",
            ],
        ),
    ],
)
def test_arms_that_are_refused(refused: Refused, lines: str, expected: list[str]) -> None:
    assert refused(f"comparison:\n{lines}") == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("  confirm: {seeds: 1}\n", ["line 9: comparison.confirm.seeds = 1: must be at least 2"]),
        (
            "  reference: decai\n",
            [
                'line 9: comparison.reference = "decai": must be an arm of this comparison — '
                "did you mean 'decay'?"
            ],
        ),
        (
            "  only: [her]\n",
            [
                'line 9: comparison.only = "her": must be a scenario of this comparison — '
                "did you mean 'here'?"
            ],
        ),
        (
            "  only: []\n",
            ["line 9: comparison.only = []: leaves no scenario to run — name at least one"],
        ),
        (
            "  future: 0.3\n",
            [
                "line 9: comparison.future = 0.3: belongs to table B alone — "
                "drop it, or write table: B"
            ],
        ),
        (
            "  scenarios:\n    few: {set: {data.labels_per_class: 5}}\n"
            "    many:\n      set:\n        data.labels_per_class: 500\n",
            [
                "line 13: comparison.scenarios.many.set: data.labels_per_class = 500: the training "
                "part has 104 images of its smallest class — take 104 or less, or null for all"
            ],
        ),
        (
            "  scenarios:\n    a:\n      set:\n        comparison.confirm.seeds: 3\n"
            "        name: x\n        budget.epochs: 2\n        device: cpu\n",
            [
                f"line 11: comparison.scenarios.a.set = {{{field}}}: {field.partition(':')[0]} "
                f"does not describe a scenario — {NO_SCENARIO}"
                for field in (
                    "comparison.confirm.seeds: 3",
                    "name: x",
                    "budget.epochs: 2",
                    "device: cpu",
                )
            ],
        ),
        (
            "  scenarios:\n    a: {set: {data.split.folds: 3}}\n",
            [
                "line 10: comparison.scenarios.a.set: data.split.folds = 3: is not used by a "
                "comparison — write null: seeds redraw the parts"
            ],
        ),
        (
            "  scenarios:\n    a: {}\n    b/c: {}\n",
            [
                'line 11: comparison.scenarios.b/c = "b/c": must be 1 to 40 letters, digits, '
                "spaces, '_' or '-', the first a letter or digit — it names files and runs"
            ],
        ),
        (
            "  scenarios:\n    a: {traits: {similarty: similar}}\n    b: {trait: {}}\n",
            [
                'line 10: comparison.scenarios.a.traits.similarty = "similar": unknown field — '
                "did you mean 'similarity'?",
                "line 11: comparison.scenarios.b.trait = {}: unknown field — "
                "did you mean 'traits'?",
            ],
        ),
        (
            "  scenarios:\n    a: {arms: [fixed]}\n    b: {arms: [decay, none]}\n",
            [
                "line 10: comparison.scenarios.a.arms = [fixed]: compares nothing — "
                "name two arms at least",
                'line 11: comparison.scenarios.b.arms = "none": must be an arm of this '
                "comparison — known: fixed, decay",
                "line 11: comparison.scenarios.b.arms = [decay, none]: leaves out the reference, "
                "'fixed' — add it: all arms are compared with it",
            ],
        ),
    ],
)
def test_scenarios_and_seeds_that_are_refused(
    refused: Refused, lines: str, expected: list[str]
) -> None:
    assert refused(ARMS + lines) == expected


@pytest.mark.parametrize(
    ("sweep", "expected"),
    [
        (
            "{arm: fixd, dimension: lr, values: [0.1, 1]}",
            ".arm = \"fixd\": must be an arm of this comparison — did you mean 'fixed'?",
        ),
        (
            "{arm: fixed, dimension: lrr, values: [0.1, 1]}",
            ": space.lrr = 0.1: unknown field — did you mean 'lr'?",
        ),
        (
            "{arm: fixed, dimension: optimizer, values: [sgd, adam]}",
            '.dimension = "optimizer": has settings of its own, which a sweep would not tune — '
            "compare its choices as arms",
        ),
        (
            "{arm: fixed, dimension: [lr, schedule], values: [0.1, 1]}",
            '.dimension = "schedule": has settings of its own, which a sweep would not tune — '
            "compare its choices as arms",
        ),
        (
            "{arm: fixed, dimension: schedule.cosine.final_lr_fraction, values: [0, 0.1]}",
            ".dimension = \"schedule.cosine.final_lr_fraction\": is no dimension of 'fixed' — "
            "has: optimizer.sgd.momentum, optimizer.sgd.nesterov",
        ),
        (
            "{arm: fixed, dimension: lr, values: [1, 1.0]}",
            ".values = [1, 1.0]: 1.0 is listed twice — drop one of them",
        ),
        (
            "{arm: fixed, dimension: lr, values: [[0.1, 1], 2]}",
            ".values = [[0.1, 1], 2]: must be single values — a sweep takes no ranges and no lists",
        ),
        (
            "{arm: fixed, dimension: lr, values: [0.1]}",
            ".values = [0.1]: must have at least 2 — add it, such as `values: [0.01, 0.1]`",
        ),
        (
            "{arm: fixed, dimension: lr, values: [-1, 0.1]}",
            ": space.lr = -1: must be above 0",
        ),
        (
            "{arm: fixed, dimension: freeze_depth, values: [0, 9]}",
            ": space.freeze_depth = 9: resnet18 has 6 layer groups (stem, layer1, layer2, layer3, "
            "layer4, head) — freeze 0 to 5, where 5 trains the head alone",
        ),
    ],
)
def test_sweeps_that_are_refused(refused: Refused, sweep: str, expected: str) -> None:
    lines = f"{ARMS}  sweeps:\n    of:\n      - {sweep}\n"
    assert refused(lines) == [f"line 11: comparison.sweeps.of[0]{expected}"]


def test_sweeps_that_would_not_be_run(refused: Refused) -> None:
    of = "    of: [{arm: fixed, dimension: lr, values: [0.1, 1]}]\n"
    scenarios = "  scenarios: {a: {}, b: {arms: [decay, other]}}\n  reference: decay\n"
    arms = f"{ARMS}    other: {{space.lr: 1}}\n"
    assert refused(f"{arms}{scenarios}  sweeps:\n    scenarios: [b]\n{of}") == [
        'line 14: comparison.sweeps.of[0].arm = "fixed": is swept in no scenario — '
        "name one of its scenarios in comparison.sweeps.scenarios"
    ]
    twice = of.replace("]}]", "]}, {arm: fixed, dimension: [l1, lr], values: [0.2, 2]}]")
    assert refused(f"{ARMS}  sweeps:\n{twice}") == [
        "line 10: comparison.sweeps.of[1].dimension = \"lr\": is swept twice for 'fixed' — "
        "make one sweep of it"
    ]


def test_settings_of_a_search_are_refused(refused: Refused) -> None:
    search = (
        "budget: {trials: 3}\nconfirm: {seeds: 2}\nbaselines: []\n"
        "search: {sampler: random, pruner: none, stop: {gain: 0.1}}\n"
    )
    rule = "is not used by a comparison"
    assert refused(search + ARMS) == [
        f"line 4: budget = {{trials: 3, epochs: 10, timeout: null}}: {rule} — "
        "set comparison.tuning instead",
        f"line 5: confirm = {{top: 3, seeds: 2}}: {rule} — set comparison.confirm instead",
        f"line 6: baselines = []: {rule} — write an arm for it",
        f"line 7: search.sampler = {{random: {{}}}}: {rule} — drop it: trials are drawn at random",
        f"line 7: search.pruner = {{none: {{}}}}: {rule} — drop it: every trial is trained",
        f"line 7: search.stop = {{gain: 0.1}}: {rule} — drop it: every arm gets as many trials",
    ]
    assert refused(ARMS, "budget.timeout=1h") == [
        f"--set budget.timeout: budget = {{trials: 30, epochs: 10, timeout: 3600.0}}: {rule} — "
        "set comparison.tuning instead"
    ]


NAMED = """
comparison:
  arms: {%s: {space.schedule: constant}, cosine: {space.schedule: cosine}}
  scenarios: {%s: {}, few: {set: {data.labels_per_class: 5}}}
"""


def test_no_scenario_bears_the_name_of_all_together(refused: Refused) -> None:
    (message,) = refused(NAMED % ("constant", ALL))
    assert message.endswith(
        'comparison.scenarios.all = "all": is what the answers of all scenarios together are '
        "called — give the scenario another name"
    )


def test_no_arm_reads_like_a_number(refused: Refused) -> None:
    (message,) = refused(NAMED % ("'12'", "many"))
    assert message.endswith(
        'comparison.arms.12 = "12": reads like a number — name it after what it does'
    )


def mangled(rng: random.Random) -> str:
    """The full study with some of its words swapped for others, or lost."""
    words = ["null", "{}", "[]", "1", "-1.5", "here", "fixed", "true", "{a: 1}", "[[1], {b: c}]"]
    words += ["space.lr", "{space.lr.low.x: 1}", "'a:b'", "[few, few]", "{set: 3}", "2026-01-01"]
    tree = yaml.safe_load(FULL)
    for _ in range(rng.randint(1, 4)):
        here, key = rng.choice(list(places(tree)))
        if rng.random() < 0.2:
            del here[key]
        else:
            here[key] = yaml.safe_load(rng.choice(words))
    return yaml.safe_dump(tree)


def places(tree: object) -> Iterator[tuple[dict, object]]:
    if isinstance(tree, dict):
        for key, inner in tree.items():
            yield tree, key
            yield from places(inner)
    elif isinstance(tree, list):
        for inner in tree:
            yield from places(inner)


def test_nonsense_is_refused_in_words(read: Read) -> None:
    rng, refusals = random.Random(0), 0
    for _ in range(60):
        lines = mangled(rng)
        try:
            config = read(lines)
        except RequestError:
            refusals += 1
            continue
        if config.comparison is not None:  # what is accepted can be planned and written
            plan(config, dict.fromkeys(config.comparison.used, (2000, 10)))
        assert read(to_yaml(config), head="") == config
    assert 20 < refusals < 60
