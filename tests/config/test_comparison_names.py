from tests.config.conftest import Refused
from tlsearch.comparison.tables import ALL

STUDY = """
comparison:
  arms: {%s: {space.schedule: constant}, cosine: {space.schedule: cosine}}
  scenarios: {%s: {}, few: {set: {data.labels_per_class: 5}}}
"""


def test_no_scenario_bears_the_name_of_all_together(refused: Refused) -> None:
    (told,) = refused(STUDY % ("constant", ALL))
    assert told.endswith(
        'comparison.scenarios.all = "all": is what the answers of all scenarios together are '
        "called — give the scenario another name"
    )


def test_no_arm_reads_like_a_number(refused: Refused) -> None:
    (told,) = refused(STUDY % ("'12'", "many"))
    assert told.endswith(
        'comparison.arms.12 = "12": reads like a number — name it after what it does'
    )
