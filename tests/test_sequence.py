"""The face: what PrefetchSequence refuses, what it tells of itself, and what it hands on."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import psutil
import pytest
from conftest import MakeSamples

from prefetcher import (
    DatasetError,
    FileBusyError,
    FileMissingError,
    Monitor,
    NoDatasetError,
    NotHDF5Error,
    PrefetchSequence,
    RowsError,
    SettingsError,
    read_log,
)
from prefetcher.cli.shown import shown_of
from prefetcher.config import Workers
from prefetcher.pipeline.auto import Climber, Decision


def write(path: Path, datasets: Mapping[str, Any]) -> Path:
    with h5py.File(path, "w") as file:
        for name, rows in datasets.items():
            file[name] = rows
    return path


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError, match=r"none\.h5") as caught:
        PrefetchSequence(tmp_path / "none.h5")
    assert isinstance(caught.value, FileNotFoundError)


def test_a_file_that_is_not_hdf5(tmp_path: Path) -> None:
    path = tmp_path / "text.h5"
    path.write_text("id,angle\n1,0.5\n")
    with pytest.raises(NotHDF5Error, match=r"text\.h5"):
        PrefetchSequence(path)


def test_a_truncated_file(tmp_path: Path) -> None:
    path = write(tmp_path / "cut.h5", {"x": np.zeros((100, 100)), "y": np.zeros(100)})
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(NotHDF5Error, match=r"cut\.h5"):
        PrefetchSequence(path)


def test_a_file_that_another_process_writes(tmp_path: Path) -> None:
    path = write(tmp_path / "busy.h5", {"x": np.zeros(5), "y": np.zeros(5)})
    script = "import h5py, sys; f = h5py.File(sys.argv[1], 'a'); print('open', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"open\n"
        with pytest.raises(FileBusyError, match=r"busy\.h5"):
            PrefetchSequence(path)
        writer.communicate(b"\n", timeout=60)
    PrefetchSequence(path).close()


def test_a_wrong_name_lists_what_there_is(tmp_path: Path) -> None:
    path = write(
        tmp_path / "samples.h5",
        {"images": np.zeros((5, 2, 2), np.uint8), "angles": np.zeros(5, np.float32)},
    )
    says = "no dataset 'x' in samples.h5; it has angles float32 (5,), images uint8 (5, 2, 2)"
    with pytest.raises(NoDatasetError, match=re.escape(says)) as caught:
        PrefetchSequence(path)
    assert isinstance(caught.value, KeyError)
    assert "\\n" not in str(caught.value)


def test_what_is_open_is_named_by_its_path(samples: MakeSamples) -> None:
    """Threads open the file themselves: h5py's own objects do not go with them."""
    path = samples(30)
    with h5py.File(path) as file, path.open("rb") as raw:
        several: list[Any] = [file, raw, [file]]
        for opened in several:
            with pytest.raises(SettingsError, match=r"pass its path, .*contiguous-30\.h5'"):
                PrefetchSequence(opened)
        with pytest.raises(SettingsError, match=r"x=<HDF5 .*: pass its name, x='x'"):
            PrefetchSequence(path, x=file["x"])
        with pytest.raises(SettingsError, match=r"y=<HDF5 .*: pass its name, y='label'"):
            PrefetchSequence(path, y={"a": file["label"]})


@pytest.mark.parametrize("file", [None, 5, b"a.h5", [5], np.zeros(3), {"a": 1}])
def test_what_is_no_path(file: Any) -> None:
    with pytest.raises(SettingsError, match=r"file=.*: write a path, a pattern"):
        PrefetchSequence(file)


def test_paths_may_come_from_a_generator(samples: MakeSamples) -> None:
    with PrefetchSequence(samples(30).parent.glob("contiguous-30.h5")) as sequence:
        assert len(sequence) == 1


def test_lengths_that_differ(tmp_path: Path) -> None:
    path = write(tmp_path / "odd.h5", {"x": np.zeros(5), "y": np.zeros(6)})
    with pytest.raises(DatasetError, match=r"odd.h5 has x 5 rows, y 6 rows"):
        PrefetchSequence(path)


@pytest.mark.parametrize("shape", [(0, 3), (5, 0)])
def test_nothing_to_batch(tmp_path: Path, shape: tuple[int, int]) -> None:
    path = write(tmp_path / "empty.h5", {"x": np.zeros(shape), "y": np.zeros(shape[0])})
    with pytest.raises(DatasetError, match="nothing to batch"):
        PrefetchSequence(path)


def test_rows_out_of_range(samples: MakeSamples) -> None:
    with pytest.raises(RowsError, match=r"rows\[1\] is 30"):
        PrefetchSequence(samples(30), rows=[3, 30, 4])


def test_a_remainder_that_would_be_everything(samples: MakeSamples) -> None:
    with pytest.raises(SettingsError, match="Write batch_size=30 or less"):
        PrefetchSequence(samples(30), drop_remainder=True)


def never_written(path: Path, rows: int, row_bytes: int) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (rows, row_bytes), "uint8", chunks=(1, row_bytes))
    return path


def test_queues_larger_than_the_machine(tmp_path: Path) -> None:
    need = psutil.virtual_memory().total // 20
    path = never_written(tmp_path / "large.h5", 2 * need, row_bytes=20)
    with pytest.raises(SettingsError, match=r"write chunk_size=\d+ or less"):
        PrefetchSequence(path, y=None, chunk_size=need, chunk_queue=2)


def test_a_default_chunk_that_does_not_fit_becomes_smaller(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    have = psutil.virtual_memory().total
    path = never_written(tmp_path / "heavy.h5", 10_000, row_bytes=have // 4000)
    with PrefetchSequence(path, y=None, batch_size=2) as sequence:
        assert sequence.memory_bytes <= have // 2
        assert 0 < sequence.plan.chunk_size < 3200
    assert f"write chunk_size={sequence.plan.chunk_size} to have the same" in caplog.text


def test_rows_that_no_batch_of_fits_are_refused(tmp_path: Path) -> None:
    path = never_written(tmp_path / "heavy.h5", 10_000, psutil.virtual_memory().total // 20)
    with pytest.raises(SettingsError, match="write a smaller batch_size"):
        PrefetchSequence(path, y=None)


def test_no_more_samples_are_counted_than_there_are(samples: MakeSamples, tmp_path: Path) -> None:
    need = psutil.virtual_memory().total // 20
    PrefetchSequence(samples(30), chunk_size=need, batch_size=need).close()
    with h5py.File(tmp_path / "heavy.h5", "w") as file:
        file.create_dataset("x", (5, 20_000_000), np.uint8)
    with PrefetchSequence(tmp_path / "heavy.h5", y=None, batch_queue=2) as few:
        assert few.memory_bytes < 1_500_000_000  # two chunks and seven batches of all five samples


@pytest.mark.parametrize("index", [3, -4, 10**9])
def test_an_index_that_is_not_there(samples: MakeSamples, index: int) -> None:
    with (
        PrefetchSequence(samples(30), batch_size=10) as seq,
        pytest.raises(RowsError, match="30 samples in 3 batches of 10>: ask for 0 to 2"),
    ):
        seq[index]


def test_a_negative_index_counts_from_the_end(samples: MakeSamples) -> None:
    with PrefetchSequence(samples(30), batch_size=10, shuffle=False) as seq:
        assert seq[-1][0][:, 0].tolist() == list(range(20, 30))
        assert seq[np.int64(0)][0][:, 0].tolist() == list(range(10))


def test_blocks_follow_the_storage_chunks_of_the_widest_dataset(tmp_path: Path) -> None:
    path = tmp_path / "aligned.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=np.zeros((500, 50)), chunks=(7, 50))
        file.create_dataset("y", data=np.zeros(500), chunks=(100,))
    with PrefetchSequence(path, chunk_size=320) as seq:
        assert seq.plan.align == 7
        assert seq.plan.block_size == 7


def test_random_requests_of_a_sequence_in_file_order_are_remarked_on(
    samples: MakeSamples, caplog: pytest.LogCaptureFixture
) -> None:
    with PrefetchSequence(samples(203), batch_size=1, shuffle=False) as seq:
        for index in np.random.default_rng(0).permutation(203):
            seq[index]
    assert [record.message.count("shuffle=False") for record in caplog.records] == [1]


@pytest.mark.parametrize("as_path", [True, False])
def test_a_monitor_by_path_or_object(samples: MakeSamples, tmp_path: Path, as_path: bool) -> None:
    log = tmp_path / "run.jsonl"
    with PrefetchSequence(samples(70), monitor=log if as_path else Monitor(log)) as seq:
        assert not log.exists()
        for _ in seq:
            pass
    lines = read_log(log)
    assert [line["kind"] for line in lines][0 :: len(lines) - 1] == ["run", "summary"]
    names = [line["name"] for line in lines if line["kind"] == "event"]
    assert names == ["first_batch", "first_chunk", "pass_end"]
    run = lines[0]
    assert run["settings"]["file"] == samples(70).name
    assert run["wait_scope"] in {"upper_bound", "exposed"}
    assert lines[-1]["samples"] == 70


def test_a_change_of_threads_is_in_the_log(
    samples: MakeSamples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decision = Decision("try", Workers(2, 1), "training waited")
    monkeypatch.setattr("prefetcher.pipeline.auto._SHORTEST_S", 0.0)
    monkeypatch.setattr(Climber, "passed", lambda self, pace: [decision])
    log = tmp_path / "run.jsonl"
    with PrefetchSequence(samples(30), batch_size=10, readers="auto", monitor=log) as seq:
        for _ in range(2):
            list(seq)
    run, *lines = read_log(log)
    assert run["settings"]["readers"] == "auto"
    (tune,) = [line["data"] for line in lines if line.get("name") == "tune"]
    assert tune == {"action": "try", "readers": 2, "batchers": 1, "why": "training waited"}


def test_a_monitor_watches_one_sequence(samples: MakeSamples, tmp_path: Path) -> None:
    monitor = Monitor(tmp_path / "run.jsonl")
    PrefetchSequence(samples(30), monitor=monitor).close()
    with pytest.raises(SettingsError, match=r"run\.jsonl belongs to another sequence"):
        PrefetchSequence(samples(30), monitor=monitor)


@pytest.mark.parametrize("as_path", [True, False])
def test_each_of_several_processes_has_a_log_of_its_own(
    samples: MakeSamples, tmp_path: Path, as_path: bool
) -> None:
    """`monitor=` names one log for all, by a path or by a `Monitor`."""
    log = tmp_path / "run.jsonl"
    for index in range(2):
        monitor = log if as_path else Monitor(log)
        with PrefetchSequence(samples(64), monitor=monitor, shard=(index, 2)) as seq:
            assert sum(len(x) for x, _ in seq) == 32
            assert seq.monitor is not None
            assert seq.monitor.path.name == f"run.{index}of2.jsonl"
    assert not log.exists()
    runs = [read_log(tmp_path / f"run.{index}of2.jsonl") for index in range(2)]
    assert [run[0]["shard"] for run in runs] == [{"index": i, "count": 2} for i in range(2)]
    assert [run[-1]["samples"] for run in runs] == [32, 32]
    settings = [run[0]["settings"] for run in runs]
    assert settings[0] == settings[1]
    assert settings[0]["batch_size"] == 32
    (group,) = shown_of(sorted(tmp_path.glob("run.*of2.jsonl"))).groups
    assert [member.rank.index for member in group.members] == [0, 1]


def test_of_data_that_each_process_reads_whole_each_has_its_own_log(
    samples: MakeSamples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for validation: else the lines of all processes would stand in one log."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    for index in range(2):
        monkeypatch.setenv("RANK", str(index))
        with PrefetchSequence(samples(64), monitor=tmp_path / "val.jsonl", shard=(0, 1)) as seq:
            list(seq)
    runs = [read_log(tmp_path / f"val.{index}of2.jsonl") for index in range(2)]
    assert [run[0]["shard"] for run in runs] == [{"index": 0, "count": 1}] * 2
    assert sum(line["kind"] == "run" for run in runs for line in run) == 2
