"""The programs: what is typed, how it is checked, and the exit code it ends with.

``parser`` reads the command line, ``config_file`` merges it with a TOML file into ``Settings``, ``checks``
looks at the folders, ``logs`` keeps a record, ``main`` runs one level. Heavy libraries are imported only once
there is work to do, so that ``--help`` answers at once.
"""
