import dataclasses
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "data"))
import test_windows

from hf_tagger.argument_checks import from_mapping
from hf_tagger.errors import RecipeError
from hf_tagger.loss_arguments import LossArguments
from hf_tagger.models.windowed_classification import classification_loss, training_loss
from hf_tagger.training.losses import balanced_weights, build_loss, label_counts

MULTI, SINGLE = "multi_label_classification", "single_label_classification"
COUNTS, CLIPS = np.array([50, 20, 5, 80]), 100
NAN = float("nan")
EVERY_LOSS = [
    (MULTI, {}),
    (MULTI, {"class_weights": "balanced"}),
    (MULTI, {"name": "focal", "gamma": 1.5}),
    (MULTI, {"name": "focal", "gamma": 0.5, "class_weights": "balanced"}),
    (MULTI, {"name": "asymmetric"}),
    (MULTI, {"name": "asymmetric", "gamma_positive": 1, "gamma_negative": 0.5, "class_weights": "balanced"}),
    (SINGLE, {}),
    (SINGLE, {"class_weights": "balanced"}),
    (SINGLE, {"name": "focal", "gamma": 0.5}),
    (SINGLE, {"name": "focal", "class_weights": "balanced"}),
]
every_loss = pytest.mark.parametrize(("problem_type", "recipe"), EVERY_LOSS)
every_smoothing = pytest.mark.parametrize("smoothing", [0.0, 0.2])


def build(problem_type, recipe, smoothing=0.0, counts=COUNTS, clips=CLIPS):
    return build_loss(LossArguments(**recipe), problem_type, counts, clips, smoothing)


def some_logits(rows=6, labels=4, scale=3.0):
    return scale * torch.randn(rows, labels, generator=torch.Generator().manual_seed(0))


def some_labels(problem_type, rows=6, labels=4):
    generator = torch.Generator().manual_seed(1)
    if problem_type == MULTI:
        return (torch.rand(rows, labels, generator=generator) < 0.4).float()
    return torch.randint(labels, (rows,), generator=generator)


def as_shares(labels, num_labels=4):
    """Class indices as the shares of the classes, which a mixture of two clips has."""
    return torch.nn.functional.one_hot(labels, num_labels).float() if labels.ndim == 1 else labels


def logit(probability):
    return float(np.log(probability / (1 - probability)))


def value_and_gradient(loss, logits, labels):
    logits = logits.clone().requires_grad_()
    value = loss(logits, labels)
    value.backward()
    return value.item(), logits.grad


def expected_loss(problem_type, recipe, logits, labels, smoothing=0.0):
    """The mean loss of known 0/1 labels or class indices, one by one in float64 from the formulas of the papers."""
    logits, labels = logits.double().numpy(), labels.numpy()
    defaults = {"focal": {"gamma": 2}, "asymmetric": {"gamma_positive": 0, "gamma_negative": 4, "margin": 0.05}}
    chosen = {**defaults.get(recipe.get("name"), {}), **recipe}
    of_positives = chosen.get("gamma_positive", chosen.get("gamma", 0))
    of_negatives = chosen.get("gamma_negative", chosen.get("gamma", 0))
    balanced = recipe.get("class_weights") == "balanced"
    losses = []
    for row, row_labels in zip(logits, labels, strict=True):
        if problem_type == SINGLE:
            p = np.exp(row) / np.exp(row).sum()
            of_classes = [(1 - value) ** of_positives * -np.log(value) for value in p]
            own = (1 - smoothing) * of_classes[row_labels] + smoothing * np.mean(of_classes)
            losses.append(own * (CLIPS / len(row) / COUNTS[row_labels] if balanced else 1))
            continue
        for column, (value, label) in enumerate(zip(row, row_labels, strict=True)):
            p = 1 / (1 + np.exp(-value))
            shifted = max(p - chosen.get("margin", 0), 0)
            present = (1 - p) ** of_positives * -np.log(p)
            absent = shifted**of_negatives * -np.log(1 - shifted)
            own, other = (present, absent) if label else (absent, present)
            weight = (CLIPS - COUNTS[column]) / COUNTS[column] if balanced and label else 1
            losses.append(weight * ((1 - smoothing / 2) * own + smoothing / 2 * other))
    return np.mean(losses)


@every_smoothing
@every_loss
def test_every_loss_is_that_of_the_formula(problem_type, recipe, smoothing):
    logits, labels = some_logits(), some_labels(problem_type)
    loss = build(problem_type, recipe, smoothing)(logits, labels)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected_loss(problem_type, recipe, logits, labels, smoothing), rel=1e-5)


@every_loss
def test_the_gradient_is_that_of_the_formula_with_its_powers(problem_type, recipe):
    logits, labels, step = some_logits(rows=2), some_labels(problem_type, rows=2), 1e-5
    _, gradient = value_and_gradient(build(problem_type, recipe, 0.1), logits, labels)
    for place in np.ndindex(2, 4):
        moved = torch.zeros(2, 4, dtype=torch.float64)
        moved[place] = step
        above, below = (
            expected_loss(problem_type, recipe, logits.double() + sign * moved, labels, 0.1) for sign in (1, -1)
        )
        assert gradient[place].item() == pytest.approx((above - below) / (2 * step), rel=1e-3, abs=1e-6)


@every_smoothing
def test_plain_cross_entropy_is_torchs_own_to_the_last_bit(smoothing):
    logits, tags, classes = some_logits(), some_labels(MULTI), some_labels(SINGLE)
    smoothed = tags * (1 - smoothing) + smoothing / 2
    plain = {problem_type: build(problem_type, {}, smoothing) for problem_type in (MULTI, SINGLE)}
    assert torch.equal(plain[MULTI](logits, tags), binary_cross_entropy_with_logits(logits, smoothed))
    assert torch.equal(plain[SINGLE](logits, classes), cross_entropy(logits, classes, label_smoothing=smoothing))
    for problem_type, labels in ((MULTI, tags), (SINGLE, classes)):
        expected = classification_loss(logits, labels, problem_type, smoothing)
        assert torch.equal(plain[problem_type](logits, labels), expected)


@every_smoothing
@pytest.mark.parametrize(
    ("problem_type", "recipe"),
    [
        (MULTI, {"name": "focal", "gamma": 0}),
        (SINGLE, {"name": "focal", "gamma": 0}),
        (MULTI, {"name": "asymmetric", "gamma_negative": 0, "margin": 0}),
    ],
)
def test_without_exponents_and_margin_every_loss_is_cross_entropy(problem_type, recipe, smoothing):
    logits, labels = some_logits(), some_labels(problem_type)
    loss = build(problem_type, recipe, smoothing)(logits, labels)
    assert loss.item() == pytest.approx(classification_loss(logits, labels, problem_type, smoothing).item(), rel=1e-6)


def test_focal_loss_scales_cross_entropy_by_what_is_missing_to_certainty():
    for probability, factor in ((0.9, 0.01), (0.5, 0.25), (0.1, 0.81)):  # (1 − p)²
        entropy = -np.log(probability)
        logits = torch.tensor([[logit(probability)]])
        present, absent = torch.tensor([[1.0]]), torch.tensor([[0.0]])
        focal = build(MULTI, {"name": "focal"}, counts=np.array([1]))
        assert focal(logits, present).item() == pytest.approx(factor * entropy, rel=1e-5)
        assert focal(-logits, absent).item() == pytest.approx(factor * entropy, rel=1e-5)
        of_two = build(SINGLE, {"name": "focal"}, counts=np.array([1, 1]))
        two = torch.tensor([[logit(probability), 0.0]])  # its softmax is that sigmoid
        assert of_two(two, torch.tensor([0])).item() == pytest.approx(factor * entropy, rel=1e-5)


def test_an_absent_label_predicted_below_the_margin_counts_nothing_and_a_present_one_does():
    logits = torch.tensor([[logit(0.049), logit(0.051), logit(0.3)]], requires_grad=True)
    loss = build(MULTI, {"name": "asymmetric", "gamma_negative": 0.5}, counts=np.array([1, 1, 1]))
    (3 * loss(logits, torch.zeros(1, 3))).backward()
    assert logits.grad[0, 0] == 0
    assert (logits.grad[0, 1:] > 0).all()
    only_easy = torch.tensor([[1.0, NAN, NAN]]) - 1
    assert loss(logits, only_easy).item() == 0
    present = torch.tensor([[1.0, NAN, NAN]])
    assert loss(logits, present).item() == pytest.approx(-np.log(0.049), rel=1e-5)  # the margin is for absent labels


def test_a_label_predicted_just_at_the_margin_has_a_gradient():
    loss = build(MULTI, {"name": "asymmetric", "gamma_negative": 0.5, "margin": 0.5}, counts=np.array([1]))
    value, gradient = value_and_gradient(loss, torch.zeros(1, 1), torch.zeros(1, 1))
    assert value == 0
    assert gradient.item() == 0


def test_asymmetric_loss_of_a_wrong_label_by_hand():
    loss = build(MULTI, {"name": "asymmetric"}, counts=np.array([1]))
    logits = torch.tensor([[logit(0.65)]])
    assert loss(logits, torch.zeros(1, 1)).item() == pytest.approx(0.6**4 * -np.log(0.4), rel=1e-5)
    assert loss(logits, torch.ones(1, 1)).item() == pytest.approx(-np.log(0.65), rel=1e-5)


def test_balanced_weights_of_tags_are_negatives_per_positive_as_torchs_pos_weight():
    weights = balanced_weights(COUNTS, CLIPS, MULTI, bound=100)
    assert weights.tolist() == [1, 4, 19, 0.25]
    logits, labels = some_logits(), some_labels(MULTI)
    expected = binary_cross_entropy_with_logits(logits, labels, pos_weight=torch.tensor(weights, dtype=torch.float32))
    found = build(MULTI, {"class_weights": "balanced"})(logits, labels)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


def test_balanced_weights_of_classes_are_scikit_learns_and_one_on_the_mean_clip():
    counts = np.array([60, 30, 10])
    classes = np.repeat([0, 1, 2], counts)
    weights = balanced_weights(counts, 100, SINGLE, bound=100)
    np.testing.assert_allclose(weights, compute_class_weight("balanced", classes=np.arange(3), y=classes))
    assert weights[classes].mean() == pytest.approx(1)


def test_balanced_weights_have_a_bound_and_a_label_without_clips_has_none():
    counts = np.array([1, 999, 1000, 0])
    assert balanced_weights(counts, 1000, MULTI, bound=50).tolist() == [50, 1 / 50, 1 / 50, 1]
    assert balanced_weights(np.array([1, 999, 0]), 1000, SINGLE, bound=5).tolist() == [5, 1000 / 3 / 999, 1]
    recipe = {"class_weights": "balanced", "max_class_weight": 2}
    weights = build(MULTI, recipe).weights
    assert weights.tolist() == [1, 2, 2, 0.5]
    assert build(MULTI, {"class_weights": "balanced"}, counts=np.array([1]), clips=1000).weights.tolist() == [100]


def test_a_batch_of_one_clip_keeps_its_weight():
    logits = torch.zeros(1, 4)
    loss = build(SINGLE, {"class_weights": "balanced"})
    for label, count in enumerate(COUNTS):
        expected = CLIPS / 4 / count * np.log(4)
        assert loss(logits, torch.tensor([label])).item() == pytest.approx(expected, rel=1e-6)


def test_smoothing_draws_the_negatives_of_a_rare_label_no_further_than_those_of_others():
    smoothing = 0.1
    logits = torch.full((1, 4), logit(smoothing / 2), requires_grad=True)  # where a smoothed negative has its optimum
    build(MULTI, {"class_weights": "balanced"}, smoothing)(logits, torch.zeros(1, 4)).backward()
    np.testing.assert_allclose(logits.grad, 0, atol=1e-7)


@every_smoothing
@every_loss
def test_labels_that_are_not_known_change_nothing(problem_type, recipe, smoothing):
    loss = build(problem_type, recipe, smoothing)
    logits, labels = some_logits(), as_shares(some_labels(problem_type))
    with_gaps = labels.clone()
    if problem_type == MULTI:
        known = torch.rand(labels.shape, generator=torch.Generator().manual_seed(2)) < 0.6
        with_gaps[~known] = NAN
        rows = [(logits[i : i + 1, j], labels[i : i + 1, j], j) for i, j in known.nonzero().tolist()]
        alone = []
        for row_logits, row_labels, column in rows:
            one = build(problem_type, recipe, smoothing, COUNTS[column : column + 1])
            alone.append(value_and_gradient(one, row_logits[None], row_labels[None]))
        value, gradient = value_and_gradient(loss, logits, with_gaps)
        assert value == pytest.approx(np.mean([entry for entry, _ in alone]), rel=1e-5)
        expected = torch.zeros_like(logits)
        expected[known] = torch.cat([entry.flatten() for _, entry in alone]) / len(alone)
        torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-7)
    else:
        with_gaps[1], with_gaps[4, 2] = NAN, NAN
        known = [0, 2, 3, 5]
        value, gradient = value_and_gradient(loss, logits, with_gaps)
        expected_value, expected = value_and_gradient(loss, logits[known], labels[known])
        assert value == pytest.approx(expected_value, rel=1e-6)
        torch.testing.assert_close(gradient[known], expected)
        assert (gradient[[1, 4]] == 0).all()


@every_loss
def test_a_batch_without_any_known_label_has_a_loss_of_zero_and_a_gradient_of_zeros(problem_type, recipe):
    value, gradient = value_and_gradient(build(problem_type, recipe, 0.1), some_logits(), torch.full((6, 4), NAN))
    assert value == 0
    assert (gradient == 0).all()


@every_smoothing
@every_loss
def test_a_mixture_of_two_clips_has_the_mixture_of_their_losses(problem_type, recipe, smoothing):
    loss = build(problem_type, recipe, smoothing)
    logits, labels = some_logits(), as_shares(some_labels(problem_type))
    mixed = loss(logits, 0.3 * labels + 0.7 * labels.roll(1, 0))
    expected = 0.3 * loss(logits, labels) + 0.7 * loss(logits, labels.roll(1, 0))
    assert mixed.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("recipe", [recipe for problem_type, recipe in EVERY_LOSS if problem_type == SINGLE])
def test_a_class_and_its_share_of_one_are_the_same_label(recipe):
    loss, logits, classes = build(SINGLE, recipe, 0.1), some_logits(), some_labels(SINGLE)
    assert loss(logits, classes).item() == pytest.approx(loss(logits, as_shares(classes)).item(), rel=1e-6)


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_have_the_float32_loss_of_their_values(problem_type, recipe, dtype):
    loss, labels = build(problem_type, recipe, 0.1), some_labels(problem_type)
    half = some_logits().to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(half, labels)
    assert found.dtype == torch.float32
    assert torch.equal(found, loss(half.float(), labels))


@every_loss
def test_extreme_logits_have_finite_losses_and_gradients(problem_type, recipe):
    logits = torch.tensor([[1e4, -1e4, 0.0, 60.0], [-1e4, 1e4, 1e-3, -60.0], [0.0, 0.0, 1e4, -1e4]])
    every_label = [torch.zeros(3, 4), torch.ones(3, 4)]
    if problem_type == SINGLE:
        every_label = [torch.full((3,), label) for label in range(4)]
    for labels in every_label:
        value, gradient = value_and_gradient(build(problem_type, recipe, 0.1), logits, labels)
        assert np.isfinite(value)
        assert gradient.isfinite().all()


@pytest.mark.parametrize(("problem_type", "recipe"), [case for case in EVERY_LOSS if case[1]])
def test_labels_of_another_shape_are_refused_instead_of_broadcast(problem_type, recipe):
    with pytest.raises(ValueError, match=r"labels: got shape \(6, 1\); expected \(6, 4\)"):
        build(problem_type, recipe)(some_logits(), torch.ones(6, 1))


def test_the_asymmetric_loss_is_refused_where_every_clip_has_one_label():
    with pytest.raises(RecipeError, match=r"loss\.name: asymmetric .* exactly one\. Use focal or cross_entropy"):
        build(SINGLE, {"name": "asymmetric"})


def test_the_weights_move_with_the_loss_and_are_not_saved():
    loss = build(MULTI, {"class_weights": "balanced"})
    assert loss.to(torch.float64).weights.dtype == torch.float64
    assert loss.state_dict() == {}


def test_the_further_loss_of_a_model_is_added_to_the_recipes_loss():
    logits, labels = some_logits(), some_labels(MULTI)
    loss = build(MULTI, {"name": "focal"})
    config = SimpleNamespace(problem_type=MULTI, classification_weight=3.0)
    output = SimpleNamespace(logits=logits, further_loss=torch.tensor(0.5))
    assert training_loss(output, labels, config, labels_loss=loss) == 3 * loss(logits, labels) + 0.5
    assert training_loss(SimpleNamespace(logits=logits), labels, config, labels_loss=loss) == loss(logits, labels)


def test_labels_are_counted_over_the_labelled_clips():
    clips = test_windows.ramp_clips([10] * 4, [[0], [0, 2], [], None])
    assert label_counts(clips, 4, MULTI).tolist() == [2, 0, 1, 0]
    clips = test_windows.ramp_clips([10] * 4, [0, 0, 2, None])
    counts = label_counts(clips, 4, SINGLE)
    assert counts.tolist() == [2, 0, 1, 0]
    assert counts.dtype == np.int64


def test_parameters_that_are_not_given_have_the_defaults_of_the_papers():
    assert LossArguments().parameters == {}
    assert LossArguments(name="focal").parameters == {"gamma": 2}
    assert LossArguments(name="focal", gamma=0).parameters == {"gamma": 0}
    asymmetric = {"gamma_positive": 0, "gamma_negative": 4, "margin": 0.05}
    assert LossArguments(name="asymmetric").parameters == asymmetric
    assert LossArguments(name="asymmetric", margin=0).parameters == asymmetric | {"margin": 0}


def test_a_written_recipe_reads_back_as_the_same_loss():
    arguments = LossArguments(name="asymmetric", gamma_negative=2, class_weights="balanced")
    again, problems = from_mapping(LossArguments, dataclasses.asdict(arguments), "loss")
    assert problems == []
    assert again == arguments


@pytest.mark.parametrize(
    ("mapping", "sentences"),
    [
        ({"name": "focl"}, ["loss.name: 'focl' is not of type one of cross_entropy, focal, asymmetric"]),
        ({"gama": 2}, ["loss.gama: 'gama' is not known; did you mean 'gamma'"]),
        ({"name": "focal", "gamma": "two"}, ["loss.gamma: 'two' is not of type number or null"]),
        (
            {"name": "focal", "gamma": -1, "margin": 2, "gamma_negative": 4, "max_class_weight": 0.5},
            [
                "loss.gamma: -1 is out of range; it must be at least 0",
                "loss.margin: 2 is out of range; it must be at least 0 and at most 0.999",
                "loss.max_class_weight: 0.5 is out of range; it must be at least 1",
                "loss.max_class_weight: bounds nothing without class_weights: balanced",
                "loss.gamma_negative: belongs to the loss asymmetric, not to focal; leave it out, or set name: asym",
                "loss.margin: belongs to the loss asymmetric, not to focal",
            ],
        ),
        ({"gamma": 2}, ["loss.gamma: belongs to the loss focal, not to cross_entropy"]),
    ],
)
def test_all_mistakes_of_a_recipe_are_named_at_once(mapping, sentences):
    arguments, problems = from_mapping(LossArguments, mapping, "loss")
    assert arguments is None
    assert len(problems) == len(sentences)
    for problem, sentence in zip(problems, sentences, strict=True):
        assert problem.startswith(sentence)


def test_names_are_checked_without_a_recipe_too():
    with pytest.raises(RecipeError) as error:
        LossArguments(name="focl", class_weights="balance")
    assert [problem.split(";")[0] for problem in error.value.problems] == [
        "class_weights: 'balance' is not known",
        "name: 'focl' is not known",
    ]
