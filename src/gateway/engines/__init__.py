"""The engines: where the models run. `local`: in workers of this process; `fleet`: on nodes."""
