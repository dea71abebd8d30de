"""tf.data over h5py: by the recipe that is found everywhere, and as an expert writes it."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import h5py
import tensorflow as tf

from bench.systems import Batch, Feed
from bench.systems.chunks import Chunks, rows_of

AUTOTUNE = tf.data.AUTOTUNE
tf.zeros(())  # TensorFlow looks for its devices now, and not in the first batch's time


def usual(feed: Feed) -> Generator[Batch]:
    """`from_generator` over the rows, a shuffle buffer as large as a chunk, batch, prefetch."""
    yield from (
        tf.data.Dataset.from_generator(lambda: _rows(feed), output_signature=_signature(feed))
        .shuffle(feed.chunk_size, seed=feed.seed)
        .batch(feed.batch_size)
        .repeat(feed.passes)
        .prefetch(AUTOTUNE)
        .as_numpy_iterator()
    )


def _rows(feed: Feed) -> Iterator[Batch]:
    with h5py.File(feed.path) as file:
        x, y = file[feed.x], file[feed.y]
        for row in range(rows_of(feed)):
            yield x[row], y[row]


def expert(feed: Feed) -> Generator[Batch]:
    """Chunks are read and shuffled in parallel calls, and cut by TensorFlow without a copy.

    No row is taken apart in Python and nothing is unbatched. Gathering batches in TensorFlow,
    interleaving, and a generator of whole batches were tried too, and looked no faster.
    """
    chunks = Chunks(feed)
    x, y = _signature(feed, rows=True)

    def read(number: Any) -> tuple[Any, Any]:
        drawn = tf.numpy_function(lambda one: chunks[int(one)], [number], (x.dtype, y.dtype))
        return tf.ensure_shape(drawn[0], x.shape), tf.ensure_shape(drawn[1], y.shape)

    def cut(x: Any, y: Any) -> Any:
        starts = tf.data.Dataset.range(0, tf.shape(x, tf.int64)[0], feed.batch_size)
        return starts.map(lambda at: (x[at : at + feed.batch_size], y[at : at + feed.batch_size]))

    yield from (
        tf.data.Dataset.range(len(chunks))
        .shuffle(len(chunks), seed=feed.seed)
        .repeat(feed.passes)
        .map(read, num_parallel_calls=2)
        .flat_map(cut)
        .prefetch(AUTOTUNE)
        .as_numpy_iterator()
    )


def _signature(feed: Feed, *, rows: bool = False) -> tuple[Any, Any]:
    """Types and shapes of a sample, or of some rows."""
    with h5py.File(feed.path) as file:
        x, y = (
            tf.TensorSpec((None,) * rows + file[name].shape[1:], file[name].dtype)
            for name in (feed.x, feed.y)
        )
    return x, y
