"""A stand-in for Slack with a long timeout."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bot.standin.slack import Standin
from tests.patient import patient_slack


@pytest.fixture
def slack() -> Iterator[Standin]:
    with patient_slack() as standin:
        yield standin
