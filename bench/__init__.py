"""Everything a reader of the README would doubt, measured in one run: `python -m bench`.

It is no part of the installed package. `docs/benchmarks.md` says what each part means.
"""
