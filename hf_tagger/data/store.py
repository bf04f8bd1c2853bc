"""The store of decoded clips on disk: Arrow files, shards of a split, that many processes and nodes may write together.

::

    <cache_dir>/pcm-<key>/00000-of-00042.arrow                       a whole shard
                          00001-of-00042.arrow.<unique>.partial      one that is being written
                          00001-of-00042.arrow.lock                  held by its writer

The key is a hash of the clips' paths, sizes and times of change, so that a changed file is decoded again. How clips are
divided into shards depends on their number and sizes only, so that every machine looks for the same files.

A shard is written under a temporary name and renamed when it is whole and on the disk; no reader sees half of it, and
nothing that was decoded is lost when a preparation is interrupted. Whoever prepares the same clips at the same time
takes the shards that nobody has locked, and waits for the others in the end. The locks are those of the operating
system, which end with the process that holds them. Where a file system has none (Lustre mounted without ``flock``),
shards are written without: two writers may then decode the same shard, but both rename a whole one. They rarely do,
because each takes the shards in an order of its own. A lock that is merely a file would have to be waited for for ever
after its owner was killed on another node.

A whole store is only read, so it may lie on storage that cannot be written.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import random
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pyarrow as pa
import pyarrow.compute
from datasets import Audio, Dataset, concatenate_datasets
from datasets.utils import tqdm
from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import get_reusable_executor

from ..errors import DatasetError
from .shards import Shard, remove_lock, shards_of, store_features, write_shard

logger = logging.getLogger(__name__)

_STORE_VERSION = 2  # part of a store's name; raise it when decoding or the columns change
_KEY_BATCH = 256  # clips whose columns are read at once for the key
_ALONE_SECONDS = 3.0  # other processes are started after so long: they need as long to import this package
_IDLE_SECONDS = 10  # other processes end after so long without work, should this one be killed
_POLL_SECONDS = 0.5  # between two looks at shards that others write
_SILENT_SECONDS = 30.0  # of waiting for others; then it is said


def open_store(
    rows: Dataset, cache: Path, store_format: str, sampling_rate: int, processes: int, description: str
) -> Dataset:
    """The store of some clips; what is missing of it is decoded.

    Args:
        rows: Rows with ``id`` and ``audio``.
        cache: Folder of all stores.
        store_format: One of :data:`STORE_FORMATS`.
        sampling_rate: Rate of the samples in Hz.
        processes: How many processes of this machine may decode.
        description: What the progress bar says.

    Returns:
        Of every row its ``id``, its samples in a column named after the format, their ``scale`` and number
        (``num_samples``), or the ``reason`` why it has none. Memory-mapped. The fingerprint depends on the clips and
        the rate only: the samples are the same in every format.

    Raises:
        DatasetError: If the store cannot be written or read, or if a process that decodes was killed.
    """
    features = store_features(store_format)
    if not len(rows):
        return Dataset.from_dict({name: [] for name in features}, features=features)
    encoded = rows.select_columns(["id", "audio"]).cast_column("audio", Audio(decode=False))
    key, encoded_bytes = _clips_key(encoded, sampling_rate)
    folder = cache / f"{store_format}-{key}"
    shards = shards_of(folder, len(rows), encoded_bytes)
    try:
        _write_missing(shards, encoded, store_format, sampling_rate, processes, description)
    except BrokenProcessPool as error:
        raise DatasetError(
            f"A process that decodes clips was killed, for want of memory mostly ({error}). What was decoded is kept. "
            f"Run it again with fewer preprocessing_num_workers than {processes}."
        ) from error
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(
            f"The store of decoded clips could not be written to {folder}: {error}. What was decoded is kept, without "
            f"the unfinished part. Free some space (an hour of audio takes {sampling_rate * 2 * 3600 / 1e6:.0f} MB), "
            f"set cache_dir to another disk, set store_format: flac (half to three quarters of that), or "
            f"set pcm_store: false."
        ) from error
    try:
        store = concatenate_datasets([Dataset.from_file(str(shard.path)) for shard in shards])
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"The store {folder} cannot be read: {error}. Delete it, and it is made again.") from error
    if len(store) != len(rows):
        raise DatasetError(
            f"The store {folder} holds {len(store)} clips of {len(rows)}. Delete it, and it is made again."
        )
    return store.select_columns(list(features), new_fingerprint=key)


def _clips_key(encoded: Dataset, sampling_rate: int) -> tuple[str, int]:
    """A hash of what decoding depends on, and how many bytes the clips have as they come."""
    encoded_bytes = 0
    digest = hashlib.sha256(f"{_STORE_VERSION} {sampling_rate}".encode())
    # By columns: rows one by one take four times as long. In small batches: some datasets hold the files themselves.
    for batch in encoded.with_format("arrow").iter(batch_size=_KEY_BATCH):
        audio = batch["audio"]
        paths, contents = (pa.compute.struct_field(audio, name) for name in ("path", "bytes"))
        for clip_id, path, content in zip(batch["id"].to_pylist(), paths.to_pylist(), contents, strict=True):
            digest.update(f"\n{clip_id}\t".encode())
            if content.is_valid:
                digest.update(hashlib.sha256(content.as_buffer()).digest())
                encoded_bytes += content.as_buffer().size
                continue
            try:
                status = os.stat(path)
                digest.update(f"{path}\t{status.st_size}\t{status.st_mtime_ns}".encode())
                encoded_bytes += status.st_size
            except OSError:  # decoding will say why this clip cannot be used
                digest.update(f"{path}\tunreadable".encode())
    return digest.hexdigest()[:32], encoded_bytes


def _write_missing(
    shards: list[Shard], encoded: Dataset, store_format: str, sampling_rate: int, processes: int, description: str
) -> None:
    missing = [shard for shard in shards if not shard.path.exists()]
    if not missing:
        return
    folder = missing[0].path.parent
    folder.mkdir(parents=True, exist_ok=True)
    waited = 0.0
    random.Random().shuffle(missing)  # not by the global generator, whose state belongs to the run
    waited_for = sum(shard.stop - shard.start for shard in missing)
    with tqdm(total=len(encoded), initial=len(encoded) - waited_for, desc=description, unit="clip") as bar:
        while missing:
            left = []
            for shard, is_whole in _attempts(missing, encoded, store_format, sampling_rate, processes):
                if is_whole:
                    bar.update(shard.stop - shard.start)
                else:
                    left.append(shard)
            if len(left) == len(missing):
                time.sleep(_POLL_SECONDS)
                waited += _POLL_SECONDS
                if waited == _SILENT_SECONDS:
                    logger.warning(
                        "Waiting for other processes, which write %d of %d parts of %s. Of one that hangs, end it.",
                        len(left),
                        len(shards),
                        folder,
                    )
            missing = left
    for pattern in ("*.lock", "*.partial"):  # of processes that were killed
        for path in folder.glob(pattern):
            remove_lock(path)


def _attempts(
    missing: list[Shard], encoded: Dataset, store_format: str, sampling_rate: int, processes: int
) -> Iterator[tuple[Shard, bool]]:
    """Tries to write each shard once, and tells which are there afterwards.

    This process begins alone, so that few clips need not wait for others to start. These are started by joblib, which
    neither forks a process that may have threads nor imports the user's script in them.
    """
    started, queue = time.monotonic(), iter(missing)
    for shard in queue:
        yield write_shard(shard, _rows_of(shard, encoded), store_format, sampling_rate)
        if processes > 1 and time.monotonic() - started >= _ALONE_SECONDS:
            break
    rest = list(queue)
    if not rest:
        return
    tasks = (delayed(write_shard)(shard, _rows_of(shard, encoded), store_format, sampling_rate) for shard in rest)
    with parallel_config(backend="loky", idle_worker_timeout=_IDLE_SECONDS):
        # Shards are handed out one by one, as processes become free.
        parallel = Parallel(min(processes, len(rest)), batch_size=1, return_as="generator_unordered")
        try:
            with contextlib.closing(parallel(tasks)) as attempts:
                yield from attempts
        finally:  # they and the thread that looks after them are not to be there when data loaders fork
            get_reusable_executor().shutdown(wait=True, kill_workers=True)


def _rows_of(shard: Shard, encoded: Dataset) -> Dataset | list[dict]:
    # A name given here saves the hash that datasets would make of all rows to find one.
    rows = encoded.select(range(shard.start, shard.stop), new_fingerprint=shard.path.stem)
    # To another process rows in files travel as the files' paths, but those in memory with all rows beside them.
    return rows if rows.cache_files else rows.to_list()
