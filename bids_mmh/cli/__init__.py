"""The programs: command lines, their validation, and exit codes.

``parser`` reads the command line, ``config_file`` merges it with a TOML file into ``Settings``, ``checks``
validates the folders, ``logs`` sets up logging, ``main`` runs one analysis level. Heavy libraries are
imported only once there is work to do, so that ``--help`` answers at once.
"""
