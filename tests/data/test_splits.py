import random
from collections import Counter

import pytest

from hf_tagger import DataArguments
from hf_tagger.data.base import SPLITS, Clip
from hf_tagger.data.folder import FACTS
from hf_tagger.data.splits import canonical_split, complete_split, seeded_split
from hf_tagger.errors import DatasetError


def clip(number, labels, group=None):
    return Clip(f"clip {number:04d}", None, (labels,) if isinstance(labels, str) else labels, group or f"{number}")


def ids(splits):
    return {split: [clip.id for clip in rows] for split, rows in splits.items()}


def sizes(splits):
    return [len(splits[split]) for split in SPLITS]


def is_split(splits, clips):
    """Every clip is in exactly one split, and no group in two."""
    everything = [clip for rows in splits.values() for clip in rows]
    groups = [{clip.group for clip in rows} for rows in splits.values()]
    return sorted(map(repr, everything)) == sorted(map(repr, clips)) and sum(map(len, groups)) == len(
        set.union(*groups)
    )


def test_classes_are_spread_alike():
    clips = [clip(number, "abc"[number % 3] if number < 270 else "d") for number in range(300)]
    splits = seeded_split(clips, seed=0)
    assert is_split(splits, clips)
    assert sizes(splits) == [240, 30, 30]
    for split, share in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
        counts = Counter(clip.labels[0] for clip in splits[split])
        assert counts["a"] == pytest.approx(90 * share, abs=1)
        assert counts["d"] == pytest.approx(30 * share, abs=1)


def test_groups_of_any_size_stay_whole():
    generator = random.Random(0)
    clips = []
    for album in range(60):
        artist = f"artist {album % 6}"
        clips += [clip(len(clips) + n, artist, f"album {album}") for n in range(generator.randint(1, 15))]
    splits = seeded_split(clips, seed=1)
    assert is_split(splits, clips)
    for split in SPLITS:
        assert {clip.labels[0] for clip in splits[split]} == {f"artist {number}" for number in range(6)}
    assert len(splits["train"]) / len(clips) == pytest.approx(0.8, abs=0.06)
    assert len(splits["test"]) / len(clips) == pytest.approx(0.1, abs=0.04)


def test_a_rare_tag_is_spread_even_though_each_of_its_clips_has_a_common_one():
    clips = [clip(number, ("common", "rare") if number % 20 == 0 else ("common",)) for number in range(400)]
    splits = seeded_split(clips, seed=0)
    assert [sum("rare" in clip.labels for clip in splits[split]) for split in SPLITS] == [16, 2, 2]


def test_a_label_of_a_single_group_goes_to_train():
    clips = [clip(number, "ab"[number % 2]) for number in range(40)]
    for seed in range(8):
        splits = seeded_split([*clips, clip(99, "rare")], seed)
        assert "clip 0099" in ids(splits)["train"]


def test_the_smallest_group_of_a_label_is_the_one_that_moves_to_train():
    big = [clip(number, "a", f"album {number // 10}") for number in range(100)]
    rare = [clip(200, "b", "single"), *(clip(201 + n, "b", "album") for n in range(3))]
    for seed in range(8):
        train = ids(seeded_split([*big, *rare], seed))["train"]
        assert "clip 0200" in train or "clip 0201" in train


def test_the_result_depends_on_the_clips_and_the_seed_but_not_on_their_order():
    clips = [clip(number, "ab"[number % 2], f"{number // 2}") for number in range(100)]
    shuffled = random.Random(0).sample(clips, len(clips))
    first, other = seeded_split(clips, seed=0), seeded_split(shuffled, seed=0)
    assert {split: sorted(names) for split, names in ids(first).items()} == {
        split: sorted(names) for split, names in ids(other).items()
    }
    assert ids(first)["train"] == sorted(ids(first)["train"])  # each split keeps the order of the clips
    assert ids(first) != ids(seeded_split(clips, seed=1))


def test_splits_grow_where_a_class_could_otherwise_not_be_in_all_of_them():
    splits = seeded_split([clip(number, "abcdefghij"[number % 10]) for number in range(30)], seed=0)
    assert sizes(splits) == [10, 10, 10]
    assert all(len({clip.labels for clip in splits[split]}) == 10 for split in SPLITS)


def test_three_groups_are_enough_for_three_splits():
    clips = [clip(number, "ab"[number % 2], f"album {number // 2}") for number in range(6)]
    splits = seeded_split(clips, seed=0)
    assert is_split(splits, clips)
    assert sizes(splits) == [2, 2, 2]


def test_clips_that_are_all_different_are_split_without_strata():
    clips = [clip(number, (f"{number}", "every")) for number in range(4)] + [clip(9, ("every",))] * 0
    with pytest.raises(DatasetError, match="once every label is in train, nothing is left for"):
        seeded_split(clips, seed=0)
    unlabelled = [clip(number, None) for number in range(10)]
    assert sizes(seeded_split(unlabelled, seed=0)) == [8, 1, 1]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_groups_are_refused(count):
    with pytest.raises(DatasetError, match=f"{count} groups .* are too few to draw the splits train, validation, test"):
        seeded_split([clip(number, "a", f"{number % max(count, 1)}") for number in range(5 * count)], seed=0)


def test_classes_of_one_group_each_are_refused():
    with pytest.raises(DatasetError, match="once every label is in train, nothing is left for"):
        seeded_split([clip(number, "abc"[number % 3], f"{number % 3}") for number in range(30)], seed=0)


def test_many_clips_are_split_quickly():
    clips = [clip(number, f"class {number % 50}") for number in range(20_000)]
    assert sizes(seeded_split(clips, seed=0)) == [16_000, 2_000, 2_000]


def test_what_is_stated_stays_and_what_is_missing_comes_out_of_train():
    train = [clip(number, "ab"[number % 2]) for number in range(90)]
    test = [clip(number, "ab"[number % 2]) for number in range(100, 110)]
    protocol, splits = complete_split(FACTS, DataArguments(), {"train": train, "test": test})
    assert (protocol.name, protocol.generated) == ("seeded", True)
    assert splits["test"] == test
    assert sizes(splits) == [80, 10, 10]
    assert is_split(splits, train + test)


def test_a_split_that_is_stated_in_full_is_taken_as_it_is():
    given = {split: [clip(number, "a")] for number, split in enumerate(SPLITS)}
    protocol, splits = complete_split(FACTS, DataArguments(), given)
    assert protocol.name == "given"
    assert splits == given
    with pytest.raises(DatasetError, match="protocol 'seeded' was asked for, but the data states its whole split"):
        complete_split(FACTS, DataArguments(protocol="seeded"), given)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("Training", "train"),
        (" val ", "validation"),
        ("dev", "validation"),
        ("TEST", "test"),
        ("x", None),
    ],
)
def test_splits_are_known_by_the_names_that_people_give_them(name, split):
    assert canonical_split(name) == split
