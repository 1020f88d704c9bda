"""Only names of the configuration, and numbers that its rules allow, are reached."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from ai_engine.destinations import Destination, NotAllowed, Target, target

DESTINATIONS = {
    "sales": Destination(extension="600", dialplan_context="internal", spoken="the sales desk"),
    "front_desk": Destination(extension="601", endpoint="PJSIP/601"),
    "outside": Destination(
        kind="outside", numbers=("0Z.", "+49N[1-5]XXXX"), except_numbers=("0900.",), prefix="9", dialplan_context="out"
    ),
}


def test_a_name_leads_where_the_configuration_says() -> None:
    found = target(DESTINATIONS, "sales")
    assert found == Target("sales", "the sales desk", "600", "internal")
    assert found.dialled("from-phones") == "Local/600@internal/n"
    front_desk = target(DESTINATIONS, "front_desk")
    assert front_desk.spoken == "front desk"
    assert front_desk.dialled("from-phones") == "PJSIP/601"


def test_an_extension_without_a_context_is_in_that_of_the_call() -> None:
    assert Target("a", "a", "600", "").dialled("from-phones") == "Local/600@from-phones/n"


def test_a_name_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(NotAllowed, match="no destination 'boss', only sales, front_desk, outside"):
        target(DESTINATIONS, "boss")


@pytest.mark.parametrize(
    ("said", "dialled"),
    [("030 1234", "90301234"), ("(030) 12-34", "90301234"), ("+49 3 51234", "9+49351234"), ("01", None)],
)
def test_outside_numbers_that_fit_a_rule(said: str, dialled: str | None) -> None:
    if dialled is None:
        with pytest.raises(NotAllowed):
            target(DESTINATIONS, "outside", said)
    else:
        assert target(DESTINATIONS, "outside", said) == Target("outside", "outside", dialled, "out")


@pytest.mark.parametrize(
    "said",
    [
        "00491234",  # Z is no 0
        "0900 123456",  # excepted
        "+491234567",  # N is no 1
        "+4939000",  # too short
        "112",
        "030*1#",
        "0301234,1",
        "0301234&SIP/1",
        "${EXTEN}",
        "PJSIP/601",
        "0" * 40,
        "٠٣٠١٢٣٤",  # digits of another script
        "",
    ],
)
def test_what_no_rule_allows_is_not_dialled(said: str) -> None:
    with pytest.raises(NotAllowed):
        target(DESTINATIONS, "outside", said)


def test_a_number_does_not_change_where_a_name_leads() -> None:
    assert target(DESTINATIONS, "sales", "0301234").extension == "600"


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({}, "needs an `extension`"),
        ({"kind": "queue"}, "'queue' needs an `extension`"),
        ({"kind": "outside"}, "needs `numbers`"),
        ({"kind": "outside", "numbers": ["0."], "extension": "600"}, "no `extension`"),
        ({"extension": "600", "numbers": ["0."]}, "for the kind `outside`"),
        ({"extension": "600,1"}, "String should match"),
        ({"extension": "600", "endpoint": "PJSIP/1&PJSIP/2"}, "String should match"),
        ({"kind": "outside", "numbers": ["(0+)+"]}, "is no pattern"),
        ({"kind": "outside", "numbers": ["0.1"]}, "is no pattern"),
        ({"extension": "600", "exten": "1"}, "Extra inputs"),
    ],
)
def test_a_destination_that_cannot_be_meant_is_refused(fields: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Destination.model_validate(fields)
