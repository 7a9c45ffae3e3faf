"""What all tests share."""

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))

settings.register_profile("cairn", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
settings.load_profile("cairn")


@pytest.fixture
def path(tmp_path):
    """Where a test may save."""
    return tmp_path / "a.cairn"
