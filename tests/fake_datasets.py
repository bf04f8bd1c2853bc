"""Tiny copies of the datasets' layouts, with their true quirks, made in a moment.

Each builder writes below ``root`` and returns it. Audio files are short tones; where a dataset has thousands of clips,
they are hard links to a few files, so that a layout of full size takes seconds and almost no disk.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import soundfile
from datasets import Audio, ClassLabel, Features, Value

from hf_tagger.data.base import SPLITS, protocol_lines

RATE = 16_000
GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
FMA_GENRES = {  # id → title, as in genres.csv: the 16 of the subset medium and two below them
    2: "International", 3: "Blues", 4: "Jazz", 5: "Classical", 8: "Old-Time / Historic", 9: "Country", 10: "Pop",
    12: "Rock", 13: "Easy Listening", 14: "Soul-RnB", 15: "Electronic", 17: "Folk", 20: "Spoken", 21: "Hip-Hop",
    38: "Experimental", 76: "Experimental Pop", 103: "Singer-Songwriter", 1235: "Instrumental",
}  # fmt: skip
FMA_SPLITS = ("training", "validation", "test")
FMA_SMALL = ("Electronic", "Experimental", "Folk", "Hip-Hop", "Instrumental", "International", "Pop", "Rock")
FMA_MEDIUM = tuple(title for title in FMA_GENRES.values() if title not in ("Experimental Pop", "Singer-Songwriter"))


def tone(frequency: float = 440.0, seconds: float = 0.3, rate: int = RATE) -> np.ndarray:
    """A sine of amplitude 0.5: float64 ``[samples]``."""
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def write_tone(path: Path, frequency: float = 440.0, seconds: float = 0.3, rate: int = RATE) -> Path:
    """Writes a tone in the format that the suffix names, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(frequency, seconds, rate), rate, subtype="PCM_16" if path.suffix != ".mp3" else None)
    return path


def link(source: Path, targets: Iterable[Path]) -> None:
    """Makes every target a hard link to the source, or a copy where the file system has no (more) links."""
    folders = set()
    for target in dict.fromkeys(map(os.path.normpath, targets)):
        target = Path(target)
        if target.parent not in folders:
            target.parent.mkdir(parents=True, exist_ok=True)
            folders.add(target.parent)
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)


def make_gtzan(
    root: Path,
    clips_per_genre: int | None = None,
    *,
    base: str = "genres_original",
    suffix: str = ".wav",
    jazz_00054: str = "damaged",
) -> Path:
    """GTZAN as Kaggle hands it out, with ``images_original/`` and feature tables beside the genres.

    Args:
        root: Where to write.
        clips_per_genre: None for all 1,000 clips. A number keeps that many of a genre in each split of the
            fault-filtered lists; such a copy loads with ``allow_size_mismatch``.
        base: Folder of the genres below the root, or "." for none.
        suffix: ``.wav`` or ``.au``.
        jazz_00054: ``damaged`` as in the common download, ``absent``, or ``sound``.
    """
    wanted = {genre: [f"{genre}.{number:05d}" for number in range(100)] for genre in GENRES}
    if clips_per_genre is not None:
        wanted = {genre: [] for genre in GENRES}
        for split in SPLITS:
            names = [Path(line).stem for line in protocol_lines(f"gtzan/{split}.txt")]
            for genre in GENRES:
                wanted[genre] += [name for name in names if name.startswith(genre)][:clips_per_genre]
    for number, (genre, names) in enumerate(wanted.items()):
        sound = write_tone(root / f".{genre}{suffix}", 200.0 * 1.3**number, rate=22_050)  # every genre its own pitch
        link(sound, [root / base / genre / f"{name}{suffix}" for name in names])
    jazz = root / base / "jazz" / f"jazz.00054{suffix}"
    if jazz_00054 != "sound" and jazz.exists():
        jazz.unlink()
        if jazz_00054 == "damaged":
            jazz.write_bytes(b"\0" * 4_000)  # of some size, but no header
    (root / "images_original" / "blues").mkdir(parents=True)
    (root / "images_original" / "blues" / "blues00000.png").write_bytes(b"\x89PNG")
    (root / "features_30_sec.csv").write_text("filename,length,label\nblues.00000.wav,661794,blues\n")
    return root


def write_annotations(path: Path, rows: Iterable[tuple[str, str, frozenset[str]]], tags: Sequence[str] = ()) -> Path:
    """MagnaTagATune's ``annotations_final.csv``: tab-separated, all quoted, one column a tag.

    Args:
        path: File to write.
        rows: Clip id, mp3 path and tags of every clip.
        tags: The tag columns. Default: the 188 of the dataset.
    """
    tags = list(tags) or protocol_lines("magnatagatune/all188.txt")
    cells: dict[frozenset[str], str] = {}  # the same tags give the same cells: 25,863 rows in a moment
    with open(path, "w", encoding="utf-8") as file:
        file.write("\t".join(f'"{name}"' for name in ["clip_id", *tags, "mp3_path"]) + "\n")
        for clip_id, mp3_path, positive in rows:
            if positive not in cells:
                cells[positive] = "\t".join('"1"' if tag in positive else '"0"' for tag in tags)
            file.write(f'"{clip_id}"\t{cells[positive]}\t"{mp3_path}"\n')
    return path


def make_magnatagatune(root: Path, *, full_size: bool = False, mp3_folder: bool = False) -> Path:
    """MagnaTagATune: 32 clips, two in each of the folders 0 to f, or all 25,863 with the true split sizes.

    Of two clips of the small copy the first has ``guitar`` (one of the 50 tags) and a tag of its split, the second only
    ``harpsicord`` (none of the 50). In the large one the sizes of both protocols hold, and the three empty files are
    empty.

    Args:
        root: Where to write.
        full_size: Whether to make all clips.
        mp3_folder: Whether the folders 0 to f lie below ``mp3/``.
    """
    usual, unusual = frozenset({"guitar", "slow"}), frozenset({"harpsicord"})
    folders = {"train": "0123456789ab", "validation": "c", "test": "def"}
    # Clips of each split, and how many of them have one of the 50 tags.
    sizes = {"train": (24, 12), "validation": (2, 1), "test": (6, 3)}
    if full_size:
        sizes = {"train": (18_706, 15_247), "validation": (1_825, 1_529), "test": (5_329, 4_332)}
    rows, number = [], 0
    for split, (total, tagged) in sizes.items():
        for index in range(total):
            number += 1
            folder = folders[split][index % len(folders[split])]
            artist = f"artist_{number % 230}"
            path = f"{folder}/{artist}-some_album-{number:02d}-a_title-{30 * (index % 9)}-{30 * (index % 9) + 29}.mp3"
            rows.append((str(100_000 + number), path, usual if index < tagged else unusual))
    empty = []
    if full_size:
        for clip_id, folder in (("35644", "6"), ("55753", "8"), ("57881", "9")):
            empty.append(f"{folder}/nobody-nothing-{clip_id}-0-29.mp3")
            rows.append((clip_id, empty[-1], usual))
    audio = root / "mp3" if mp3_folder else root
    sound = write_tone(root / ".tone.mp3")
    link(sound, [audio / path for _, path, _ in rows if path not in empty])
    for path in empty:
        (audio / path).touch()
    write_annotations(root / "annotations_final.csv", rows)
    return root


def write_tracks(path: Path, tracks: Iterable[Mapping[str, str]]) -> Path:
    """FMA's ``tracks.csv``: three header lines, prose with line breaks and commas in quotes, empty cells.

    Args:
        path: File to write.
        tracks: Rows with ``id``, ``split``, ``subset`` and optionally ``genre_top``, ``genres_all``, ``artist_id``.
    """
    columns = {
        ("album", "title"): lambda track: "An album, in two\nlines",
        ("artist", "bio"): lambda track: '<p>"Quoted", and\nbroken</p>',
        ("artist", "id"): lambda track: track.get("artist_id", ""),
        ("artist", "name"): lambda track: track.get("artist", "AWOL"),
        ("set", "split"): lambda track: track["split"],
        ("set", "subset"): lambda track: track["subset"],
        ("track", "genre_top"): lambda track: track.get("genre_top", ""),
        ("track", "genres"): lambda track: track.get("genres_all", "[]"),
        ("track", "genres_all"): lambda track: track.get("genres_all", "[]"),
        ("track", "title"): lambda track: "NA",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["", *(group for group, _ in columns)])
        writer.writerow(["", *(name for _, name in columns)])
        writer.writerow(["track_id", *("" for _ in columns)])
        writer.writerows([track["id"], *(cell(track) for cell in columns.values())] for track in tracks)
    return path


def make_fma(root: Path, *, full_size: bool = False, audio: str = "fma_small") -> Path:
    """FMA: metadata of three nested subsets and the audio of one.

    In every split the small copy has a track for each of the 8 genres of ``small``, one more for each of the 16 of
    ``medium``, and in ``large`` one more with two genres; a last training track of ``large`` has none. With
    ``full_size`` the subset small has its 8,000 tracks.

    Args:
        root: Where to write.
        full_size: Whether to make all of ``small``.
        audio: Folder of the audio files, which is named after the subset that it holds.
    """
    ids = {title: number for number, title in FMA_GENRES.items()}
    tracks, number = [], 1
    sizes = {"training": 6_400, "validation": 800, "test": 800} if full_size else dict.fromkeys(FMA_SPLITS, 8)
    for subset, genres in (("small", FMA_SMALL), ("medium", FMA_MEDIUM)):
        for split, size in (sizes if subset == "small" else dict.fromkeys(FMA_SPLITS, 16)).items():
            for index in range(size):
                number += 1
                genre = genres[index % len(genres)]
                artist = f"{number // 3}-{split}"
                row = {"id": str(number), "split": split, "subset": subset, "genre_top": genre, "artist_id": artist}
                tracks.append({**row, "genres_all": f"[{ids[genre]}]"})
    for split in FMA_SPLITS:
        number += 1
        tracks.append({"id": str(number), "split": split, "subset": "large", "genres_all": "[10, 76]"})
    tracks.append({"id": "155000", "split": "training", "subset": "large", "genres_all": "[]"})
    write_tracks(root / "fma_metadata" / "tracks.csv", tracks)
    with open(root / "fma_metadata" / "genres.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["genre_id", "#tracks", "parent", "title", "top_level"])
        writer.writerows([genre, 1, 0, title, genre] for genre, title in FMA_GENRES.items())
    subsets = ("small", "medium", "large")
    held = subsets[: subsets.index(audio.removeprefix("fma_")) + 1] if audio != "fma_full" else subsets
    sound = write_tone(root / ".tone.mp3")
    link(sound, [fma_path(root / audio, track["id"]) for track in tracks if track["subset"] in held])
    return root


def fma_path(folder: Path, track: str) -> Path:
    """``2`` → ``000/000002.mp3``."""
    return folder / track.zfill(6)[:3] / f"{track.zfill(6)}.mp3"


def make_artist20(root: Path) -> Path:
    """artist20 of full size: 949 / 231 / 233 songs, six albums an artist, the scoring files of the homework beside."""
    artists = protocol_lines("artist20/artists.txt")
    albums = {
        "train": [f"{artist}/Album_{number}" for number in range(4) for artist in artists],
        "val": [f"{artist}/Live!_(Disc_1)" for artist in artists],
    }
    sound = write_tone(root / ".tone.mp3")
    for name, size in (("train", 949), ("val", 231)):
        count = len(albums[name])
        paths = [
            f"./train_val/{albums[name][index % count]}/{index // count + 1:02d}-It's_a_Song.mp3"
            for index in range(size)
        ]
        (root / f"{name}.json").write_text(json.dumps(paths))
        link(sound, [root / path for path in paths])
    link(sound, [root / "test" / f"{number:03d}.mp3" for number in range(1, 234)])
    (root / "readme.md").write_text("# artist20\n")
    (root / "test_pred.json").write_text('{"001": ["u2", "cure", "prince"]}')
    return root


def make_class_folder(root: Path, classes: Mapping[str, int], *, suffix: str = ".wav", below: str = "") -> Path:
    """Class folders, one pitch a class, with what people leave in such folders: hidden files and notes.

    Args:
        root: Where to write.
        classes: Clips of every class.
        suffix: Format of the clips.
        below: Folder between the root and the classes, such as ``train``.
    """
    for number, (name, count) in enumerate(classes.items()):
        sound = write_tone(root / f".{number}{suffix}", 200.0 * 1.5**number)
        link(sound, [root / below / name / f"clip_{index:02d}{suffix}" for index in range(count)])
        (root / below / name / "._clip_00.wav").write_bytes(b"\0\5\x16\7")  # what macOS leaves on other disks
    (root / "notes.txt").write_text("not audio")
    (root / ".cache").mkdir(exist_ok=True)
    return root


def write_metadata(
    root: Path, rows: Sequence[Mapping[str, object]], *, name: str = "metadata.csv", encoding: str = "utf-8-sig"
) -> Path:
    """``metadata.csv`` (by default with the byte order mark that Excel writes) or ``metadata.jsonl``, and the files.

    Files named by ``file_name`` are made unless they lie outside of the root.
    """
    root.mkdir(parents=True, exist_ok=True)
    sound = write_tone(root / ".tone.wav")
    files = {str(row.get("file_name") or "") for row in rows}
    link(sound, [root / file for file in sorted(files) if file and ".." not in file and not file.startswith("/")])
    if name.endswith(".jsonl"):
        (root / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding=encoding)
    else:
        with open(root / name, "w", newline="", encoding=encoding) as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return root


def gtzan_table(names: Sequence[str], *, audio: str = "audio", label: str = "genre") -> pa.Table:
    """GTZAN rows as its parquet copies on the Hub have them: audio as bytes and path, genre as ``ClassLabel``.

    Args:
        names: Ids such as ``blues.00000``; the genre is read off them.
        audio: Name of the audio column.
        label: Name of the label column.
    """
    features = Features(
        {audio: Audio(sampling_rate=22_050), label: ClassLabel(names=list(GENRES)), "year": Value("int32")}
    )
    rows = {
        audio: [{"bytes": encoded_tone(200.0 + 40 * GENRES.index(n.split(".")[0])), "path": f"{n}.wav"} for n in names],
        label: [GENRES.index(name.split(".")[0]) for name in names],
        "year": [2002] * len(names),
    }
    return pa.table(rows, schema=features.arrow_schema)


def encoded_tone(frequency: float) -> bytes:
    """The bytes of a wav file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(frequency, rate=22_050), 22_050, format="WAV")
    return buffer.getvalue()


def write_parquet(root: Path, splits: Mapping[str, pa.Table]) -> Path:
    """A folder of parquet files as the Hub keeps them: ``data/<split>-00000-of-00001.parquet``."""
    (root / "data").mkdir(parents=True, exist_ok=True)
    for split, table in splits.items():
        pyarrow.parquet.write_table(table, root / "data" / f"{split}-00000-of-00001.parquet")
    return root
