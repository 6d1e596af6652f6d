"""What the bench reads of our own processes."""

from __future__ import annotations

from bench.own import resident

SMAPS = """55d0c1a00000-55d0c1c00000 r--p 00000000 00:1c 1204 /usr/bin/python3.13
Size:               2048 kB
Rss:                1000 kB
Pss:                 250 kB
Anonymous:             0 kB
VmFlags: rd mr mw me sd
55d0c1c00000-55d0c1d00000 rw-p 00200000 00:1c 1204 /usr/bin/python3.13
Rss:                 300 kB
Anonymous:           100 kB
55d0f0000000-55d0f1000000 rw-p 00000000 00:00 0    [heap]
Rss:                4000 kB
Anonymous:          4000 kB
7f00f0000000-7f00f1000000 rw-p 00000000 00:00 0
Rss:                 500 kB
Anonymous:           500 kB
"""


def test_pages_of_files_are_told_apart_from_what_is_the_process_s_own() -> None:
    own, files = resident(SMAPS)
    assert own == 4600 * 1024
    assert files["/usr/bin/python3.13"] == 1200 * 1024
    assert files.total() == 1200 * 1024
