"""Bad files, full disks, interruptions: an exception that says what and where, and never a part of a result."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import cairnfile


@pytest.fixture
def saved(path):
    cairnfile.save({"a": {"w": np.arange(200_000.0)}, "b": np.arange(5)}, path)
    return path


def damage(path, at, bits=1):
    data = bytearray(path.read_bytes())
    data[at] ^= bits
    path.write_bytes(data)


def test_damaged_data(saved):
    at = saved.read_bytes().find(np.arange(200_000.0).tobytes()) + 1_000_000
    damage(saved, at)
    for load in (cairnfile.load, lambda p: cairnfile.load(p, mmap=True), lambda p: cairnfile.open(p)["/a/w"][...]):
        with pytest.raises(cairnfile.CorruptError) as refusal:
            load(saved)
        error = refusal.value
        assert (error.code, error.class_name, error.section) == ("block-crc", "corrupt", "8.2")
        assert error.offset <= at < error.offset + 262_144 and "block 3 of buffer 0" in str(error)
    assert cairnfile.load(saved, only="/b").tolist() == [0, 1, 2, 3, 4]
    faults = cairnfile.verify(saved)
    assert [(fault["code"], fault["addresses"]) for fault in faults] == [("block-crc", ["/a/w"])]


@pytest.mark.parametrize(
    ("spoil", "kind", "code"),
    [
        (lambda data: data[:100_000], cairnfile.TruncatedError, "truncated"),
        (lambda data: b"", cairnfile.TruncatedError, "too-short"),
        (lambda data: data + b"x", cairnfile.MalformedError, "trailing-bytes"),
        (lambda data: b"\x80\x04\x95" + data[3:], cairnfile.MalformedError, "magic"),
        (lambda data: b"PK\x03\x04" + b"\0" * 100, cairnfile.MalformedError, "magic"),
        (lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:], cairnfile.CorruptError, "header-crc"),
        (lambda data: data[:70] + bytes([data[70] ^ 1]) + data[71:], cairnfile.CorruptError, "index-crc"),
    ],
)
def test_files_that_are_refused(saved, spoil, kind, code):
    saved.write_bytes(spoil(saved.read_bytes()))
    for read in (cairnfile.load, cairnfile.open, lambda p: cairnfile.loads(p.read_bytes()), lambda p: cairnfile.load(p, mmap=True)):
        with pytest.raises(kind) as refusal:
            read(saved)
        assert refusal.value.code == code and isinstance(refusal.value, cairnfile.CairnError)


def test_a_newer_file_is_unsupported(saved):
    import zlib

    data = bytearray(saved.read_bytes())
    data[8] = 99
    data[60:64] = zlib.crc32(data[:60]).to_bytes(4, "little")
    saved.write_bytes(data)
    with pytest.raises(cairnfile.UnsupportedError, match="version"):
        cairnfile.load(saved)


def test_every_cut_is_refused():
    data = cairnfile.dumps({"w": np.arange(20), "n": [1, "x"]})
    for length in range(len(data)):
        with pytest.raises(cairnfile.CairnError):
            cairnfile.loads(data[:length])


def test_every_flipped_bit_is_found():
    data = cairnfile.dumps({"w": np.arange(20), "n": [1, "x"]})
    for at in range(len(data)):
        spoilt = bytearray(data)
        spoilt[at] ^= 1 << (at % 8)
        try:
            cairnfile.loads(bytes(spoilt))
        except cairnfile.CairnError:
            continue
        # Padding, the trailer and the second index of a planned file are `verify`'s to check.
        assert at >= 64


def test_flipped_bits_that_loading_leaves_are_found_by_verify(path):
    data = cairnfile.dumps({"w": np.arange(20), "n": [1, "x"]})
    for at in range(64, len(data)):
        spoilt = bytearray(data)
        spoilt[at] ^= 1 << (at % 8)
        path.write_bytes(spoilt)
        try:
            assert cairnfile.verify(path)
        except cairnfile.CairnError:
            pass


@pytest.mark.parametrize(
    ("place", "kind"), [("missing/a.cairn", FileNotFoundError), ("", IsADirectoryError), ("file/a.cairn", NotADirectoryError)]
)
def test_what_the_system_refuses(tmp_path, place, kind):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError) as refusal:
        cairnfile.save(1, tmp_path / place)
    assert isinstance(refusal.value, kind) or place == ""
    with pytest.raises(OSError):
        cairnfile.load(tmp_path / place)
    assert sorted(os.listdir(tmp_path)) == ["file"]


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError) as refusal:
        cairnfile.load(tmp_path / "none.cairn")
    assert refusal.value.errno == 2 and "none.cairn" in str(refusal.value)


def test_a_refused_save_leaves_the_old_file(saved):
    before = saved.read_bytes()
    for bad in [{"w": np.zeros(10), "x": object()}, {"w": np.arange(10)[::2], "v": np.arange(4)[::-1], "x": {1, 2}}]:
        with pytest.raises(TypeError):
            cairnfile.save(bad, saved)
    assert saved.read_bytes() == before and os.listdir(saved.parent) == ["a.cairn"]


def test_what_progress_raises_stops_the_save(saved):
    before = saved.read_bytes()

    def stop(done, total):
        raise RuntimeError(f"enough of {total}")

    with pytest.raises(RuntimeError, match="enough of 800000000"):
        cairnfile.save(np.zeros(100_000_000), saved, progress=stop)
    assert saved.read_bytes() == before and os.listdir(saved.parent) == ["a.cairn"]
    with pytest.raises(RuntimeError, match="enough"):
        cairnfile.load(saved, progress=stop)


def test_progress_ends_at_the_total(saved):
    seen = []
    cairnfile.save({"w": np.zeros(30_000_000)}, saved, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (240_000_000, 240_000_000) and seen == sorted(seen)
    seen.clear()
    cairnfile.load(saved, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (240_000_000, 240_000_000) and seen == sorted(seen)
    with pytest.raises(TypeError):
        cairnfile.load(saved, progress=3)


INTERRUPTED = """
import signal, sys, numpy as np, cairnfile
# A parent in the background of a shell has it ignored, and hands that on.
signal.signal(signal.SIGINT, signal.default_int_handler)
value = {"w": np.zeros(150_000_000)}
print("ready", flush=True)
try:
    for n in range(20):
        cairnfile.save(value, sys.argv[1])
        print("saved", flush=True)
except KeyboardInterrupt:
    sys.exit(7)
"""


def test_keyboard_interrupt_leaves_a_whole_file(path):
    cairnfile.save({"old": 1}, path)
    child = subprocess.Popen([sys.executable, "-c", INTERRUPTED, path], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    time.sleep(0.25)
    child.send_signal(signal.SIGINT)
    rest = child.communicate(timeout=120)[0]
    assert child.returncode == 7
    assert cairnfile.verify(path) == [] and os.listdir(path.parent) == ["a.cairn"]
    assert "saved" not in rest or "old" not in cairnfile.load(path, mmap=True)


def test_an_interrupted_save_leaves_the_old_file(saved):
    before = saved.read_bytes()

    def interrupt(done, total):
        assert done < total, "a save of this size is looked at before it ends"
        os.kill(os.getpid(), signal.SIGINT)

    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt):
                cairnfile.save({"w": np.zeros(100_000_000)}, saved, progress=interrupt)
            assert saved.read_bytes() == before and os.listdir(saved.parent) == ["a.cairn"]
    finally:
        signal.signal(signal.SIGINT, handler)


def test_killed_at_any_instant(path):
    cairnfile.save({"old": 1}, path)
    for delay in (0.05, 0.2, 0.4):
        child = subprocess.Popen([sys.executable, "-c", INTERRUPTED, path], stdout=subprocess.PIPE, text=True)
        assert child.stdout.readline() == "ready\n"
        time.sleep(delay)
        child.kill()
        child.communicate()
        assert cairnfile.verify(path) == []
    cairnfile.save({"new": 1}, path)
    assert os.listdir(path.parent) == ["a.cairn"] and cairnfile.load(path) == {"new": 1}


def test_hostile_nests_do_not_crash():
    """Random bytes, and valid files with random changes, end in CairnError or a value."""
    random = np.random.default_rng(1)
    data = cairnfile.dumps({"w": np.arange(50.0), "l": [1, (2, "x")], "n": np.float32(1)})
    for _ in range(2000):
        spoilt = bytearray(data)
        for at in random.integers(64, len(data), 4):
            spoilt[at] = random.integers(256)
        try:
            cairnfile.loads(bytes(spoilt))
        except cairnfile.CairnError as error:
            assert error.code and error.class_name


def test_a_bar_for_who_asks_for_one(saved, capfd):
    pytest.importorskip("tqdm")
    cairnfile.save(np.zeros(20_000_000), saved, progress=True)
    assert "saving: 100%" in capfd.readouterr().err
    cairnfile.load(saved, progress=True)
    cairnfile.verify(saved, progress=True)
    shown = capfd.readouterr().err
    assert "loading: 100%" in shown and "verifying: 100%" in shown
    cairnfile.load(saved, progress=False)
    assert capfd.readouterr().err == ""


def test_other_threads_go_on_while_it_works(saved):
    """Counts in another thread while this one saves and loads: it would stand still if the lock were kept."""
    import threading

    cairnfile.save(np.zeros(60_000_000), saved)
    interval = sys.getswitchinterval()
    # A thread that keeps the lock for the whole call would let nobody in, whatever the interval.
    sys.setswitchinterval(1000)
    counted, stop = [0], threading.Event()

    def count():
        while not stop.is_set():
            counted[0] += 1
            time.sleep(0.0001)

    thread = threading.Thread(target=count)
    thread.start()
    try:
        for work in (lambda: cairnfile.load(saved), lambda: cairnfile.save(np.zeros(60_000_000), saved), lambda: cairnfile.verify(saved)):
            before = counted[0]
            work()
            assert counted[0] - before > 5
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(interval)
