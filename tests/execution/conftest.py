from tests.search.conftest import scene, study

__all__ = ["scene", "study"]
