import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import adjusted_rand_score

from onefold.graph.errors import InvalidInput, NotReady
from onefold.segments import clusters
from onefold.segments.cluster_choice import Candidate, choose
from onefold.segments.cluster_words import Apart, key, name
from onefold.segments.standard import scale
from tests import retail

PAGE = Path(__file__).parents[2] / "docs" / "groups.md"
FEATURES = ("days_since_order", "orders", "spend")
FOUR = np.array([[10.0, 20.0, 900.0], [200.0, 2.0, 100.0], [15.0, 2.0, 80.0], [100.0, 10.0, 2_000.0]])
SPREAD = np.array([4.0, 0.8, 40.0])


def people(centres=FOUR, each=200, seed=5, spread=SPREAD):
    """A frame of people around some centres, and the place of each."""
    place = np.repeat(np.arange(len(centres)), each)
    values = np.abs(centres[place] + spread * np.random.default_rng(seed).normal(size=(len(place), 3)))
    named = {key: pa.array(column) for key, column in zip(FEATURES, values.T, strict=True)}
    return pa.table({"identity": [f"id-{n:05d}" for n in range(len(place))], **named}), place


def labels(frame, clustering):
    return clusters.assign(frame, clustering)["cluster"].to_pylist()


@pytest.fixture(scope="module")
def four():
    return clusters.fit(people()[0], 0)


def test_clusters_that_are_there_are_found(four):
    frame, place = people()
    assert len(four.clusters) == 4
    assert adjusted_rand_score(place, labels(frame, four)) > 0.99
    assert sum(cluster.people for cluster in four.clusters) == four.people == 800
    best = max(four.tried, key=lambda candidate: candidate.silhouette)
    assert (best.clusters, best.is_stable) == (4, True)
    assert four.why.startswith("4 clusters: silhouette 0.")


def test_a_cloud_without_clusters_is_clustered_with_reserve():
    frame, _ = people(centres=np.array([[500.0, 500.0, 500.0]]), each=600, spread=np.array([50.0, 50.0, 50.0]))
    found = clusters.fit(frame, 0)
    assert not any(candidate.is_stable for candidate in found.tried)
    assert "with reserve" in found.why


def test_what_sets_a_cluster_apart_is_its_name_and_its_figures_are_told(four):
    by_name = {cluster.name: cluster for cluster in four.clusters}
    assert set(by_name) == {"frequent, recent", "long silent, few orders", "few orders, low spend", "high spend"}
    assert by_name["frequent, recent"].key == "frequent_recent"
    words = by_name["long silent, few orders"].words
    assert words.startswith("200 people (25%); medians: days since order 200 (all: ")
    for cluster in four.clusters:
        assert all(abs(one.effect) >= abs(other.effect) for one, other in pairwise(cluster.apart))


def test_the_same_people_in_any_order_make_the_same_clusters(four):
    frame, _ = people()
    shuffled = frame.take(np.random.default_rng(8).permutation(frame.num_rows))
    assert clusters.fit(shuffled, 0) == four


def test_one_person_is_assigned_as_among_all(four):
    frame, _ = people()
    whole = clusters.assign(frame, four)
    assert pa.concat_tables(clusters.assign(frame.slice(n, 1), four) for n in range(0, 800, 40)).equals(
        whole.take(list(range(0, 800, 40)))
    )


def test_who_lacks_a_feature_is_in_no_cluster(four):
    frame, _ = people()
    spend = frame["spend"].to_pylist()
    frame = frame.set_column(3, "spend", pa.array([None, *spend[1:]], pa.float64()))
    assert labels(frame, four)[0] is None
    assert clusters.assign(frame, four)["distance"][0].as_py() is None
    assert (clusters.fit(frame, 0).unknown, clusters.fit(frame, 0).people) == (1, 799)


def test_names_survive_other_people_and_a_drift(four):
    later, place = people(FOUR * 1.05, each=150, seed=77)
    again = clusters.fit(later, 1, previous=four)
    assert {cluster.key: cluster.name for cluster in again.clusters} == {c.key: c.name for c in four.clusters}
    assert again.scales == four.scales
    first, _ = people()
    of = dict(zip(people()[1].tolist(), labels(first, four), strict=True))
    assert [of[n] for n in place.tolist()] == labels(later, again)


def test_a_cluster_that_has_gone_elsewhere_is_another_one(four):
    elsewhere = FOUR.copy()
    elsewhere[3] = [300.0, 30.0, 100.0]
    again = clusters.fit(people(elsewhere)[0], 1, previous=four)
    was, now = ({cluster.key for cluster in found.clusters} for found in (four, again))
    assert was - now == {"high_spend"}
    assert len(now - was) == 1


def test_a_cluster_more_leaves_the_names_of_the_others(four):
    five = clusters.fit(people(np.vstack([FOUR, [300.0, 30.0, 100.0]]))[0], 1, previous=four)
    assert len(five.clusters) == 5
    assert {cluster.key for cluster in four.clusters} < {cluster.key for cluster in five.clusters}


def test_a_clustering_is_stored_as_json_and_read_back(four):
    assert clusters.parse(four.text()) == four
    told = json.loads(four.text())
    told["clusters"][0]["centre"] = [1.0]
    for damaged in (
        "{}",
        "not json",
        four.text()[:-40],
        json.dumps(told),
        four.text().replace('"format": 1', '"format": 9'),
    ):
        with pytest.raises(NotReady, match="clusters"):
            clusters.parse(damaged)


def test_too_few_people_or_people_who_are_all_alike_are_not_clustered():
    with pytest.raises(NotReady, match="known of 80 people; 100 are needed"):
        clusters.fit(people(each=20)[0], 0)
    with pytest.raises(NotReady, match="hardly differ"):
        clusters.fit(people(spread=np.zeros(3), centres=FOUR[:2])[0], 0)


@pytest.mark.parametrize(
    ("features", "words"),
    [(("spent",), "spent: is not among"), (("identity",), "identity: must be a number"), ((), "at least one")],
)
def test_features_that_are_not_there_or_no_numbers_are_refused(features, words):
    with pytest.raises(InvalidInput, match=words):
        clusters.fit(people()[0], 0, features)


def test_the_number_in_use_stays_unless_another_is_clearly_better():
    three, four = Candidate(3, 0.40, 0.9, 10), Candidate(4, 0.41, 0.9, 10)
    assert choose([three, four])[0] is four
    assert choose([three, four], in_use=3)[0] is three
    assert choose([three, Candidate(4, 0.43, 0.9, 10)], in_use=3)[0].clusters == 4
    assert choose([Candidate(3, 0.40, 0.7, 10), four], in_use=3)[0] is four


def test_the_best_silhouette_of_an_unstable_number_does_not_count():
    assert choose([Candidate(3, 0.3, 0.85, 9), Candidate(4, 0.9, 0.5, 9)])[0].clusters == 3


def test_names_are_never_given_twice():
    aparts = [Apart("orders", 1, 2, 1.0), Apart("spend", 1, 2, -0.9), Apart("age", 1, 2, 0.5), Apart("x", 1, 2, 0.1)]
    taken = set()
    given = []
    for _ in range(4):
        given.append(name(aparts, taken))
        taken.add(key(given[-1]))
    assert given == [
        "frequent, low spend",
        "frequent, low spend, older",
        "frequent, low spend 2",
        "frequent, low spend 3",
    ]


def test_a_figure_with_a_long_tail_is_put_on_a_log_scale_and_a_constant_stays_finite():
    tail = np.exp(np.random.default_rng(1).normal(3, 1.5, 2_000))
    assert scale(tail).is_log
    assert not scale(tail - 100).is_log
    assert not scale(np.random.default_rng(1).uniform(0, 300, 500)).is_log
    standard = scale(tail).standard(tail)
    assert (standard.mean(), standard.std()) == pytest.approx((0, 1))
    assert scale(np.full(9, 0.1)).standard(np.array([0.1, np.nan])).tolist()[0] == pytest.approx(0)


def test_the_clusters_of_online_retail_are_those_of_the_page():
    found = clusters.fit(retail.frame(), retail.END)
    assert found.why.startswith("3 clusters: silhouette 0.41, agreement of halves 0.94")
    tried = [
        f"| {each.clusters} | {each.silhouette:.2f} | {each.agreement:.2f} | {each.smallest:,} |"
        for each in found.tried
    ]
    told = [f"| {cluster.name} | {cluster.words} |" for cluster in found.clusters]
    page = PAGE.read_text("utf-8")
    assert "\n".join(tried) in page
    assert "\n".join(told) in page


def test_clusters_of_online_retail_keep_their_names_over_three_months():
    before = clusters.fit(retail.frame(retail.midnight(2011, 9, 10)), 0)
    after = clusters.fit(retail.frame(), retail.END, previous=before)
    assert {cluster.key for cluster in after.clusters} == {cluster.key for cluster in before.clusters}
