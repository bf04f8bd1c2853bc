"""The metrics against a second implementation in plain Python, and both against golden_metrics.json.

``python tests/evaluation/test_golden_metrics.py`` writes golden_metrics.json anew, from the plain Python side only.
"""

import json
import math
import random
from pathlib import Path

import pytest

MULTI, SINGLE = "multi_label_classification", "single_label_classification"
GOLDEN = Path(__file__).with_name("golden_metrics.json")
TOLERANCE = 1e-9


# The second implementation: definitions written out, slow, without numpy or scikit-learn.


def roc_auc(references, scores):
    """Share of (positive, negative) pairs in the right order, ties counted half."""
    positives = [score for reference, score in zip(references, scores, strict=True) if reference]
    negatives = [score for reference, score in zip(references, scores, strict=True) if not reference]
    won = sum((p > n) + 0.5 * (p == n) for p in positives for n in negatives)
    return won / (len(positives) * len(negatives))


def average_precision(references, scores):
    """Precision at every distinct threshold, weighted by the recall that the step gains."""
    value, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        said = [reference for reference, score in zip(references, scores, strict=True) if score >= threshold]
        recall = sum(said) / sum(references)
        value += (recall - recall_before) * sum(said) / len(said)
        recall_before = recall
    return value


def f1(references, said):
    pairs = list(zip(references, said, strict=True))
    hits = sum(1 for reference, decision in pairs if reference and decision)
    errors = sum(1 for reference, decision in pairs if bool(reference) != bool(decision))
    return 2 * hits / (2 * hits + errors)


def label_ranking(references, scores):
    """Mean over clips of the mean over the clip's tags of (own tags at least as high) / (tags at least as high)."""
    of_clips = []
    for own, row in zip(references, scores, strict=True):
        if sum(own) in (0, len(own)):
            of_clips.append(1.0)
            continue
        parts = []
        for tag in range(len(row)):
            if own[tag]:
                above = [other for other in range(len(row)) if row[other] >= row[tag]]
                parts.append(sum(own[other] for other in above) / len(above))
        of_clips.append(sum(parts) / len(parts))
    return sum(of_clips) / len(of_clips)


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else None


def columns(rows):
    return [list(column) for column in zip(*rows, strict=True)]


def multi_label(scores, references):
    pairs = list(zip(columns(references), columns(scores), strict=True))
    scored = [(own, column) for own, column in pairs if 0 < sum(own) < len(own)]
    all_references = [value for row in references for value in row]
    all_scores = [value for row in scores for value in row]
    micro = 0 < sum(all_references) < len(all_references)
    return {
        "roc_auc_macro": mean(roc_auc(own, column) for own, column in scored),
        "roc_auc_micro": roc_auc(all_references, all_scores) if micro else None,
        "ap_macro": mean(average_precision(own, column) for own, column in scored),
        "ap_micro": average_precision(all_references, all_scores) if micro else None,
        "lrap": label_ranking(references, scores),
        "f1_macro": mean(f1(own, [score >= 0.5 for score in column]) for own, column in scored),
        "tags_scored": len(scored),
        "tags_left_out": len(pairs) - len(scored),
    }


def single_label(scores, references):
    said = [row.index(max(row)) for row in scores]
    classes = sorted(set(references))
    # Rank of the true class: those above it, and equal ones before it.
    ranks = [
        sum(1 for index, score in enumerate(row) if score > row[own] or (score == row[own] and index < own))
        for row, own in zip(scores, references, strict=True)
    ]
    hits = [a == b for a, b in zip(said, references, strict=True)]
    return {
        "accuracy": mean(hits),
        "balanced_accuracy": mean(
            mean(hit for hit, own in zip(hits, references, strict=True) if own == which) for which in classes
        ),
        "f1_macro": mean(f1([own == which for own in references], [s == which for s in said]) for which in classes),
        "top3_accuracy": mean(rank < 3 for rank in ranks),
        "classes_scored": len(classes),
        "classes_left_out": len(scores[0]) - len(classes),
    }


def per_label(scores, references, problem_type):
    said = [row.index(max(row)) for row in scores]
    table = []
    for label, column in enumerate(columns(scores)):
        own = [row[label] if problem_type == MULTI else int(row == label) for row in references]
        scored = 0 < sum(own) < len(own)
        row = {"label": f"label {label}", "support": sum(own), "prevalence": sum(own) / len(own)}
        row["ap"] = average_precision(own, column) if scored else None
        row["roc_auc"] = roc_auc(own, column) if scored else None
        if problem_type == SINGLE:
            hits = sum(1 for o, s in zip(own, said, strict=True) if o and s == label)
            row["precision"] = hits / said.count(label) if label in said else None
            row["recall"] = hits / sum(own) if sum(own) else None
            row["f1"] = f1(own, [s == label for s in said]) if sum(own) or label in said else None
        table.append(row)
    return table


INDEPENDENT = {MULTI: multi_label, SINGLE: single_label}


# The cases


def make_clips(seed, clips, labels, problem_type, steps=None):
    """Random scores, rounded to ``steps`` levels where ties are wanted; labels that agree with them somewhat."""
    generator = random.Random(seed)
    scores = [[generator.random() for _ in range(labels)] for _ in range(clips)]
    if steps:
        scores = [[round(score * steps) / steps for score in row] for row in scores]
    if problem_type == MULTI:
        return scores, [[int(generator.random() < 0.1 + 0.5 * score) for score in row] for row in scores]
    return scores, [generator.choices(range(labels), [score + 0.1 for score in row])[0] for row in scores]


def make_cases():
    cases = {
        "multi-label": (MULTI, *make_clips(1, 24, 6, MULTI)),
        "multi-label with ties": (MULTI, *make_clips(2, 24, 6, MULTI, steps=4)),
        "multi-label with one tag": (MULTI, *make_clips(3, 12, 1, MULTI)),
        "single-label": (SINGLE, *make_clips(4, 24, 5, SINGLE)),
        "single-label with ties": (SINGLE, *make_clips(5, 24, 5, SINGLE, steps=2)),
        "single-label with two classes": (SINGLE, *make_clips(6, 16, 2, SINGLE)),
        "single-label with one class in the references": (SINGLE, make_clips(7, 8, 4, SINGLE)[0], [2] * 8),
        "single-label with classes that no reference names": (
            SINGLE,
            make_clips(8, 24, 6, SINGLE)[0],
            [1, 3, 4, 4, 3, 1] * 4,
        ),
    }
    scores, references = make_clips(9, 20, 6, MULTI, steps=10)
    cases["multi-label with a tag without positives"] = (
        MULTI,
        scores,
        [[0 if tag == 2 else value for tag, value in enumerate(row)] for row in references],
    )
    cases["multi-label with a tag without negatives"] = (
        MULTI,
        scores,
        [[1 if tag == 4 else value for tag, value in enumerate(row)] for row in references],
    )
    cases["multi-label with clips that carry no tag or all"] = (MULTI, scores, [[0] * 6, [1] * 6, *references[2:]])
    cases["multi-label without any tag that can be scored"] = (MULTI, scores, [[1, 0, 0, 1, 0, 0]] * 20)
    return cases


def write_golden():
    records = []
    for name, (problem_type, scores, references) in make_cases().items():
        record = {"name": name, "problem_type": problem_type, "predictions": scores, "references": references}
        record["metrics"] = INDEPENDENT[problem_type](scores, references)
        record["per_label"] = per_label(scores, references, problem_type)
        records.append(record)
    GOLDEN.write_text("[\n" + ",\n".join(json.dumps(record) for record in records) + "\n]\n", encoding="utf-8")


# The tests


def golden_cases():
    records = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.exists() else []
    return [pytest.param(record, id=record["name"].replace(" ", "-")) for record in records]


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, float):
            assert type(found[name]) is float
            assert math.isclose(found[name], value, rel_tol=0, abs_tol=TOLERANCE), name
        else:
            assert type(found[name]) is type(value)
            assert found[name] == value, name


@pytest.mark.parametrize("record", golden_cases())
def test_metrics_equal_golden_values(record):
    from hf_tagger.evaluation.metrics import TaggingMetrics

    metrics = TaggingMetrics(record["problem_type"])
    found = metrics.compute(predictions=record["predictions"], references=record["references"])
    assert_same(found, record["metrics"])


@pytest.mark.parametrize("record", golden_cases())
def test_per_label_scores_equal_golden_values(record):
    from hf_tagger.evaluation.metrics import per_label_table

    names = [row["label"] for row in record["per_label"]]
    found = per_label_table(record["predictions"], record["references"], names, record["problem_type"])
    assert len(found) == len(record["per_label"])
    for found_row, expected_row in zip(found, record["per_label"], strict=True):
        assert_same(found_row, expected_row)


@pytest.mark.parametrize("record", golden_cases())
def test_golden_values_equal_the_definitions(record):
    assert_same(INDEPENDENT[record["problem_type"]](record["predictions"], record["references"]), record["metrics"])


@pytest.mark.parametrize("problem_type", [MULTI, SINGLE])
@pytest.mark.parametrize("seed", range(20))
def test_metrics_equal_the_definitions_on_random_clips(problem_type, seed):
    from hf_tagger.evaluation.metrics import score_clips

    generator = random.Random(seed)
    clips, labels, steps = generator.randint(1, 40), generator.randint(1, 8), generator.choice([None, 3, 20])
    scores, references = make_clips(1000 + seed, clips, labels, problem_type, steps)
    assert_same(score_clips(scores, references, problem_type), INDEPENDENT[problem_type](scores, references))


def test_golden_file_holds_every_case():
    recorded = {record["name"] for record in json.loads(GOLDEN.read_text(encoding="utf-8"))}
    assert recorded == set(make_cases())


if __name__ == "__main__":
    write_golden()
