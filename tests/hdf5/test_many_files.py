"""More files than the process may have open: all rows come, and what changed meanwhile is told."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np
import psutil
import pytest
from helpers.leaks import open_hdf5_files
from helpers.processes import run_script
from helpers.waiting import Task, wait_for
from numpy.typing import NDArray

from prefetcher import FileChangedError, FileMissingError, OpenFilesError, PrefetchSequence
from prefetcher.hdf5 import opened
from prefetcher.hdf5.contiguous import ContiguousWay
from prefetcher.hdf5.opened import OPEN_FILES
from prefetcher.hdf5.places import Wanted
from prefetcher.hdf5.proof import Proofs
from prefetcher.hdf5.sharded import ShardedSource
from prefetcher.hdf5.shards import describe_all
from prefetcher.pipeline.buffers import Meter
from prefetcher.pipeline.chunk import Chunk
from prefetcher.pipeline.lanes import lanes
from prefetcher.storage.local import LocalBytes

FILES, ROWS = 24, 5
N = FILES * ROWS
STORED: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "gzip": {"chunks": (2, 3), "compression": "gzip"},
    "through h5py": {"chunks": (2, 3), "scaleoffset": 0},
}


@pytest.fixture(params=STORED)
def storage(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def write(folder: Path, storage: str, files: int = FILES) -> list[Path]:
    """Files of five rows, each row full of its number; y lies beside x in another way."""
    paths = []
    for number in range(files):
        ids = np.arange(number * ROWS, (number + 1) * ROWS)
        paths.append(folder / f"part-{number:03}.h5")
        with h5py.File(paths[-1], "w") as file:
            file.create_dataset("x", data=ids[:, None].repeat(3, 1), **STORED[storage])
            file["y"] = ids.astype(np.float32)
    return paths


@pytest.fixture
def four(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four descriptors are all that this package may keep."""
    monkeypatch.setattr(OPEN_FILES, "_most_descriptors", lambda: 4)


def rows(source: ShardedSource, first: int, last: int) -> NDArray[np.int64]:
    out = np.full((last - first, 24), 0xAA, np.uint8)
    source.read("x", [(first, last)], [out])
    return out.view(np.int64)[:, 0]


@pytest.mark.usefixtures("four")
def test_every_row_comes_from_files_that_are_opened_again_and_again(
    tmp_path: Path, storage: str
) -> None:
    with closing(ShardedSource(describe_all(write(tmp_path, storage)), ["x", "y"])) as source:
        dice = Random(0)
        for _ in range(150):
            first = dice.randrange(N)
            last = min(N, first + dice.randrange(20))
            assert rows(source, first, last).tolist() == list(range(first, last))
            assert len(open_hdf5_files()) <= 4
    assert not open_hdf5_files()


@pytest.mark.usefixtures("four")
def test_threads_beside_each_other(tmp_path: Path, storage: str) -> None:
    with closing(ShardedSource(describe_all(write(tmp_path, storage)), ["x"])) as source:

        def read(seed: int) -> bool:
            dice = Random(seed)
            starts = [dice.randrange(N - 12) for _ in range(60)]
            return all(rows(source, at, at + 12).tolist() == [*range(at, at + 12)] for at in starts)

        tasks = [Task(lambda seed=seed: read(seed)) for seed in range(4)]  # type: ignore[misc]
        assert all(task.result() for task in tasks)


@pytest.mark.usefixtures("four")
def test_the_file_that_is_read_stays_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write(tmp_path, "contiguous")
    reading, go_on = threading.Event(), threading.Event()
    real = ContiguousWay.read

    def gated(self: ContiguousWay, *arguments: Any) -> None:
        if threading.current_thread() is not threading.main_thread():
            reading.set()
            wait_for(go_on, "the other files were read")
        real(self, *arguments)

    with closing(ShardedSource(describe_all(paths), ["x"])) as source:
        rows(source, 0, 5)  # proved
        monkeypatch.setattr(ContiguousWay, "read", gated)
        reader = Task(lambda: rows(source, 0, 5).tolist())
        wait_for(reading, "it reads")
        assert rows(source, 5, N).tolist() == list(range(5, N))
        assert str(paths[0]) in open_hdf5_files()
        go_on.set()
        assert reader.result() == [0, 1, 2, 3, 4]


def test_h5py_has_no_file_open_whose_rows_are_read_by_offset(tmp_path: Path, storage: str) -> None:
    """HDF5 keeps 270 kB of each file that it has open."""
    with closing(ShardedSource(describe_all(write(tmp_path, storage)), ["x", "y"])) as source:
        rows(source, 0, N)
        each = 2 if storage == "through h5py" else 1
        assert len(open_hdf5_files()) == each * FILES


@pytest.mark.usefixtures("four")
def test_what_was_proved_once_is_not_proved_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even by another source over the same files, as after a pause."""
    shards = describe_all(write(tmp_path, "gzip"))
    with closing(ShardedSource(shards, ["x", "y"])) as source:
        rows(source, 0, N)
        monkeypatch.setattr(h5py.h5f, "open", lambda *_, **__: pytest.fail("h5py opened a file"))
        assert rows(source, 0, N).tolist() == list(range(N))
    with closing(ShardedSource(shards, ["x"])) as source:
        assert rows(source, 0, N).tolist() == list(range(N))


@pytest.mark.usefixtures("four")
def test_proofs_that_are_too_much_are_forgotten_and_made_again(tmp_path: Path) -> None:
    shards = describe_all(write(tmp_path, "gzip"))
    shards.proofs = Proofs(most_bytes=5000)
    with closing(ShardedSource(shards, ["x", "y"])) as source:
        for _ in range(2):
            assert rows(source, 0, N).tolist() == list(range(N))
            assert 0 < len(shards.proofs) < 5


def touch(path: Path) -> None:
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def replaced(path: Path) -> None:
    """By a copy of the same time, size and content."""
    status = path.stat()
    path.with_name("new").write_bytes(path.read_bytes())
    path.with_name("new").replace(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize("change", [touch, replaced, lambda path: os.truncate(path, 2200)])
def test_a_file_that_changed_while_it_was_closed(
    tmp_path: Path, storage: str, change: Callable[[Path], None]
) -> None:
    paths = write(tmp_path, storage)
    with closing(ShardedSource(describe_all(paths), ["x", "y"])) as source:
        rows(source, 0, N)
        change(paths[3])
        with pytest.raises(FileChangedError, match=r"part-003\.h5 was written to"):
            rows(source, 15, 20)
        assert rows(source, 20, 25).tolist() == [20, 21, 22, 23, 24]


@pytest.mark.usefixtures("four")
def test_a_file_that_is_gone_when_it_is_opened_again(tmp_path: Path, storage: str) -> None:
    paths = write(tmp_path, storage)
    with closing(ShardedSource(describe_all(paths), ["x"])) as source:
        rows(source, 0, N)
        paths[3].unlink()
        with pytest.raises(FileMissingError, match=r"part-003\.h5"):
            rows(source, 15, 20)


@pytest.mark.usefixtures("four")
def test_the_folder_of_the_process_may_change(
    tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, storage)
    monkeypatch.chdir(tmp_path)
    with closing(ShardedSource(describe_all("part-*.h5"), ["x"])) as source:
        rows(source, 0, N)
        monkeypatch.chdir(os.sep)
        assert rows(source, 0, N).tolist() == list(range(N))


@pytest.mark.usefixtures("four")
def test_advice_opens_a_few_files_where_all_is_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advised: list[int] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda file, *_: advised.append(file))
    entered: set[object] = set()
    enter = OPEN_FILES.enter

    def note(key: Any, opening: Any) -> Any:
        entered.add(key)
        return enter(key, opening)

    with closing(ShardedSource(describe_all(write(tmp_path, "contiguous")), ["x"])) as source:
        rows(source, 0, N)
        monkeypatch.setattr(OPEN_FILES, "enter", note)
        source.expect("x", [(0, N)])
        assert len(entered) <= 8
        assert not advised
        monkeypatch.setattr("prefetcher.storage.local.LocalBytes.in_memory", lambda *_: False)
        source.expect("x", [(0, N)])
        assert len(entered) == len(advised) == FILES


def test_what_a_file_has_of_all_datasets_is_read_in_one_visit(
    tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    visited: list[str] = []
    checked: list[int] = []
    with closing(ShardedSource(describe_all(write(tmp_path, storage)), ["x", "y"])) as source:
        rows(source, 0, N)
        enter, check = OPEN_FILES.enter, LocalBytes.check_unchanged

        def note(key: Any, opening: Any) -> Any:
            visited.append(key._name)
            return enter(key, opening)

        def note_check(self: LocalBytes) -> None:
            checked.append(1)
            check(self)

        monkeypatch.setattr(OPEN_FILES, "enter", note)
        monkeypatch.setattr(LocalBytes, "check_unchanged", note_check)
        x, y = np.empty((N, 24), np.uint8), np.empty((N, 4), np.uint8)
        runs = [(0, N)]
        source.read_all([Wanted("x", runs, [x]), Wanted("y", runs, [y])])
    assert visited == [f"part-{number:03}.h5" for number in range(FILES)]
    assert len(checked) == FILES
    assert (x.view(np.int64) == np.arange(N)[:, None]).all()
    assert (y.view(np.float32)[:, 0] == np.arange(N)).all()


def test_files_that_are_laid_out_alike_share_what_is_known_of_them(tmp_path: Path) -> None:
    shards = describe_all(write(tmp_path, "contiguous"))
    with closing(ShardedSource(shards, ["x", "y"])) as source:
        rows(source, 0, N)
        assert len({id(each._datasets) for each in source._sources.values()}) == 1
        assert len({id(shards.proofs.find(number)) for number in range(FILES)}) == 1
        assert len(shards.proofs) == FILES


def test_rows_in_any_order_go_to_their_places(tmp_path: Path) -> None:
    with closing(ShardedSource(describe_all(write(tmp_path, "gzip")), ["x", "y"])) as source:
        up, down = [(3, 8), (20, 24)], [(20, 24), (3, 8)]
        x, y = np.empty((9, 24), np.uint8), np.empty((9, 4), np.uint8)
        source.read_all([Wanted("x", up, [x]), Wanted("y", down, [y])])
    assert x.view(np.int64)[:, 0].tolist() == [3, 4, 5, 6, 7, 20, 21, 22, 23]
    assert y.view(np.float32)[:, 0].tolist() == [20, 21, 22, 23, 3, 4, 5, 6, 7]


def test_a_pass_opens_each_small_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shuffled, with room for few open files: no block and no part goes into half a file."""
    monkeypatch.setattr(OPEN_FILES, "_most_descriptors", lambda: 4)
    files = write(tmp_path, "contiguous", 64)
    train = PrefetchSequence(files, batch_size=8, chunk_size=160, block_size=ROWS)
    opened_files: list[str] = []
    real = LocalBytes.__init__

    def note(self: LocalBytes, path: Path, identity: Any) -> None:
        opened_files.append(path.name)
        real(self, path, identity)

    plan = train._feed.plan
    used = lanes(train._feed.needs, {}, plan, 1, 1, Meter())
    with closing(ShardedSource(train._feed.shards, ["x", "y"])) as source:
        rows(source, 0, 64 * ROWS)  # proved
        monkeypatch.setattr(LocalBytes, "__init__", note)
        for number in range(plan.num_chunks):
            chunk = Chunk(plan.chunk(number), used, plan.batches_in(number))
            for part in chunk.plan.parts:
                chunk.read(part, source)
    assert len(opened_files) >= len(files) - 4
    assert len(set(opened_files)) == len(opened_files)


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process may open but two files more."""
    monkeypatch.setattr(opened, "descriptors_allowed", lambda: psutil.Process().num_fds() + 3)


@pytest.mark.usefixtures("limit")
def test_too_low_a_limit_is_refused_at_construction(tmp_path: Path) -> None:
    paths = write(tmp_path, "contiguous", 2)
    with pytest.raises(OpenFilesError, match=r"ulimit -n"):
        PrefetchSequence(paths, readers=2)


@pytest.mark.parametrize("storage", STORED)
def test_memory_of_the_files_is_promised(tmp_path: Path, storage: str) -> None:
    paths = write(tmp_path, storage)
    few, many = describe_all(paths[:2]), describe_all(paths)
    each = (many.memory_bytes(["x"], 2) - few.memory_bytes(["x"], 2)) / (FILES - 2)
    if storage == "through h5py":
        assert 270_000 < each < 400_000
    else:
        assert 1000 < each < 3000


_UNDER_A_LIMIT = """
import os, resource, sys
import numpy as np
from pathlib import Path
from prefetcher import PrefetchSequence
folder = Path({folder!r})
files = sorted(folder.glob("part-*.h5"))
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
base = len(os.listdir("/proc/self/fd"))
resource.setrlimit(resource.RLIMIT_NOFILE, (base + 24, hard))
most = 0
with PrefetchSequence(files, batch_size=7, chunk_size=70, readers=2, batchers=2) as train:
    for _ in range(3):
        seen = []
        for x, y in train:
            assert (x == y[:, None]).all()
            seen += y.tolist()
            most = max(most, len(os.listdir("/proc/self/fd")))
        assert sorted(seen) == list(range({rows})), len(seen)
    state = train.state_dict()
with PrefetchSequence(files, batch_size=7, chunk_size=70) as again:
    again.load_state_dict(state)
assert most <= base + 24, (most, base)
assert len(os.listdir("/proc/self/fd")) <= base + 1
"""


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts what is open")
def test_a_real_limit_of_the_system(tmp_path: Path, storage: str) -> None:
    write(tmp_path, storage, 120)
    run_script(_UNDER_A_LIMIT.format(folder=str(tmp_path), rows=120 * ROWS))
