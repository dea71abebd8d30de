"""Promise 9 at the end of the interpreter: a process that never closes still ends by itself."""

from __future__ import annotations

import pytest
from conftest import MakeSamples
from helpers.processes import run_python

ENDINGS = {
    "never asked": """
        train = small(file)
        """,
    "queues full": """
        made = threading.Semaphore(0)

        def count(x, y):
            made.release()
            return x, y

        train = small(file, transform=count, readers=2, batchers=2, batch_queue=1, chunk_queue=1)
        train[0]
        for _ in range(3):  # one in the queue, one in the hands of each batcher
            assert made.acquire(timeout=30)
        """,
    "in a transform that never returns": """
        began = threading.Event()

        def never(x, y):
            began.set()
            threading.Event().wait()

        train = small(file, transform=never)
        threading.Thread(target=lambda: train[0], daemon=True).start()
        assert began.wait(30)
        """,
    "while another thread iterates": """
        first = threading.Event()

        def forever():
            for _ in itertools.chain.from_iterable(itertools.repeat(train)):
                first.set()

        train = small(file, readers=2, batchers=2)
        threading.Thread(target=forever, daemon=True).start()
        assert first.wait(30)
        """,
    "after a fit": """
        from helpers.models import id_model
        train = small(file, readers=2)
        id_model().fit(train, epochs=2, validation_data=small(file), verbose=0)
        """,
    "after a fit that was broken off": """
        from helpers.callbacks import AtBatch, raises
        from helpers.models import id_model
        train = small(file, readers=2)
        try:
            id_model().fit(train, callbacks=[AtBatch(5, raises(KeyboardInterrupt()))], verbose=0)
        except KeyboardInterrupt:
            pass
        """,
}

BROKEN_OFF = """
    from helpers.callbacks import AtBatch
    from helpers.models import id_model

    soon, inside = threading.Event(), threading.Event()

    class Slow(prefetcher.PrefetchSequence):
        def __getitem__(self, index):
            batch = super().__getitem__(index)
            if soon.is_set():
                inside.set()
                threading.Event().wait(2)  # no gate: what would open it is the process's end
            return batch

    def break_off(model):
        assert inside.wait(30)
        raise {error}

    train = Slow(file, "x", "y", batch_size=4, chunk_size=16)
    callbacks = [AtBatch(2, lambda model: soon.set()), AtBatch(5, break_off)]
    """
FIT = "id_model().fit(train, callbacks=callbacks, verbose=0)"


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_process_that_never_closes(samples: MakeSamples, ending: str) -> None:
    run_python(ENDINGS[ending] + "\n        print('the end')", file=samples(90))


def test_a_batch_is_asked_for_as_the_process_ends(samples: MakeSamples) -> None:
    """By a thread of tf.data, which the end of its iterator waits for."""
    caught = f"""
    try:
        {FIT}
    except KeyboardInterrupt:
        pass
    """
    run_python(BROKEN_OFF.format(error="KeyboardInterrupt") + caught, file=samples(90))


@pytest.mark.parametrize("error", ["KeyboardInterrupt", "ValueError"])
def test_a_batch_is_asked_for_after_an_error_that_nobody_caught(
    samples: MakeSamples, error: str
) -> None:
    """Keras leaves its own frames out of the traceback of a ValueError."""
    with pytest.raises(AssertionError, match=f"(?s)status (1|-2).*{error}") as caught:
        run_python(BROKEN_OFF.format(error=error) + f"\n    {FIT}", file=samples(90))
    assert "Timeout" not in str(caught.value)


def test_an_error_that_nobody_catches_still_ends_the_process(samples: MakeSamples) -> None:
    """With its own status and traceback, and no complaint from our threads besides."""
    with pytest.raises(AssertionError, match="ZeroDivisionError") as caught:
        run_python("train = small(file, readers=2)\ntrain[0]\n1 / 0", file=samples(90))
    assert "status 1" in str(caught.value)
    assert "prefetch-" not in str(caught.value)
