"""fsspec's memory:// under the protocol flaky://, where opening a file fails some times before it works."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

import fsspec
from fsspec.implementations.memory import MemoryFileSystem


class FlakyFiles(MemoryFileSystem):
    protocol = "flaky"
    cachable = False
    failures = 2  # of each file, before it opens
    poison = "nothing"  # a name that never opens
    opened: ClassVar[Counter] = Counter()
    short_reads = 0  # so many of the files that open end early

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("flaky://", "memory://"))

    def _open(self, path, mode="rb", **options):
        FlakyFiles.opened[path] += 1
        if FlakyFiles.opened[path] <= self.failures or path.endswith(self.poison):
            raise ConnectionResetError("planted")
        file = super()._open(path, mode, **options)
        if FlakyFiles.short_reads:
            FlakyFiles.short_reads -= 1
            file.seek(file.size - 7)
        return file


fsspec.register_implementation("flaky", FlakyFiles, clobber=True)
