"""Variants by how rare the labels are: the thirds, the scores, their intervals, and what does not compare."""

import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from hf_tagger.errors import HfTaggerError
from hf_tagger.evaluation.assessment import Predictions
from hf_tagger.evaluation.intervals import bootstrap_weights
from hf_tagger.evaluation.rare_classes import TrainedVariant, compare_rare_classes, label_groups
from hf_tagger.evaluation.rare_classes_table import rare_classes_table

MULTI, SINGLE = "multi_label_classification", "single_label_classification"
NAMES = [f"tag {number}" for number in range(6)]
SUPPORT = dict(zip(NAMES, (3, 40, 500, 7, 60, 900), strict=True))
THIRDS = {"rarest": [0, 3], "middle": [1, 4], "most frequent": [2, 5]}
CLIPS = 80


@pytest.fixture(scope="module")
def references():
    return (np.random.default_rng(0).random((CLIPS, 6)) < [0.1, 0.2, 0.5, 0.15, 0.3, 0.6]).astype(float)


def scores(references, right, seed=1):
    """Probabilities that are the better the higher ``right`` is, a number or one of each label."""
    noise = np.random.default_rng(seed).normal(size=references.shape)
    return 1 / (1 + np.exp(-(noise + np.asarray(right) * references)))


def variant(name, probabilities, references, problem_type=MULTI, support=SUPPORT, groups=None):
    ids = [f"clip {number}" for number in range(len(references))]
    predictions = Predictions(ids, groups or [None] * len(ids), probabilities, references, list(support), problem_type)
    return TrainedVariant(name, support, predictions)


def drawn_average_precision(probabilities, carried, draws):
    """Precision at every clip that carries the label, mean over them, each as often as it was drawn."""
    order = np.argsort(-probabilities)
    true = draws[:, order] * carried[order]
    return (true * np.cumsum(true, axis=1) / np.cumsum(draws[:, order], axis=1).clip(1)).sum(axis=1) / true.sum(axis=1)


@pytest.fixture(scope="module")
def study(references):
    plain = variant("plain", scores(references, 1), references)
    helped = variant("helped", scores(references, [4, 1.2, 1, 4, 0.8, 1]), references)
    return compare_rare_classes([plain, helped])


def test_labels_are_put_into_thirds_by_their_training_clips():
    groups = label_groups(SUPPORT)
    assert [(own.name, own.labels, own.fewest, own.most) for own in groups] == [
        ("rarest", ("tag 0", "tag 3"), 3, 7),
        ("middle", ("tag 1", "tag 4"), 40, 60),
        ("most frequent", ("tag 2", "tag 5"), 500, 900),
    ]
    assert [len(own.labels) for own in label_groups({f"{n}": n for n in range(50)})] == [17, 16, 17]


@pytest.mark.parametrize(
    ("counts", "sizes"),
    [
        ([5, 5, 5, 9, 9, 9], {"rarest": 3, "most frequent": 3}),
        ([1, 2, 2, 2, 2, 3], {"rarest": 1, "middle": 4, "most frequent": 1}),
        ([7, 7, 7], {"middle": 3}),
        ([1, 2], {"rarest": 1, "most frequent": 1}),
    ],
)
def test_labels_of_equally_many_clips_stay_together(counts, sizes):
    groups = label_groups({f"tag {number}": count for number, count in enumerate(counts)})
    assert {own.name: len(own.labels) for own in groups} == sizes


def test_a_third_scores_the_mean_average_precision_of_its_labels(study, references):
    given = {"plain": scores(references, 1), "helped": scores(references, [4, 1.2, 1, 4, 0.8, 1])}
    for name, probabilities in given.items():
        ap = [average_precision_score(references[:, tag], probabilities[:, tag]) for tag in range(6)]
        assert study.ap[name] == pytest.approx({NAMES[tag]: ap[tag] for tag in range(6)})
        for third, tags in THIRDS.items():
            assert study.scores[name][third].value == pytest.approx(np.mean([ap[tag] for tag in tags]))
    assert study.clips == {NAMES[tag]: references[:, tag].sum() for tag in range(6)}
    assert list(study.support.items()) == sorted(SUPPORT.items(), key=lambda pair: pair[1])


def test_intervals_are_those_of_drawing_clips_again_for_both_variants(study, references):
    given = [scores(references, 1), scores(references, [4, 1.2, 1, 4, 0.8, 1])]
    draws = np.concatenate(list(bootstrap_weights(CLIPS, None, 1_000, 0)))
    of_tags = [[drawn_average_precision(own[:, t], references[:, t], draws) for t in THIRDS["middle"]] for own in given]
    means = np.mean(of_tags, axis=1)  # [variants, draws]
    for name, own in zip(study.ap, means, strict=True):
        score = study.scores[name]["middle"]
        ends = np.quantile(own, [0.025, 0.975]) - own.mean() + score.value
        assert (score.interval.low, score.interval.high) == pytest.approx(tuple(ends), abs=1e-9)
    found, drawn = study.differences["helped"]["middle"], means[1] - means[0]
    difference = study.scores["helped"]["middle"].value - study.scores["plain"]["middle"].value
    assert found.difference == pytest.approx(difference)
    ends = np.quantile(drawn, [0.025, 0.975]) - drawn.mean() + difference
    assert (found.low, found.high) == pytest.approx(tuple(ends), abs=1e-9)
    assert found.p_value == pytest.approx(2 * (1 + min((drawn <= 0).sum(), (drawn >= 0).sum())) / 1_001)


def test_only_the_third_that_was_helped_is_called_different_from_the_first_variant(study):
    assert study.reference == "plain"
    assert {third: own.is_significant for third, own in study.differences["helped"].items()} == {
        "rarest": True,
        "middle": False,
        "most frequent": False,
    }
    assert study.differences["helped"]["rarest"].low > 0.1


def test_groups_are_drawn_where_clips_share_them(references):
    groups = [f"song {number // 2}" for number in range(CLIPS)]
    found = compare_rare_classes([variant("plain", scores(references, 1), references, groups=groups)])
    assert (found.drawn, found.differences) == ("groups", {})


def test_classes_are_scored_one_against_the_rest():
    classes = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [5, 15, 30]))
    probabilities = np.random.default_rng(1).dirichlet([1, 1, 1], size=50)
    support = {"waltz": 12, "march": 40, "song": 90}
    found = compare_rare_classes([variant("plain", probabilities, classes, SINGLE, support)])
    for third, (number, name) in zip(THIRDS, enumerate(support), strict=True):
        expected = average_precision_score(classes == number, probabilities[:, number])
        assert found.scores["plain"][third].value == found.ap["plain"][name] == pytest.approx(expected)


def test_what_is_unknown_takes_no_part(references):
    unknown = references.copy()
    unknown[:20, THIRDS["rarest"]] = np.nan  # nothing is known of them for a third of the labels
    probabilities = scores(references, 1)
    found = compare_rare_classes([variant("plain", probabilities, unknown)])
    ap = [average_precision_score(references[20:, tag], probabilities[20:, tag]) for tag in THIRDS["rarest"]]
    own = found.scores["plain"]["rarest"]
    assert own.value == pytest.approx(np.mean(ap))
    assert own.interval.low < own.value < own.interval.high


def test_labels_that_nobody_trained_or_no_clip_carries_are_left_out_and_named(references):
    without = references.copy()
    without[:, 5] = 0
    support = SUPPORT | {"tag 0": 0}
    found = compare_rare_classes([variant("plain", scores(references, 1), without, support=support)])
    assert found.left_out == ["tag 0", "tag 5"]
    assert [label for group in found.groups for label in group.labels] == ["tag 3", "tag 1", "tag 4", "tag 2"]
    text = rare_classes_table(found, "test", [])
    assert text.endswith("without training clips or carried by none or all of the test clips: tag 0, tag 5.\n")
    with pytest.raises(HfTaggerError, match="No label can be scored by how rare it is"):
        compare_rare_classes([variant("a", scores(references, 1), references, support=dict.fromkeys(NAMES, 0))])


def test_variants_of_other_clips_are_refused(references):
    plain = variant("plain", scores(references, 1), references)
    other = SUPPORT | {"tag 1": 41}
    with pytest.raises(HfTaggerError, match=r"b was trained on clips with other labels than plain.*--only b"):
        compare_rare_classes([plain, variant("b", scores(references, 1), references, support=other)])
    with pytest.raises(HfTaggerError, match="b was evaluated on other clips or labels than plain"):
        compare_rare_classes([plain, variant("b", scores(references[1:], 1), references[1:])])
    with pytest.raises(HfTaggerError, match="b was evaluated against other labels of the same clips than plain"):
        compare_rare_classes([plain, variant("b", scores(references, 1), 1 - references)])


def test_the_tables_hold_scores_differences_and_every_label(study):
    text = rare_classes_table(study, "test", [])
    lines = text.splitlines()
    head = "| Variant | Rarest (2 labels, 3 to 7 clips) | Middle (2 labels, 40 to 60 clips) | "
    assert [number for number, line in enumerate(lines) if line.startswith(head)] == [2, 9]
    for line, name in ((lines[4], "plain"), (lines[5], "helped")):
        own = study.scores[name]["rarest"]
        assert line.startswith(f"| {name} | {own.value:.4f} [{own.interval.low:.4f}, {own.interval.high:.4f}] | ")
    own = study.differences["helped"]["rarest"]
    assert lines[11].startswith(f"| helped | {own.difference:+.4f} [{own.low:+.4f}, {own.high:+.4f}] * | ")
    assert lines[11].count("*") == 1
    assert "Difference to plain on the same draws" in lines[7]
    of_label = f"| tag 3 | 7 | {study.clips['tag 3']} | {study.ap['plain']['tag 3']:.3f} | "
    assert sum(line.startswith(of_label) for line in lines) == 1
    assert "Over seeds" not in text


def test_variants_that_repeat_each_other_have_a_mean_over_seeds(references):
    found = compare_rare_classes([variant(f"plain_{seed}", scores(references, 1, seed), references) for seed in (0, 1)])
    text = rare_classes_table(found, "test", [{"variant": f"plain_{seed}", "repeats": "plain_0"} for seed in (0, 1)])
    values = [found.scores[name]["rarest"].value for name in found.ap]
    spread = abs(values[0] - values[1]) / np.sqrt(2)
    assert f"\n| plain | 2 | {np.mean(values):.4f} ± {spread:.4f} | " in text


def test_everything_is_there_for_other_programs(study):
    record = json.loads(json.dumps(study.as_dict(), allow_nan=False))
    assert record["reference"] == "plain"
    assert record["labels"]["tag 4"]["ap"] == {name: own["tag 4"] for name, own in study.ap.items()}
    assert record["scores"]["plain"]["middle"]["ap"] == study.scores["plain"]["middle"].value
    assert record["differences"]["helped"]["rarest"]["is_significant"] is True
    assert record["groups"][0]["labels"] == ["tag 0", "tag 3"]
