import errno
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest
import soundfile
from datasets import Audio, Dataset
from filelock import FileLock

sys.path.insert(0, os.path.dirname(__file__))
from test_pcm import NAMES, RATE, prepare, write_clips

from hf_tagger.arguments import DataArguments
from hf_tagger.audio import load_mono, to_pcm16
from hf_tagger.data import shards, store
from hf_tagger.data._flac import read_flac, to_flac
from hf_tagger.data.shards import Shard, shards_of
from hf_tagger.data.store import open_store
from hf_tagger.errors import DatasetError, RecipeError

SHARD, CLIPS = 16, 80  # clips of a shard, of all five
# A preparation by a process of its own, which notes each clip that it decodes.
PROGRAM = """
import os, sys, time
from pathlib import Path
from datasets import Audio, Dataset
from hf_tagger.data import shards
from hf_tagger.data.store import open_store
decode = shards.load_mono
def noted(source, rate):
    with open({log!r}, "a") as file:
        file.write(f"{{Path(source).stem}}\\n")
    {before_decoding}
    return decode(source, rate)
shards.load_mono = noted
root = Path({root!r})
names = [str(number) for number in range({clips})]
rows = Dataset.from_dict({{"id": names, "audio": [f"{{root}}/{{name}}.wav" for name in names]}})
(root / "ready-{name}").touch()
while not (root / "go").exists():
    time.sleep(0.001)
open_store(rows.cast_column("audio", Audio()), root / "store", "pcm", {rate}, 1, "Decoding")
"""


def rows_of(root, clips=CLIPS):
    names = [str(number) for number in range(clips)]
    rows = Dataset.from_dict({"id": names, "audio": [f"{root}/{name}.wav" for name in names]})
    return rows.cast_column("audio", Audio())


def build(root, *, cache=None, store_format="pcm", processes=1):
    return open_store(rows_of(root), cache or root / "store", store_format, RATE, processes, "Decoding")


def files_of(cache):
    """Name → content of all files of the one store."""
    (folder,) = cache.iterdir()
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def start(root, name, before_decoding="pass"):
    program = PROGRAM.format(
        log=str(root / f"log-{name}"), root=str(root), name=name, clips=CLIPS, rate=RATE,
        before_decoding=before_decoding,
    )  # fmt: skip
    return subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)


def decoded(root, name):
    log = root / f"log-{name}"
    return log.read_text().split() if log.exists() else []


def wait_until(condition, process=None):
    deadline = time.monotonic() + 60
    while not condition():
        assert process is None or process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """A folder of short clips, and the store that one undisturbed process makes of them, beside it."""
    root = tmp_path_factory.mktemp("music")
    write_clips(root, seconds=np.random.default_rng(1).uniform(0.05, 0.3, CLIPS + 2))
    build(root, cache=root / "undisturbed")
    return root


@pytest.fixture
def root(music, tmp_path):
    """The clips again, where nothing is prepared. Their times of change are kept, and so the store's name is not."""
    for path in music.glob("*.wav"):
        os.link(path, tmp_path / path.name)
    return tmp_path


@pytest.fixture
def decodes(monkeypatch):
    """What this process decodes, as a list that grows."""
    names = []

    def noted(source, rate):
        names.append(Path(source).stem)
        return load_mono(source, rate)

    monkeypatch.setattr(shards, "load_mono", noted)
    return names


def test_long_recordings_are_spread_over_many_shards_so_that_all_cores_find_work():
    hours = shards_of(Path("store"), 40, 40 * 60_000_000)
    assert [part.stop - part.start for part in hours] == [1] * 40
    songs = shards_of(Path("store"), 100, 100 * 5_000_000)  # four minutes of mp3 each
    assert {part.stop - part.start for part in songs} == {3, 1}
    clips = shards_of(Path("store"), 100, 100 * 480_000)
    assert clips == shards_of(Path("store"), 100)  # of 30 s: sixteen a shard


@pytest.mark.parametrize("clips", [1, 15, 16, 17, 640, 4_096, 4_097, 100_000])
def test_shards_cover_all_clips_and_are_few_and_never_tiny(clips):
    parts = shards_of(Path("store"), clips)
    assert [index for part in parts for index in range(part.start, part.stop)] == list(range(clips))
    assert len(parts) <= 256
    assert all(part.stop - part.start >= SHARD for part in parts[:-1])
    assert parts[-1].path.name == f"{len(parts) - 1:05d}-of-{len(parts):05d}.arrow"


def test_two_processes_at_once_share_the_work_and_end_with_one_whole_store(music, root):
    # The first one holds its second shard until the other one has decoded something.
    log = f"{str(root)!r} + '/log-'"
    hold = f"while len(open({log} + 'a').readlines()) > {SHARD} and not os.path.exists({log} + 'b'): time.sleep(0.001)"
    processes = {"a": start(root, "a", hold), "b": start(root, "b")}
    for name, process in processes.items():
        wait_until((root / f"ready-{name}").exists, process)
    (root / "go").touch()
    for process in processes.values():
        assert process.wait(timeout=60) == 0, process.stderr.read()
    shares = {name: decoded(root, name) for name in "ab"}
    assert all(shares.values())  # both took part
    assert sorted(map(int, shares["a"] + shares["b"])) == list(range(CLIPS))  # each clip once
    assert files_of(root / "store") == files_of(music / "undisturbed")


def test_what_another_process_cleaned_up_is_no_error_if_the_shard_is_there(music, root, monkeypatch):
    """Where locks hold on one node only, two write the same shard; the one that is late finds its file removed."""
    replace = os.replace

    def late(partial, path):
        replace(partial, path)  # by the other one
        raise FileNotFoundError(path)

    monkeypatch.setattr(os, "replace", late)
    build(root)
    assert files_of(root / "store") == files_of(music / "undisturbed")


def test_a_killed_preparation_goes_on_with_its_whole_shards(music, root, decodes):
    kill = f"len(open({str(root / 'log-killed')!r}).readlines()) > 40 and os.kill(os.getpid(), 9)"
    (root / "go").touch()
    assert start(root, "killed", kill).wait(timeout=60) == -signal.SIGKILL
    names = [path.name for path in (root / "store").rglob("*.*")]
    assert [sum(name.endswith(end) for name in names) for end in (".arrow", ".partial", ".lock")] == [2, 1, 1]
    build(root)
    assert sorted(map(int, decodes + decoded(root, "killed")[: 2 * SHARD])) == list(range(CLIPS))
    assert files_of(root / "store") == files_of(music / "undisturbed")


def test_other_processes_write_the_same_store_and_any_number_reads_it(music, root, decodes, monkeypatch):
    monkeypatch.setattr(store, "_ALONE_SECONDS", 0)  # one shard by this process, the rest by others
    clips = build(root, processes=2)
    assert len(decodes) == SHARD
    assert files_of(root / "store") == files_of(music / "undisturbed")
    assert build(root, processes=3)._fingerprint == clips._fingerprint
    assert len(decodes) == SHARD


def test_a_process_that_is_killed_ends_the_preparation_with_a_message_and_loses_no_shard(root, monkeypatch):
    (root / "79.wav").unlink()
    os.mkfifo(root / "79.wav")  # who reads it waits until it is killed
    monkeypatch.setattr(store, "_ALONE_SECONDS", 0)
    monkeypatch.setattr(store.random.Random, "shuffle", lambda self, items: None)

    def kill_others():
        wait_until(lambda: list((root / "store").glob("pcm-*/00004-of-00005.arrow.lock")))
        for child in psutil.Process().children():
            if any("popen_loky" in word for word in child.cmdline()):
                child.kill()

    killer = threading.Thread(target=kill_others)
    killer.start()
    with pytest.raises(DatasetError, match=r"process that decodes clips was killed(.|\n)*preprocessing_num_workers"):
        build(root, processes=2)
    killer.join()
    assert list((root / "store").glob("pcm-*/00000-of-00005.arrow"))


def test_a_shard_that_another_process_holds_is_left_for_later_and_waited_for(root, decodes, monkeypatch, caplog):
    monkeypatch.setattr(store, "_SILENT_SECONDS", store._POLL_SECONDS)
    folder = Path(build(root).cache_files[0]["filename"]).parent
    held, missing = shards_of(folder, CLIPS)[1:3]
    held.path.unlink()
    missing.path.unlink()
    decodes.clear()
    lock = FileLock(f"{held.path}.lock")
    lock.acquire()
    preparation = threading.Thread(target=build, args=[root])
    preparation.start()
    wait_until(lambda: missing.path.exists() and len(list(folder.glob("*.lock"))) == 1)
    wait_until(lambda: "Waiting for other processes, which write 1 of 5 parts" in caplog.text)
    assert preparation.is_alive()
    assert not held.path.exists()
    lock.release()  # its holder ended without writing it
    preparation.join(timeout=30)
    assert sorted(map(int, decodes)) == list(range(SHARD, 3 * SHARD))
    assert {path.suffix for path in folder.iterdir()} == {".arrow"}


def test_clips_are_prepared_where_a_file_system_has_no_locks(root, decodes, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    assert len(build(root)) == len(decodes) == CLIPS


def test_a_whole_store_is_read_without_writing_anything(root, monkeypatch):
    names = [f"{number}.wav" for number in range(CLIPS)]
    for options in ({}, {"store_format": "flac"}, {"pcm_store": False}):
        prepare(root, names, **options)

        def listing():
            return {path: path.stat().st_mtime_ns for path in [root / "store", *(root / "store").rglob("*")]}

        def refuse(*_, **__):
            pytest.fail("a write to a whole store")

        before = listing()
        with monkeypatch.context() as patch:
            for owner, name in ((FileLock, "acquire"), (os, "replace"), (os, "mkdir"), (os, "unlink"), (os, "rename")):
                patch.setattr(owner, name, refuse)
            clips, _ = prepare(root, names, **options)
            clips["train"].read(3)
        assert listing() == before


def test_the_name_of_a_store_depends_on_what_decoding_depends_on(root, decodes):
    build(root)
    build(root, store_format="flac")
    open_store(rows_of(root), root / "store", "pcm", RATE // 2, 1, "Decoding")
    assert len(list((root / "store").iterdir())) == 3
    assert len(decodes) == 3 * CLIPS
    build(root)
    assert len(decodes) == 3 * CLIPS
    content = (root / "5.wav").read_bytes()
    (root / "5.wav").unlink()
    (root / "5.wav").write_bytes(content)  # the same size, another time of change
    build(root)
    assert len(list((root / "store").iterdir())) == 4


def test_clips_given_as_bytes_are_told_apart_by_their_content():
    def key(change):
        rows = [{"bytes": bytes([number, change if number == 7 else 0]), "path": None} for number in range(9)]
        rows = Dataset.from_dict({"id": [str(number) for number in range(9)], "audio": rows})
        return store._clips_key(rows.cast_column("audio", Audio(decode=False)), RATE)

    assert key(0) == key(0) != key(1)


def test_long_clips_are_written_in_small_batches(root, monkeypatch):
    whole = build(root)
    monkeypatch.setattr(shards, "_BATCH_BYTES", 5_000)
    parts = build(root, cache=root / "other")
    assert len(whole.data.column("pcm").chunks) == 5
    assert len(parts.data.column("pcm").chunks) > 15
    assert parts["pcm"][:] == whole["pcm"][:]


def test_a_shard_that_is_not_whole_arrow_is_named_with_what_to_do(root):
    path = Path(build(root).cache_files[1]["filename"])
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DatasetError, match=r"pcm-\w+ cannot be read(.|\n)*Delete it"):
        build(root)


@pytest.mark.parametrize("length", [1, 15, 16, 17, 4_095, 4_096, 4_097, 100_000])
def test_any_window_of_a_flac_stream_is_the_samples_that_went_in(length):
    generator = np.random.default_rng(length)
    pcm = generator.integers(-32_768, 32_768, length).astype(np.int16)
    pcm[length // 3 : length // 2] = 0  # silence makes tiny frames, which seeking has to cope with
    content = pa.py_buffer(to_flac(pcm, RATE))
    windows = [(0, length), (0, 1), (length - 1, length), (length, length), (0, 0), (length // 2, length // 3)]
    windows += [sorted(generator.integers(0, length + 1, 2).tolist()) for _ in range(20)]
    for first, stop in windows:
        np.testing.assert_array_equal(read_flac(content, first, stop), pcm[first:stop])


def test_flac_gives_the_samples_of_pcm_to_the_last_bit(tmp_path):
    write_clips(tmp_path, seconds=[1.0, 2.0, 0.1, 1 / RATE, 1.0, 1.0])
    soundfile.write(tmp_path / "0.wav", np.random.default_rng(0).normal(0, 0.9, 12_345), RATE, subtype="FLOAT")  # loud
    (tmp_path / "1.wav").write_bytes(b"")
    ways = [{}, {"store_format": "flac"}, {"pcm_store": False}]
    pcm, flac, live = (prepare(tmp_path, NAMES, max_skipped_share=0.5, **options) for options in ways)
    assert [clip.id for clip in flac[1]] == [clip.id for clip in pcm[1]] == ["1"]
    assert flac[0]["train"].ids == ["0", "2", "3"]
    assert flac[0]["train"].num_samples.tolist() == [12_345, 1_600, 1]
    assert np.abs(pcm[0]["train"].read(0)).max() > 1
    for split, clips in pcm[0].items():
        assert clips.fingerprint == flac[0][split].fingerprint == live[0][split].fingerprint
        for index in range(len(clips)):
            for bounds in ((0, None), (0, 1), (-1, None), (700, 701), (5_000, 5_000), (9_000, 20_000), (3, 2)):
                expected = clips.read(index, *bounds)
                for other in (flac[0][split], live[0][split]):
                    samples = other.read(index, *bounds)
                    assert samples.dtype == np.float32
                    assert samples.tobytes() == expected.tobytes()
    expected, scale = to_pcm16(load_mono(tmp_path / "0.wav", RATE))
    np.testing.assert_array_equal(flac[0]["train"].read(0), expected.astype(np.float32) * np.float32(scale))


@pytest.mark.parametrize("options", [{}, {"store_format": "flac"}, {"pcm_store": False}])
def test_samples_are_written_where_the_caller_wants_them(tmp_path, options):
    write_clips(tmp_path)
    clips = prepare(tmp_path, NAMES, **options)[0]["train"]
    batch = np.full((2, 9_000), 7, dtype=np.float32)
    full, short = clips.read(0, 100, 9_100, out=batch[0]), clips.read(2, 1_000, 10_000, out=batch[1])
    assert np.shares_memory(full, batch)
    np.testing.assert_array_equal(batch[0], clips.read(0, 100, 9_100))
    assert len(short) == 7_000  # the clip has 8,000
    np.testing.assert_array_equal(batch[1, :7_000], clips.read(2, 1_000))
    assert (batch[1, 7_000:] == 7).all()
    with pytest.raises(ValueError, match="broadcast"):
        clips.read(0, 0, 100, out=np.empty(99, dtype=np.float32))


@pytest.mark.parametrize("options", [{}, {"store_format": "flac"}])
def test_a_process_that_was_started_anew_reads_pickled_clips(tmp_path, options):
    write_clips(tmp_path)
    clips = prepare(tmp_path, NAMES, **options)[0]["train"]
    (tmp_path / "clips.pickle").write_bytes(pickle.dumps(clips))
    program = textwrap.dedent(f"""
        import pickle
        import numpy as np
        clips = pickle.load(open({str(tmp_path / "clips.pickle")!r}, "rb"))
        np.save({str(tmp_path / "read.npy")!r}, clips.read(3, 1_000, 5_000))
    """)
    subprocess.run([sys.executable, "-c", program], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "read.npy"), clips.read(3, 1_000, 5_000))


def test_flac_without_a_store_is_a_mistake():
    with pytest.raises(RecipeError, match="store_format: flac keeps decoded clips, and pcm_store: false keeps none"):
        DataArguments(store_format="flac", pcm_store=False)
    with pytest.raises(RecipeError, match="store_format: 'mp3' is not known; it must be pcm or flac"):
        DataArguments(store_format="mp3")


def test_a_shard_that_is_there_already_is_not_decoded(tmp_path, decodes):
    path = tmp_path / "00000-of-00001.arrow"
    path.write_bytes(b"whole")
    shard, rows = Shard(path, 0, 1), [{"id": "a", "audio": {"path": "a.wav", "bytes": None}}]
    assert shards.write_shard(shard, rows, "pcm", RATE) == (shard, True)
    assert (decodes, path.read_bytes()) == ([], b"whole")
