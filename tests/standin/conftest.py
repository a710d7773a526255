"""A stand-in for Slack with a long timeout."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.patient import patient_slack
from tests.troubled_slack import TroubledSlack


@pytest.fixture
def slack() -> Iterator[TroubledSlack]:
    with patient_slack() as standin:
        yield standin
