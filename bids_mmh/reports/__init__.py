"""Subject and group pages: self-contained HTML files that open offline.

``subject`` and ``group_page`` turn plain values and arrays into HTML text; ``figures`` and ``group_figures``
draw what is embedded in it; ``group_evaluation`` and ``evaluation_figures`` do so for the evaluation;
``group_table`` and ``evaluation_table`` define rows and columns of the study's tables. Nothing here reads or
writes a file.
"""
