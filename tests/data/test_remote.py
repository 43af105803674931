"""Sources and stores behind URLs, over fsspec's memory:// and file://; nothing leaves this machine."""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import pytest
from flaky_files import FlakyFiles
from planted_tracking import PlantedTracking, prepare_planted

from mien import cli
from mien.data import remote
from mien.data.parts import read_part
from mien.data.prepare import plan_work, prepare
from mien.data.remote import MissingDriverError, RemoteError, list_remote, look_at
from mien.data.sources import SourceError, list_sources
from mien.data.store import TrackStore, local_store
from mien.data.store_layout import StoreError
from mien.data.store_writer import PrepareSettings
from mien.io import WriteError


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(remote, "SECONDS_BEFORE_NEXT_TRY", (0.0, 0.0, 0.0))
    FlakyFiles.opened.clear()
    FlakyFiles.failures, FlakyFiles.poison, FlakyFiles.short_reads = 2, "nothing", 0
    yield
    fsspec.filesystem("memory").store.clear()


def prepare_urls(urls, store, *, workers=0, **tracking):
    return prepare(
        list_sources(urls).sources,
        store,
        PlantedTracking(**tracking),
        settings=PrepareSettings(),
        workers=workers,
    )


@pytest.fixture
def bucket(planted_tree):
    """The planted VoxCeleb2 tree as objects of memory://bucket/mp4."""
    memory = fsspec.filesystem("memory")
    for path in planted_tree.rglob("*.mp4"):
        memory.pipe(f"/bucket/mp4/{path.relative_to(planted_tree)}", path.read_bytes())
    return memory


def tables(store):
    return {name: (store / name).read_bytes() for name in ("manifest.parquet", "frames.parquet")} | {
        str(path.relative_to(store)): path.read_bytes() for path in (store / "crops").rglob("*.tar")
    }


def copies_left(store):
    return [path for path in store.rglob("*") if path.suffix == ".mp4"]


@pytest.fixture(scope="module")
def local(planted_tree, tmp_path_factory):
    store = tmp_path_factory.mktemp("local") / "store"
    prepare_planted(planted_tree, store)
    return store


@pytest.mark.parametrize("kind", ["memory", "flaky", "file, 2 processes"])
def test_the_store_is_that_of_the_same_files_in_a_folder(kind, bucket, planted_tree, local, tmp_path):
    """Also where each file fails twice before it opens. No copy of a source stays."""
    store = tmp_path / "store"
    if kind.startswith("file"):
        prepare_urls([planted_tree.absolute().as_uri()], store, workers=2)
    else:
        prepare_urls([f"{kind}://bucket/mp4"], store)
    assert tables(store) == tables(local)
    assert not copies_left(store)
    if kind == "flaky":
        assert set(FlakyFiles.opened.values()) == {3}


def test_a_file_that_comes_short_is_asked_for_again(bucket, local, tmp_path):
    FlakyFiles.failures, FlakyFiles.short_reads = 0, 1
    prepare_urls(["flaky://bucket/mp4"], tmp_path / "store")
    assert tables(tmp_path / "store") == tables(local)
    assert sorted(FlakyFiles.opened.values()) == [1] * 5 + [2]


def test_a_copy_lives_only_while_its_file_is_read(bucket, tmp_path, monkeypatch):
    seen = []
    track = PlantedTracking.__call__

    def watched(self, path):
        seen.append(len(copies_left(tmp_path / "store")))
        yield from track(self, path)

    monkeypatch.setattr(PlantedTracking, "__call__", watched)
    prepare_urls(["memory://bucket/mp4"], tmp_path / "store")
    assert seen == [1] * 6


def test_a_poison_file_is_a_recorded_skip_that_names_its_url_and_is_tried_again(bucket, local, tmp_path):
    FlakyFiles.failures, FlakyFiles.poison = 0, "id00002/ccccccccccc/00001.mp4"
    accounts = prepare_urls(["flaky://bucket/mp4"], tmp_path / "store")
    (skipped,) = [account for account in accounts if account.status == "skipped"]
    url = "flaky://bucket/mp4/id00002/ccccccccccc/00001.mp4"
    assert skipped.message == f"cannot read {url}: ConnectionResetError: planted"
    assert FlakyFiles.opened["/bucket/mp4/id00002/ccccccccccc/00001.mp4"] == 4
    FlakyFiles.poison = "nothing"
    prepare_urls(["flaky://bucket/mp4"], tmp_path / "store")
    assert tables(tmp_path / "store") == tables(local)


def test_an_undecodable_file_is_told_of_by_its_url_not_by_its_copys_path(bucket, tmp_path):
    bucket.pipe("/bucket/mp4/text.mp4", b"not a video\n" * 50)
    accounts = prepare_urls(["memory://bucket/mp4"], tmp_path / "store")
    (skipped,) = [account for account in accounts if account.status == "skipped"]
    assert "memory://bucket/mp4/text.mp4" in skipped.message
    assert str(tmp_path) not in skipped.message


def test_a_run_goes_on_by_url_and_does_a_changed_object_again(bucket, plant, tmp_path):
    store, name = tmp_path / "store", "id00001/aaaaaaaaaaa/00001"
    FlakyFiles.failures = 0
    prepare_urls(["flaky://bucket/mp4"], store)
    part = read_part(store / f"parts/{name}.parquet")
    assert part.fingerprint.path == f"flaky://bucket/mp4/{name}.mp4"
    FlakyFiles.opened.clear()
    assert plan_work(store, list_sources(["flaky://bucket/mp4"]).sources).pending == ()
    assert not FlakyFiles.opened  # the listing says enough
    bucket.pipe(f"/bucket/mp4/{name}.mp4", plant(tmp_path / "new.mp4", "L" * 25, seed=9).read_bytes())
    plan = plan_work(store, list_sources(["flaky://bucket/mp4"]).sources)
    assert [source.video for source in plan.pending] == [name]


def test_an_object_written_anew_with_the_same_content_is_read_but_not_done_again(bucket, tmp_path):
    prepare_urls(["memory://bucket/mp4"], tmp_path / "store")
    path = "/bucket/mp4/id00001/aaaaaaaaaaa/00001.mp4"
    content = bucket.cat(path)
    bucket.rm(path)
    bucket.pipe(path, content)
    assert plan_work(tmp_path / "store", list_sources(["memory://bucket/mp4"]).sources).pending == ()


def test_a_store_prepared_from_a_folder_takes_the_same_files_from_a_url_as_done(bucket, local, tmp_path):
    store = shutil.copytree(local, tmp_path / "store")
    assert plan_work(store, list_sources(["memory://bucket/mp4"]).sources).pending == ()


def test_a_csv_may_name_urls(bucket, local, tmp_path):
    names = sorted(path.removeprefix("/bucket/mp4/") for path in bucket.find("/bucket/mp4"))
    with (tmp_path / "people.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerows([["path", "identity"], *([f"memory://bucket/mp4/{name}", ""] for name in names)])
        rows.writerow(["memory://bucket/gone.mp4", "zoe"])
    accounts = {account.video: account for account in prepare_urls([tmp_path / "people.csv"], tmp_path / "s")}
    gone = accounts.pop("bucket/gone.mp4")
    assert (gone.identity, gone.message) == (
        "zoe",
        "cannot read memory://bucket/gone.mp4: it does not exist",
    )
    assert {name: account.identity for name, account in accounts.items()} == {
        name.removesuffix(".mp4"): name.split("/")[0] for name in names
    }


def test_a_prefix_is_listed_like_a_folder(bucket):
    bucket.pipe("/v/anna/a.mp4", b"1")
    bucket.pipe("/v/anna/.hidden.mp4", b"1")
    bucket.pipe("/v/b.MP4", b"1")
    bucket.pipe("/v/notes.txt", b"1")
    listing = list_sources(["memory://v/"])
    assert [(s.video, s.identity, s.url) for s in listing.sources] == [
        ("anna/a.mp4", "anna", "memory://v/anna/a.mp4"),
        ("b.MP4", "b.MP4", "memory://v/b.MP4"),
    ]
    assert listing.num_other_files == 1
    (alone,) = list_sources(["memory://v/anna/a.mp4"]).sources
    assert (alone.video, alone.url) == ("a.mp4", "memory://v/anna/a.mp4")


@pytest.fixture
def website(tmp_path):
    """A folder, and its address over HTTP on this machine."""
    pytest.importorskip("aiohttp", reason="fsspec's http:// takes aiohttp")
    folder = tmp_path / "site"
    (folder / "anna").mkdir(parents=True)
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_file_over_http_that_changed_in_equal_size_is_another(website):
    folder, address = website
    video = folder / "anna" / "a.mp4"
    video.write_bytes(b"before")
    os.utime(video, (1e9, 1e9))
    (before,) = list_remote(f"{address}/anna/")
    assert (before.name, before.size_bytes) == ("a.mp4", 6)
    assert look_at(before.url).version == before.version
    video.write_bytes(b"after.")
    os.utime(video, (1e9, 1e9 + 1))
    (after,) = list_remote(f"{address}/anna/")
    assert after.size_bytes == before.size_bytes
    assert after.version != before.version


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"modify": "20260801120000"}, {"modify": "20260801120001"}),  # FTP
        ({"modificationTime": 1785585600000}, {"modificationTime": 1785585600001}),  # WebHDFS
        ({"Last-Modified": "a"}, {"Last-Modified": "b"}),
        ({"ETag": "a", "LastModified": 1}, {"ETag": "b", "LastModified": 1}),
        ({"sha": "a"}, {"sha": "b"}),  # GitHub
    ],
)
def test_what_a_file_system_tells_of_a_change_is_the_version(monkeypatch, before, after):
    versions = [listed_as(monkeypatch, {"size": 6, **told}).version for told in (before, before, after)]
    assert versions[0] == versions[1] != versions[2]


def listed_as(monkeypatch, info):
    """The file of a store that lists it so."""
    for name, told in (("find", {"/v/a.mp4": info}), ("info", info)):
        monkeypatch.setattr(
            f"fsspec.implementations.memory.MemoryFileSystem.{name}", lambda *_a, told=told, **_k: told
        )
    (file,) = list_remote("memory://v")
    return file


def test_names_that_lead_out_of_a_store_are_left_aside(monkeypatch, tmp_path):
    found = {"/v/../../x.mp4": {"size": 1}, "/v/ok.mp4": {"size": 1}}
    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.find", lambda *a, **k: found)
    assert [file.name for file in list_remote("memory://v")] == ["ok.mp4"]
    (tmp_path / "a.csv").write_text("path\nmemory://v/../../x.mp4\n")
    with pytest.raises(SourceError, match="names no file"):
        list_sources([tmp_path / "a.csv"])


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("s3://key:secret@bucket/a.mp4", "s3://bucket/...: a URL with a password or a signature"),
        ("https://host/a.mp4?signature=secret", "https://host/...: a URL with a password or a signature"),
        ("zzz://bucket/a.mp4", "a package for each kind of store"),
        ("memory://v::file:///secret/a.mp4", "chains URLs"),
    ],
)
def test_a_csvs_urls_that_are_never_read_are_refused_before_anything_is_written(tmp_path, url, says):
    (tmp_path / "a.csv").write_text(f"path\n{url}\n")
    with pytest.raises(ValueError, match="://") as refused:
        list_sources([tmp_path / "a.csv"])
    assert says in str(refused.value)
    assert "=secret" not in str(refused.value)
    assert "key:secret" not in str(refused.value)


def test_a_full_disk_stops_the_run_and_sets_nothing_aside(bucket, tmp_path, monkeypatch):
    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.get_file", full)
    with pytest.raises(WriteError, match="No space left"):
        prepare_urls(["memory://bucket/mp4"], tmp_path / "store")
    assert not list((tmp_path / "store").rglob("parts/**/*.parquet"))


def test_what_cannot_be_done_with_a_url_is_one_line(bucket, tmp_path, capsys):
    for words, says in (
        (["prepare", "memory://nowhere", "--out", str(tmp_path / "s")], "no file at memory://nowhere"),
        (
            ["prepare", str(tmp_path), "--out", "s3://b/s"],
            "--out s3://b/s: an object store is not written to",
        ),
        (["prepare", "zzz://b", "--out", str(tmp_path / "s")], "a package for each kind of store"),
        (["prepare", "ftp://me:word@host/v", "--out", str(tmp_path / "s")], "with a password"),
        (["inspect", "memory://b/store"], "--store-cache DIR or set MIEN_CACHE"),
    ):
        assert cli.main(words) == 1
        error = capsys.readouterr().err
        assert says in error
        assert "me:word" not in error


def test_without_fsspec_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(MissingDriverError, match=r"pip install 'mien\[remote\]'"):
        list_remote("memory://v")


def upload(store, memory, prefix="/shelf/store"):
    for path in store.rglob("*"):
        if path.is_file():
            memory.pipe(f"{prefix}/{path.relative_to(store)}", path.read_bytes())


def test_a_store_behind_a_url_is_fetched_once_and_read_as_any(local, bucket, tmp_path, monkeypatch):
    upload(local, bucket)
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    FlakyFiles.failures = 2
    here = local_store("flaky://shelf/store")
    assert here.parent == tmp_path / "cache"
    assert tables(here) == tables(local)
    assert (TrackStore.open(here).read_frames(0, [0]) == TrackStore.open(local).read_frames(0, [0])).all()
    FlakyFiles.opened.clear()
    assert local_store("flaky://shelf/store/") == here
    assert not FlakyFiles.opened


def test_an_interrupted_fetch_is_no_store_and_goes_on(local, bucket, tmp_path):
    upload(local, bucket)
    FlakyFiles.failures, FlakyFiles.poison = 0, "frames.index.npy"
    with pytest.raises(RemoteError, match=r"flaky://shelf/store/frames.index.npy"):
        local_store("flaky://shelf/store", cache=tmp_path)
    (here,) = tmp_path.iterdir()
    with pytest.raises(StoreError, match=r"not finished|not a store"):  # where store.json has not come
        TrackStore.open(here)
    had = {str(path.relative_to(here)) for path in here.rglob("*") if path.is_file()} - {".lock"}
    assert had
    FlakyFiles.poison = "nothing"
    FlakyFiles.opened.clear()
    assert tables(local_store("flaky://shelf/store", cache=tmp_path)) == tables(local)
    assert not {path.removeprefix("/shelf/store/") for path in FlakyFiles.opened} & had


def test_a_store_that_has_changed_is_copied_into_another_folder(local, bucket, tmp_path):
    upload(local, bucket)
    here = local_store("memory://shelf/store", cache=tmp_path)
    tar = sorted((local / "crops").rglob("*.tar"))[0].relative_to(local)
    bucket.pipe(f"/shelf/store/{tar}", b"\0" * (local / tar).stat().st_size)
    changed = local_store("memory://shelf/store", cache=tmp_path)
    assert set((changed / tar).read_bytes()) == {0}
    assert (changed / "manifest.parquet").exists()
    assert tables(here) == tables(local)  # for whoever reads it


def test_sums_beside_a_store_are_checked(local, bucket, tmp_path):
    upload(local, bucket)
    index = (local / "frames.index.npy").read_bytes()
    bucket.pipe(
        "/shelf/store/SHA256SUMS", f"{hashlib.sha256(index).hexdigest()}  ./frames.index.npy\n".encode()
    )
    local_store("memory://shelf/store", cache=tmp_path / "good")
    bucket.pipe("/shelf/store/frames.index.npy", index[:-1] + b"\x55")
    with pytest.raises(StoreError, match=r"frames.index.npy: its SHA-256 is not the one"):
        local_store("memory://shelf/store", cache=tmp_path / "bad")


def test_an_unfinished_store_is_not_fetched(local, bucket, tmp_path):
    upload(local, bucket)
    bucket.rm("/shelf/store/manifest.parquet")
    with pytest.raises(StoreError, match=r"not a finished store: it has no manifest.parquet"):
        local_store("memory://shelf/store", cache=tmp_path)


def test_inspect_reads_a_store_from_a_url(local, bucket, tmp_path, capsys):
    upload(local, bucket)
    words = ["inspect", "memory://shelf/store", "--store-cache", str(tmp_path), "--out", str(tmp_path / "p")]
    assert cli.main(words) == 0
    assert (tmp_path / "p/index.html").exists()
