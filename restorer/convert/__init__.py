"""Models of other programs -> model folders, and back.

official.py       the way of every official checkpoint: read, check, write whole or not at all
checkpoints.py    reading a foreign file without running what is in it
wishes.py         what the user says of a file, what comes of a conversion
rddm.py           RDDM's official trainer files; rddm_presets.py: its experiments, rddm_buffers.py: its schedules
diffusers.py      folders of diffusers' UNet2DModel, which also run as they are
ddim.py           DDIM to RDDM's form and back
"""
