from onefold.graph.revision import Revision
from onefold.service.kept import Kept

ANN = Revision("ann", (("ann", "1"),))


def bob(number):
    return Revision(f"bob-{number}", (("bob", "1"),))


def test_a_value_is_kept_for_its_revision_and_givens_alone():
    kept = Kept(10, 60)
    kept.put("said", ANN, "model-1")
    assert kept.get(ANN, "model-1") == "said"
    assert kept.get(ANN, "model-2") is None
    assert kept.get(Revision("ann", (("ann", "2"),)), "model-1") is None
    kept.put("said since", Revision("ann", (("ann", "2"),)), "model-1")
    assert kept.get(ANN, "model-1") is None


def test_a_value_is_kept_no_longer_than_was_said():
    kept = Kept(10, 0)
    kept.put("said", ANN)
    assert kept.get(ANN) is None


def test_those_are_kept_who_were_asked_about_last():
    kept = Kept(3, 60)
    kept.put("ann", ANN)
    for number in range(5):
        kept.put(number, bob(number))
        assert kept.get(ANN) == "ann"
    assert [kept.get(bob(number)) for number in range(5)] == [None, None, None, 3, 4]


def test_what_no_later_revision_could_be_told_from_is_not_kept():
    kept = Kept(10, 60)
    kept.put("said", Revision("ann", ()))
    assert kept.get(Revision("ann", ())) is None
