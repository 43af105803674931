"""Merge the stores of several shards; the tables equal those of an unsharded run byte for byte."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mien.data.accounts import Account
from mien.data.parts import assemble, list_parts, unfinish
from mien.data.progress import with_bar
from mien.data.store_layout import (
    HEADER,
    MANIFEST,
    TEMPORARY,
    StoreError,
    StoreHeader,
    crops_path,
    part_path,
    writing_to,
)
from mien.io import naming_write_errors


def merge(shards: Sequence[Path], store: Path) -> list[Account]:
    """Write the contents of the stores `shards` to `store`; return the accounts, sorted by video.

    Crops are linked if the file system can (the shards may still be removed), otherwise copied. Call it again
    to continue an interrupted merge. StoreError if a shard is unfinished, if contracts or settings
    differ, if two shards hold the same video, or if another process writes to `store`.
    """
    headers = [_finished_header(shard) for shard in shards]
    for shard, header in zip(shards[1:], headers[1:], strict=True):
        header.require_same(headers[0], ours=str(shard), theirs=str(shards[0]))
    shard_of = _shard_of_each_video(shards)
    with naming_write_errors(store), writing_to(store):
        _begin(store, replace(headers[0], shard="1/1"), videos=set(shard_of))
        unfinish(store)
        for video, shard in with_bar(shard_of.items(), total=len(shard_of), unit="videos", desc="linking "):
            _bring(shard / crops_path(video), store / crops_path(video))
            _bring(shard / part_path(video), store / part_path(video))
        return assemble(store)


def missing_shards(shards: Sequence[Path]) -> list[str]:
    """The shards, as `i/n`, that are missing from a set of stores; empty if no store is a shard."""
    have = {StoreHeader.read(shard).shard for shard in shards}
    counts = {int(name.split("/")[1]) for name in have}
    return sorted({f"{number}/{count}" for count in counts for number in range(1, count + 1)} - have)


def _finished_header(shard: Path) -> StoreHeader:
    header = StoreHeader.read(shard)
    if not (shard / MANIFEST).exists():
        raise StoreError(
            f"{shard} (shard {header.shard}) is not finished: run its `mien prepare` again first"
        )
    return header


def _shard_of_each_video(shards: Sequence[Path]) -> dict[str, Path]:
    shard_of: dict[str, Path] = {}
    for shard in shards:
        for video, _ in list_parts(shard):
            other = shard_of.setdefault(video, shard)
            if other is not shard:
                raise StoreError(f"the video {video!r} is in {other} and in {shard}; a video goes in once")
    return shard_of


def _begin(store: Path, header: StoreHeader, *, videos: set[str]) -> None:
    if (store / HEADER).exists():
        present = StoreHeader.read(store)
        strangers = {video for video, _ in list_parts(store)} - videos
        if strangers:
            raise StoreError(
                f"{store} holds videos of none of the shards ({min(strangers)!r}, say); give a new folder"
            )
        present.require_same(header, ours=str(store), theirs="the shards")
    shutil.rmtree(store / TEMPORARY, ignore_errors=True)
    header.write(store)


def _bring(source: Path, target: Path) -> None:
    """Link or copy a file atomically; do nothing if the source does not exist."""
    if not source.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and target.samefile(source):
        return
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        temporary.hardlink_to(source)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, temporary)
    temporary.replace(target)
