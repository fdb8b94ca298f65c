"""Subject and group pages: self-contained HTML files that open offline.

``subject`` and ``group_page`` turn plain values and arrays into HTML text; ``figures`` and ``group_figures``
draw what is embedded in it; ``group_table`` defines the rows and columns of the study tables. Nothing here
reads or writes a file.
"""
