"""How fast rows come out of a file, against the article's generator and plain `preadv`.

Run it with ``python -m bench``. It is no part of the installed package.
"""
