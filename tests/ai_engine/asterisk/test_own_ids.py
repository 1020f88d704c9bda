"""What we make in Asterisk is told apart from all else by its id."""

import pytest

from ai_engine.asterisk.ids import OwnIds


def test_ids_carry_engine_call_and_role() -> None:
    ids = OwnIds("pbx1")
    assert ids.media("1795242861.1") == "parley-pbx1-1795242861.1-media"
    assert ids.bridge("1795242861.1") == "parley-pbx1-1795242861.1-bridge"
    assert ids.leg("c", "transfer") == "parley-pbx1-c-transfer"


def test_an_engine_recognises_its_own_and_nobody_elses() -> None:
    ids = OwnIds("a")
    assert ids.is_ours(OwnIds("a").media("c"))
    assert not ids.is_ours(OwnIds("a_b").media("c"))
    assert not ids.is_ours("1795242861.1")


@pytest.mark.parametrize("instance", ["", "a-b", "a/b", "a b", "x" * 33])
def test_an_instance_whose_prefix_could_be_mistaken_is_refused(instance: str) -> None:
    with pytest.raises(ValueError, match="instance id"):
        OwnIds(instance)


@pytest.mark.parametrize("call_id", ["", "a/b", "a b", "x" * 65])
def test_a_call_id_that_does_not_fit_into_a_path_is_refused(call_id: str) -> None:
    with pytest.raises(ValueError, match="call id"):
        OwnIds("a").media(call_id)
