"""Training: a recipe in TOML, pictures in folders, and a loop that can stop and go on."""
