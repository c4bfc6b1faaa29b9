"""What each processor may do in Kafka, as it is printed and written down."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from streams.apps.cli import app
from streams.rights import Right, rights_of
from streams.settings import Settings
from streams.wiring import PROCESSORS

SECURITY = Path(__file__).parents[2] / "docs" / "security.md"
OWN = "guardian.journal.v1", "guardian.decisions.v1"


def test_what_is_printed_for_kafka_acls_is_the_table():
    """``guardian acls`` prints a line of ``kafka-acls`` for each right of each processor, and nothing else."""
    printed = CliRunner().invoke(app, ["acls", "--only", "observe"]).output.splitlines()

    assert len(rights_of("observe", Settings())) == len(printed)
    assert all(line.startswith("kafka-acls --bootstrap-server") and "'User:guardian-observe'" in line for line in printed)
    assert printed[0].endswith("--operation Read --topic 'flag.exposures.v1'")
    assert any(line.endswith("--transactional-id 'guardian-observe-' --resource-pattern-type prefixed") for line in printed)


@pytest.mark.parametrize("processor", PROCESSORS)
def test_the_documented_table_is_that_of_the_code(processor):
    """Every right of a processor stands in its row of docs/security.md, and that row names no topic more."""
    settings = Settings(policies=())
    (row,) = [line for line in SECURITY.read_text().splitlines() if line.startswith(f"| `{processor}` |")]
    _, _, reads, writes, more, _ = (cell.strip() for cell in row.split("|"))
    rights = rights_of(processor, settings)

    assert _names(rights, "Read", "topic") == _listed(reads)
    assert _names(rights, "Write", "topic") == _listed(writes)
    assert _names(rights, "Read", "group") | _names(rights, "Write", "transactional-id") == _listed(more)


def _names(rights: tuple[Right, ...], operation: str, kind: str) -> set[str]:
    named = [right for right in rights if (right.operation, right.kind) == (operation, kind)]
    return {f"{right.name}{'*' if right.is_prefix else ''}" for right in named}


def _listed(cell: str) -> set[str]:
    return {name.strip(" `") for name in cell.split(",") if name.strip(" `")}


def test_judge_alone_writes_decisions_and_nobody_reads_more_than_it_must():
    """One processor writes decisions, one flag state; those that judge, act for people or serve flags write the journal."""

    def may_write(topic: str) -> set[str]:
        return {name for name in PROCESSORS if Right("Write", "topic", topic) in rights_of(name, Settings(policies=()))}

    assert {"judge"} == may_write("guardian.decisions.v1") == may_write("guardian.rollouts.v1")
    assert {"act"} == may_write("guardian.flag-state.v1")
    assert {"observe", "judge", "act", "api", "store"} == may_write("guardian.journal.v1")
