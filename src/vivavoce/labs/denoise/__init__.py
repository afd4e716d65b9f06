"""The denoising lab: a network that ships with the package, the recipe that trained it, and what it takes to use it.

`network` is the network, `train` its training (`python -m vivavoce.labs.denoise.train`), `restore` runs it over a picture,
`pictures` and `files` read and write, `lab` is `viva lab denoise`.
"""
