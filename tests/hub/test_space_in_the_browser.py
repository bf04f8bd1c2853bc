"""A Space's page in a browser: Chromium, without a window, drops recordings on it as a visitor does."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
import soundfile
from script_runner import environment
from small_taggers import RATE, save, song
from transformers import pipeline

from hf_tagger.hub.space import write_space
from hf_tagger.hub.space_page import Listener
from hf_tagger.tagging import Tagger

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
LABELS = [f"instrument {number}" for number in range(12)]
SECONDS_TO_START, MILLISECONDS_TO_ANSWER = 600, 600_000  # on a machine that is busy with other work

pytestmark = [pytest.mark.slow, pytest.mark.shared]


@pytest.fixture(scope="module")
def playwright():
    pytest.importorskip("gradio", reason="the page needs gradio: pip install 'hf_tagger[space]'")
    api = pytest.importorskip("playwright.sync_api", reason="no playwright to drive a browser")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine; on Debian: apt-get install chromium")
    with api.sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def page(playwright, shared, tmp_path_factory):
    """The opened page, its tagger's folder, and what its console and its requests brought up."""
    folder = tmp_path_factory.mktemp("space")
    model = save(folder / "model", id2label=dict(enumerate(LABELS)))
    write_space(str(model), str(folder / "space"), "What is playing?")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}/"
    own = {**environment(), "GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": str(folder / "uploads")}
    with open(folder / "log", "w") as log:
        app = subprocess.Popen([sys.executable, "space/app.py"], cwd=folder, env=own, stdout=log, stderr=log)
    try:
        wait_for(address, app, folder / "log")
        # Chromium's own sandbox cannot be had by root, as which tests in containers run.
        with playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]) as browser:
            opened = browser.new_page(viewport={"width": 1280, "height": 900})
            opened.set_default_timeout(MILLISECONDS_TO_ANSWER)
            errors, elsewhere = [], []
            opened.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
            opened.on("pageerror", lambda error: errors.append(str(error)))
            opened.on("request", lambda request: is_of(request.url, address) or elsewhere.append(request.url))
            opened.goto(address)
            yield opened, model, errors, elsewhere
    finally:
        app.terminate()
        app.wait(60)


def wait_for(address, app, log):
    """Returns when the page answers."""
    until = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < until and app.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=10).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError(f"the page does not start: {log.read_text()}")


def is_of(url, address):
    return url.startswith((address, "data:", "blob:"))


def drop(page, path):
    """Hands a file to the page as the dialog of the browser does."""
    with page.expect_file_chooser() as chooser:
        page.get_by_label("Drop an audio file here to upload").click()
    chooser.value.set_files(str(path))


def clear(page):
    """Takes the file away again; after an error there is another such button, of the message."""
    page.get_by_label("Clear").first.click()


def recording(shared):
    return next(path for path in sorted((shared / "audio").glob("*.ogg")) if "Sugar_Plum" in path.name)


def percent(score):
    return f"{int(100 * score + 0.5)}%"


def test_a_recording_that_is_dropped_gets_its_tags_pictures_and_the_seconds_that_count(page, shared, tmp_path):
    page, model, errors, elsewhere = page
    path = recording(shared)
    page.get_by_role("heading", name="What is playing?").wait_for()
    assert page.locator(".matplotlib img").count() == 0

    drop(page, path)
    page.get_by_text("with these seconds alone").wait_for()
    expected = pipeline("music-tagging", model=str(model), device="cpu")(str(path), top_k=10)
    bars = page.locator(".confidence-set").all_inner_texts()
    shown = [(tag["label"], percent(tag["score"])) for tag in expected]
    assert [tuple(text.strip() for text in bar.rsplit(maxsplit=1)) for bar in bars] == shown
    page.get_by_text("Heard: 2:00.", exact=True).wait_for()

    pictures = page.locator(".matplotlib img")
    assert pictures.count() == 2  # timeline and spectrogram
    for picture in pictures.all():
        width, height = picture.evaluate("image => [image.naturalWidth, image.naturalHeight]")
        assert width == 850
        assert height > 250
        assert picture.bounding_box()["width"] > 500

    # What is played is what the model was asked about.
    listener = Listener(Tagger.from_pretrained(model, "cpu"), 600)
    heard = listener.hear(path, progress=False)
    best, second = (tag["label"] for tag in expected[:2])
    assert played(page, tmp_path) == to_be_played(listener.most_relevant(heard, best))
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert os.path.getsize(tmp_path / "page.png") > 50_000

    tag = page.get_by_label("Listen to the most relevant seconds of")
    assert tag.input_value() == best
    tag.click()
    page.get_by_role("option", name=second, exact=True).click()
    stretch = listener.most_relevant(heard, second)
    page.get_by_text(stretch.summary).wait_for()
    assert played(page, tmp_path) == to_be_played(stretch)

    assert errors == []
    assert elsewhere == []  # fonts and scripts too come from the page's own server


def played(page, folder):
    """What the second player of the page holds (rate and samples), and the sentence below the tag's name."""
    with page.expect_download() as download:
        page.locator("a[download]").last.click()
    download.value.save_as(folder / "played.wav")
    samples, rate = soundfile.read(folder / "played.wav", dtype="int16")
    return rate, samples.tolist(), page.get_by_text("with these seconds alone").inner_text()


def to_be_played(stretch):
    rate, samples = stretch.audio
    return rate, samples.tolist(), stretch.summary


def test_what_is_no_audio_is_told_on_the_page_and_the_tags_of_another_do_not_stay(page, tmp_path):
    page = page[0]
    page.goto(page.url)
    path = tmp_path / "song.wav"
    soundfile.write(path, song(5), RATE)
    drop(page, path)
    page.get_by_text("with these seconds alone").wait_for()
    clear(page)
    page.locator(".confidence-set").first.wait_for(state="detached")

    path.write_text("no music, only text")
    drop(page, path)
    page.get_by_text("This file cannot be heard: not a").wait_for()
    assert page.locator(".confidence-set").count() == 0
    assert not page.get_by_text("with these seconds alone").is_visible()
    assert page.get_by_text("Traceback").count() == 0

    page.get_by_test_id("toast-close").click()  # it lies over the button
    page.get_by_test_id("toast-body").wait_for(state="detached")
    clear(page)
    soundfile.write(path, np.zeros(RATE), RATE)
    drop(page, path)
    page.get_by_text("The 1.0 s heard are nothing but silence.").wait_for()
