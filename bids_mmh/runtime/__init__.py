"""How work is carried out: Nipype's plugins, processes, devices, locks, crash files, progress and logs."""
