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


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_process_that_never_closes(samples: MakeSamples, ending: str) -> None:
    run_python(ENDINGS[ending] + "\n        print('the end')", file=samples(90))


def test_an_error_that_nobody_catches_still_ends_the_process(samples: MakeSamples) -> None:
    """With its own status and traceback, and no complaint from our threads besides."""
    with pytest.raises(AssertionError, match="ZeroDivisionError") as caught:
        run_python("train = small(file, readers=2)\ntrain[0]\n1 / 0", file=samples(90))
    assert "status 1" in str(caught.value)
    assert "prefetch-" not in str(caught.value)
