import dataclasses
import json
import os
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import numpy as np
import pytest

from onefold.graph.errors import NotFound, NotReady
from onefold.ml import catalogue, features
from onefold.ml.registry import Registry
from onefold.ml.score import score
from tests.histories import END, shop, small, trained


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "models"


@pytest.fixture
def registry(folder):
    return Registry(folder)


def rewrite(folder, name, change):
    """Change a file of a model and its checksum with it, as another version of the program would."""
    file = folder / name
    old = file.read_bytes()
    new = change(old)
    file.write_bytes(new)
    sums = folder / "SHA256SUMS"
    line, other = (f"{sha256(content).hexdigest()}  {name}\n" for content in (old, new))
    sums.write_text(sums.read_text().replace(line, other))


def test_a_model_comes_back_as_it_was_saved(registry):
    model_id = registry.save(trained())
    loaded = registry.load(model_id)
    assert model_id == "churn-0001"
    assert loaded.card == trained().card
    assert loaded.files() == trained().files()
    orders, events = shop()
    table = features.compute(orders, events, END, loaded.card.population)
    assert np.array_equal(score(loaded, table).log_odds, score(trained(), table).log_odds)


def test_the_same_model_is_stored_as_the_same_bytes(registry, folder):
    first, second = (folder / registry.save(trained()) for _ in range(2))
    assert first.name != second.name
    names = {path.name for path in first.iterdir()}
    assert {"model.json", "SHA256SUMS", "churn.json", "churn_free.txt"} < names
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_no_model_is_current_before_one_is_promoted(registry):
    registry.save(trained())
    with pytest.raises(NotReady, match="none has been trained yet"):
        registry.current_id()


def test_promotion_switches_and_switches_back(registry):
    first, second = registry.save(trained()), registry.save(trained())
    for model_id in (first, second, first):
        registry.promote(model_id)
        assert registry.current_id() == model_id
    assert [(entry.id, entry.is_current) for entry in registry.entries()] == [(first, True), (second, False)]


@pytest.mark.parametrize("name", ["churn_free.txt", "process.json", "model.json"])
def test_a_changed_byte_is_refused(registry, folder, name):
    model_id = registry.save(trained())
    file = folder / model_id / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(NotReady, match="damaged"):
        registry.load(model_id)


@pytest.mark.parametrize("name", ["churn_free.txt", "spend.json", "model.json", "SHA256SUMS"])
def test_a_half_written_model_is_refused_naming_what_is_missing(registry, folder, name):
    model_id = registry.save(trained())
    (folder / model_id / name).unlink()
    with pytest.raises(NotReady, match=f"half-written.*{name}"):
        registry.load(model_id)


def test_a_cut_file_is_refused(registry, folder):
    model_id = registry.save(trained())
    os.truncate(folder / model_id / "churn_residual.txt", 1000)
    with pytest.raises(NotReady, match="damaged"):
        registry.load(model_id)


def test_a_refused_model_is_not_promoted_and_the_current_one_stays(registry, folder):
    good, bad = registry.save(trained()), registry.save(trained())
    registry.promote(good)
    (folder / bad / "churn_residual.txt").write_text("tree")
    with pytest.raises(NotReady):
        registry.promote(bad)
    assert registry.current_id() == good
    entry = registry.entries()[1]
    assert (entry.id, entry.card, entry.is_current) == (bad, None, False)
    assert "damaged" in entry.refusal


def test_features_defined_otherwise_are_named(registry, monkeypatch):
    model_id = registry.save(trained())
    other = dataclasses.replace(catalogue.BY_KEY["spend"], formula="sum(value) / 1e6")
    monkeypatch.setitem(catalogue.BY_KEY, "spend", other)
    monkeypatch.delitem(catalogue.BY_KEY, "weekend_share")
    with pytest.raises(NotReady, match="other definitions of spend, weekend_share; train again"):
        registry.load(model_id)
    assert "spend, weekend_share" in registry.entries()[0].refusal


def test_a_feature_added_to_the_catalogue_leaves_a_model_valid(registry, monkeypatch):
    model_id = registry.save(trained())
    added = dataclasses.replace(catalogue.BY_KEY["spend"], key="spend_in_euro")
    monkeypatch.setitem(catalogue.BY_KEY, "spend_in_euro", added)
    assert registry.load(model_id).card == trained().card


def test_a_card_of_another_format_is_refused(registry, folder):
    model_id = registry.save(trained())

    def old_format(card):
        return json.dumps({**json.loads(card), "format": 1}).encode()

    rewrite(folder / model_id, "model.json", old_format)
    with pytest.raises(NotReady, match="another version"):
        registry.load(model_id)


def test_trees_that_lightgbm_cannot_read_are_refused(registry, folder, capfd):
    model_id = registry.save(trained())
    rewrite(folder / model_id, "churn_residual.txt", lambda _: b"no trees here")
    with pytest.raises(NotReady, match="no LightGBM model"):
        registry.load(model_id)
    capfd.readouterr()


def test_terms_of_another_version_are_refused(registry, folder):
    model_id = registry.save(trained())

    def other_terms(linear):
        document = json.loads(linear)
        document["terms"].popitem()
        return json.dumps(document).encode()

    rewrite(folder / model_id, "churn.json", other_terms)
    with pytest.raises(NotReady, match=r"churn\.json has other terms than this version"):
        registry.load(model_id)


def test_a_small_model_comes_back_without_trees_of_churn(registry):
    loaded = registry.load(registry.save(small()))
    assert loaded.files() == small().files()
    assert loaded.card == small().card
    assert loaded.parts.churn.boosters == ()


@pytest.mark.parametrize("model_id", ["churn-0009", "../churn-0001", "", ".", "churn-1"])
def test_an_unknown_id_is_not_found(registry, model_id):
    registry.save(trained())
    with pytest.raises(NotFound):
        registry.load(model_id)


def test_a_save_that_crashed_leaves_no_model_behind(registry, folder):
    (folder / ".incoming-dead").mkdir(parents=True)
    (folder / ".incoming-dead" / "churn_residual.txt").write_text("tree")
    assert registry.entries() == []
    assert registry.save(trained()) == "churn-0001"


def test_a_save_that_fails_leaves_nothing_behind(registry, folder):
    broken = dataclasses.replace(trained(), parts=None)
    with pytest.raises((AttributeError, TypeError)):
        registry.save(broken)
    assert list(folder.iterdir()) == []


def test_ids_are_never_given_twice_even_to_racing_saves(folder):
    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(lambda _: Registry(folder).save(trained()), range(8)))
    assert sorted(ids) == [f"churn-{number:04d}" for number in range(1, 9)]
    assert len(Registry(folder).entries()) == 8
