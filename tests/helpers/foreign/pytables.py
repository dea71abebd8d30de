"""Files of PyTables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tables

from helpers.foreign import write

ROWS = np.arange(60 * 6, dtype=np.float32).reshape(60, 6)


class Event(tables.IsDescription):  # type: ignore[misc]
    """A record as PyTables declares it, columns out of order."""

    name = tables.StringCol(8, pos=0)
    energy = tables.Float64Col(pos=2)
    hit = tables.BoolCol(pos=1)
    position = tables.Float32Col(shape=(3,), pos=3)


def arrays(path: Path) -> None:
    """Array, CArray of each compressor, EArray."""
    with tables.open_file(path, "w") as file:
        file.create_array("/", "plain", ROWS)
        file.create_array("/", "text", [b"one", b"three"])
        file.create_array("/", "flags", np.arange(20) % 3 == 0)
        file.create_array("/", "waves", np.exp(1j * np.arange(30)))
        for library in ("zlib", "bzip2", "blosc", "blosc:zstd", "blosc2"):
            filters = tables.Filters(5, library, shuffle=True)
            name = library.replace(":", "_")
            file.create_carray("/", name, obj=ROWS, filters=filters, chunkshape=(8, 6))
        checked = tables.Filters(1, "zlib", shuffle=False, fletcher32=True)
        file.create_carray("/", "checked", obj=ROWS, filters=checked, chunkshape=(7, 4))
        growing = file.create_earray("/", "growing", obj=ROWS[:10])
        growing.append(ROWS[10:])
        sideways = file.create_earray(
            "/", "sideways", tables.Float32Atom(), (6, 0), chunkshape=(2, 8)
        )
        sideways.append(ROWS.T)


def records(path: Path) -> None:
    """Tables with an index beside them, a VLArray, and links of both kinds."""
    with tables.open_file(path, "w") as file:
        group = file.create_group("/", "detector")
        table = file.create_table(group, "events", Event, filters=tables.Filters(5, "blosc"))
        for i in range(50):
            row = table.row
            row["name"], row["energy"], row["hit"] = f"e{i}", i / 2, i % 3 == 0
            row["position"] = [i, i + 1, i + 2]
            row.append()
        table.flush()
        table.cols.energy.create_index()
        ragged = file.create_vlarray(group, "ragged", tables.Int32Atom())
        for i in range(5):
            ragged.append(np.arange(i + 1))
        file.create_array(group, "x", ROWS)
        file.create_soft_link("/", "soft", "/detector/x")
        file.create_hard_link("/", "hard", "/detector/x")
        file.create_hard_link("/", "again", "/detector")


WRITERS = {"pytables-arrays": arrays, "pytables-records": records}

if __name__ == "__main__":
    write(WRITERS)
