"""Subject and group pages: self-contained HTML files that open offline.

``subject`` and ``group_page`` turn plain values and arrays into HTML text, ``group_evaluation`` does so for
the evaluation; ``figures`` draws the embedded images. ``group_table`` and ``evaluation_table`` define rows
and columns of the study's tables; ``citation`` writes the text for a methods section. Nothing here reads or
writes a file.
"""
